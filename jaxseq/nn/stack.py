"""The configuration of a stack of layers."""

from collections.abc import Mapping
import dataclasses
import functools
import types
from typing import Any
from typing import Literal
from typing import Self

import jax

from jaxseq import mixers
from jaxseq import validate
from jaxseq.nn import _options
from jaxseq.nn import layer_config
from jaxseq.nn import zamba_block

LayerConfig = layer_config.LayerConfig
Options = _options.Options
# Fields that all layers of a stack share.
_IN_COMMON = (
  "d_model",
  "residual_float32",
  "batch_norm_momentum",
  "dtype",
  "time_axis",
  "time_scheme",
)
_FIELDS = tuple(field.name for field in dataclasses.fields(LayerConfig))
_OWN = tuple(name for name in _FIELDS if name not in _IN_COMMON)
# Fields that make attention layers those of GTrXL, see `StackConfig.gtrxl`.
GTRXL = types.MappingProxyType(
  {
    "mixer": "attention",
    "norm": "layer",
    "activation": "none",
    "gate": "gru",
    "gate_bias": 2.0,
    "feedforward": "relu",
    "final_norm": False,
  }
)


@dataclasses.dataclass(frozen=True)
class StackConfig(LayerConfig):
  """Options of a stack of sequence layers, the same everywhere.

  It is the `LayerConfig` of its layers, with their number and differences.
  Networks of tasks, agents and encoders have one as `stack`:

      StackConfig("s5", {"ssm_size": 64}, d_model=128, num_layers=4)
      StackConfig.alternating("s5", ("attention", {"window": 64}), num_layers=4)
      StackConfig.of_layers(LayerConfig("mamba2"), LayerConfig("attention"))

  Attributes:
    hybrid: more mixers and their options, which the layers use in turn with
      `mixer`: with one, its layers and those of `mixer` alternate. A mapping,
      or pairs of name and options if a mixer occurs more than once.
    layers: for each layer the fields of LayerConfig that differ from the
      stack's, such as {"mixer": "attention"} (which then has its own options);
      () if all are alike or take turns.
    shared_block: a block shared by some layers: `layers`, their numbers,
      `blocks`, the number of blocks, which they use in turn, and fields of
      `zamba_block.Config` (Zamba-2, arXiv:2411.15242); () for no block.
    num_layers: number of layers, at least that of mixers; with 0, the stack
      returns its inputs. With `layers`, their number.
    final_norm: whether a norm of the layers' kind follows the last layer; if
      None, it does if the layers have prenorms.
    remat: whether gradients recompute each layer's values instead of storing
      them.
    scan_layers: whether the layers run as one scanned layer: compile time does
      not grow with their number. Parameters gain a leading axis of layers,
      states one after the batch axes.
    kernels: accelerator kernels, as in `recurrence.kernels.use`: "on" for all,
      "off", or "auto", as the calling context says: without one, kernels that
      were measured to be faster. Inside of `recurrence.kernels.off()` no
      network uses kernels.

  Raises:
    ValueError: if a mixer or an option is unknown, or a value is out of range.
  """

  _: dataclasses.KW_ONLY
  hybrid: tuple[tuple[str, Options], ...] | Mapping[str, Options] = ()
  layers: tuple[Options, ...] = ()
  shared_block: Options = ()
  num_layers: int = 2
  final_norm: bool | None = None
  remat: bool = False
  scan_layers: bool = False
  kernels: Literal["auto", "on", "off"] = "auto"

  def __post_init__(self):
    super().__post_init__()
    self._set(hybrid=_options.mixers("hybrid", self.hybrid))
    self._set(layers=_options.layers(self.layers))
    self._set(shared_block=_options.pairs("shared_block", self.shared_block))
    validate.integer("num_layers", self.num_layers, 0)
    if 0 < self.num_layers <= len(self.hybrid):
      names = ", ".join(name for name, _ in self._in_turn)
      expected = (
        f"at least {len(self._in_turn)}, a layer for each of {names}, or 0"
      )
      raise validate.error("num_layers", self.num_layers, expected)
    if self.layers and self.num_layers != len(self.layers):
      expected = f"{len(self.layers)}, as many as there are layers"
      raise validate.error("num_layers", self.num_layers, expected)
    if self.final_norm and self.norm == "none":
      raise validate.error("final_norm", True, "False where norm is 'none'")
    if self.shared_block and (self.scan_layers or self.bidirectional):
      expected = "() with scan_layers or bidirectional"
      raise validate.error("shared_block", dict(self.shared_block), expected)
    if self.layers and self.hybrid:
      raise validate.error("hybrid", self.hybrid, "() beside layers")
    if self.scan_layers:
      self._check_scan()
    _ = self._configs(self.hybrid), self.shared_blocks, self.every_layer
    self._check_schemes()

  @classmethod
  def alternating(
    cls, *kinds: str | tuple[str, Mapping[str, Any]], **fields: Any
  ) -> Self:
    """Returns a stack whose layers use several mixers in turn.

    Args:
      *kinds: names of mixers, or pairs of name and options.
      **fields: further fields of the stack, as `num_layers`.
    """
    pairs = [(kind, {}) if isinstance(kind, str) else kind for kind in kinds]
    (mixer, options), *rest = pairs
    return cls(mixer, options, hybrid=tuple(rest), **fields)

  @classmethod
  def of_layers(cls, *layers: LayerConfig, **fields: Any) -> Self:
    """Returns a stack of layers that may all differ.

    Args:
      *layers: the lowest first; the stack has their width and dtype.
      **fields: further fields of the stack, as `final_norm`.
    """
    first = {name: getattr(layers[0], name) for name in _FIELDS}
    entries = []
    for index, each in enumerate(layers):
      for name in _IN_COMMON:
        if getattr(each, name) != first[name]:
          field = f"layers[{index}].{name}"
          expected = f"{first[name]!r}, as of the first"
          raise validate.error(field, getattr(each, name), expected)
      entries.append({name: getattr(each, name) for name in _OWN})
    number = {"layers": tuple(entries), "num_layers": len(layers)}
    return cls(**{**first, **number, **fields})

  @classmethod
  def gtrxl(
    cls,
    d_model: int = 128,
    num_layers: int = 2,
    *,
    heads: int = 4,
    window: int = 64,
    **fields: Any,
  ) -> Self:
    """Returns the gated Transformer-XL of Parisotto et al., arXiv:1910.06764.

    Norms are only before both halves of a layer, and a gate replaces each sum,
    so that the input of the first layer reaches the output of the last. A fresh
    gate keeps some 85 % of it.

        StackConfig.gtrxl(128, num_layers=2, window=64)
        # The network of the paper's DMLab-30 experiments.
        StackConfig.gtrxl(
          256, 12, heads=8, window=512, mixer_options={"d_head": 64}
        )

    Args:
      d_model: width of the layers.
      num_layers: number of layers.
      heads: number of attention heads, with relative positions.
      window: number of earlier elements that an element sees in each layer,
        also across calls.
      **fields: further fields of the stack; `mixer_options` are added to these.
    """
    options = {"heads": heads, "window": window, "positions": "relative"}
    options |= dict(fields.pop("mixer_options", ()))
    sizes = {"d_model": d_model, "num_layers": num_layers}
    return cls(**{**GTRXL, "mixer_options": options, **sizes, **fields})

  @functools.cached_property
  def every_layer(self) -> tuple[LayerConfig, ...]:
    """The options of the layers, from the lowest to the highest.

    Sets the options `layer` and `num_layers` of mixers and feed-forwards that
    have them, unless they are given or the layers are scanned.
    """
    distinct: dict[Any, LayerConfig] = {}
    configs = []
    for index in range(self.num_layers):
      fields = self._fields(index)
      key = tuple(fields.values())
      if key not in distinct:
        distinct[key] = self._layer(index, fields)
      configs.append(distinct[key])
    return tuple(configs)

  def _fields(self, index: int) -> dict[str, Any]:
    """Returns the fields of one layer."""
    fields = {name: getattr(self, name) for name in _FIELDS}
    if self.layers:
      layer_options = dict(self.layers[index])
      for name in ("mixer", "feedforward"):
        if layer_options.get(name, fields[name]) != fields[name]:
          fields[f"{name}_options"] = ()
      fields |= layer_options
    elif self.hybrid:
      mixer, options = self._in_turn[index % len(self._in_turn)]
      fields |= {"mixer": mixer, "mixer_options": options}
    if self.scan_layers:
      return fields
    for name, kinds in (
      ("mixer", mixers.names()),
      ("feedforward", layer_config.KINDS),
    ):
      kind, options = fields[name], dict(fields[f"{name}_options"])
      if kind in kinds:
        config = layer_config.KINDS.get(kind) or mixers.get(kind).Config
        field_table = config.__dataclass_fields__
        if {"layer", "num_layers"} <= field_table.keys() - options.keys():
          options |= {"layer": index, "num_layers": self.num_layers}
          fields[f"{name}_options"] = _options.pairs(name, options)
    return fields

  def _layer(self, index: int, fields: dict[str, Any]) -> LayerConfig:
    """Returns the options of one layer, checked."""
    if not self.layers:
      return LayerConfig(**fields)
    try:
      for name, _ in self.layers[index]:
        validate.choice("field", name, _OWN)
      return LayerConfig(**fields)
    except ValueError as error:
      raise ValueError(f"layers[{index}]: {error}") from error

  @property
  def _in_turn(self) -> tuple[tuple[str, Options], ...]:
    return ((self.mixer, self.mixer_options), *self.hybrid)

  @functools.cached_property
  def _kinds(self) -> tuple[LayerConfig, ...]:
    """Options of distinct layers, or of one layer for each mixer in turn."""
    if self.layers:
      return self.every_layer
    return self.every_layer[: len(self._in_turn)] or (self,)

  @functools.cached_property
  def mixers(self) -> tuple[Any, ...]:
    """The Configs of the mixers that the layers use in turn."""
    return tuple(each.mixer_config for each in self._kinds)

  @property
  def mixer_names(self) -> tuple[str, ...]:
    """The names of all mixers, layer by layer or in turn."""
    parallel = (name for each in self._kinds for name, _ in each.parallel)
    return (*(each.mixer for each in self._kinds), *parallel)

  @functools.cached_property
  def shared_blocks(
    self,
  ) -> tuple[tuple[zamba_block.Config, ...], dict[int, zamba_block.Use]]:
    """The Configs of the shared blocks, and their uses by layer."""
    options = dict(self.shared_block)
    return zamba_block.plan(options, self.d_model, self.num_layers)

  @property
  def ends_in_norm(self) -> bool:
    """True if a norm follows the last layer."""
    if self.final_norm is not None:
      return self.final_norm
    return self.prenorm and self.norm != "none" and self.num_layers > 0

  @functools.cached_property
  def ssm_parameters(self) -> tuple[str, ...]:
    """Names of parameters with a separate learning rate in the papers.

    Only existing parameters: some options remove them.
    """
    names = set()
    for each in self._kinds:
      for config in (each.mixer_config, *each.parallel_mixers):
        config = config.mixer if each.rtrl else config
        module = mixers.module_of(config)
        if ssm_names := mixers.traits(module).ssm_parameters:
          params = jax.eval_shape(
            lambda key, init=module.init, config=config: init(key, config),
            jax.random.key(0),
          )
          names.update(set(ssm_names) & set(params))
    return tuple(sorted(names))

  def _check_scan(self):
    """Rejects one scanned layer if layers differ or share values."""
    if self.hybrid:
      expected = f"False for {len(self._in_turn)} mixers in turn"
      raise validate.error("scan_layers", True, expected)
    if self.layers:
      raise validate.error("scan_layers", True, "False for layers that differ")
    for name in (self.mixer, *(name for name, _ in self.parallel)):
      module = mixers.get(name)
      if hasattr(module, "apply_shared") or hasattr(module, "init_layers"):
        expected = f"False for {self.mixer}, whose layers share values"
        raise validate.error("scan_layers", True, expected)

  def _check_schemes(self):
    """Checks that the mixers have the scheme of splitting time."""
    schemes = [mixers.traits(name).schemes for name in self.mixer_names]
    if self.time_scheme and not any(schemes):
      raise validate.error(
        "time_scheme",
        self.time_scheme,
        "'', for these mixers split time in one way only",
      )
    for names in filter(None, schemes):
      validate.choice("time_scheme", self.time_scheme, ("", *names))
