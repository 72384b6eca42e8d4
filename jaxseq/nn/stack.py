"""The configuration of layers on top of each other."""

from collections.abc import Mapping
import dataclasses
import itertools
from typing import Any
from typing import Literal

import jax

from jaxseq import _validate
from jaxseq import mixers
from jaxseq.nn import _options
from jaxseq.nn import channel_mix
from jaxseq.nn import experts
from jaxseq.nn import zamba_block

Options = _options.Options
# Fields in which single layers may differ from the stack.
_OF_A_LAYER = (
  "mixer",
  "mixer_options",
  "parallel",
  "bidirectional",
  "mixes",
  "norm",
  "prenorm",
  "norm_output",
  "gtrxl_norm",
  "shared_norm",
  "activation",
  "exact_gelu",
  "residual",
  "gate",
  "gate_bias",
  "feedforward",
  "feedforward_width",
  "feedforward_options",
  "dropout",
  "norm_epsilon",
)


@dataclasses.dataclass(frozen=True)
class StackConfig:
  """Options of a stack of sequence layers, the same wherever there is one.

  Networks of tasks, agents and encoders hold one as `stack`:

      StackConfig("s5", {"ssm_size": 64}, d_model=128, num_layers=4)
      StackConfig("s5", hybrid={"attention": {"window": 64}}, num_layers=4)
      StackConfig("mamba2", layers=({}, {"mixer": "attention"}, {}))

  Attributes:
    mixer: name of the sequence mixer in `jaxseq.mixers`.
    mixer_options: fields of its Config, but d_model.
    hybrid: more mixers and their options, which the layers take in turn with
      `mixer`: with one, its layers and those of `mixer` alternate. A mapping,
      or pairs of name and options where a mixer comes more than once.
    parallel: more mixers and their options, as in `hybrid`, that read in every
      layer what `mixer` reads; the outputs are added up (Falcon-H1,
      arXiv:2507.22448).
    bidirectional: whether each layer has its mixer twice, and the second reads
      from the end (`Bidirectional`); there are no states and no steps then.
    mixes: whether a layer has a mixer; without one it is its feed-forward alone
      (single layers of Nemotron-H, arXiv:2504.03624).
    layers: for each layer the fields of this class in which it differs from the
      rest, such as {"mixer": "attention"} (whose options are then its own); ()
      if all are alike or take turns.
    shared_block: a block that single layers use together: `layers`, the numbers
      of these, `blocks`, how many there are, which they take in turn, and
      fields of `zamba_block.Config` (Zamba-2, arXiv:2411.15242); () for none.
    d_model: width of the layers.
    num_layers: number of layers, no fewer than mixers; with 0, what comes in
      goes out. With `layers`, as many as these.
    norm: "none", "layer", "rms" or "batch" (over batch and time).
    prenorm: whether the norm stands before the mixer or after the residual sum.
    norm_output: whether it stands between the mixer and that sum, in the place
      of either (OLMo 2, arXiv:2501.00656); so does that of the feed-forward.
    gtrxl_norm: whether a second norm follows the mixer, of the same kind, or a
      layer norm where `norm` is "none" (arXiv:2303.03982, after GTrXL).
    shared_norm: whether that one has the parameters of the first, as in the
      code of that paper.
    final_norm: whether a norm of the layers' kind follows the last layer; if
      None, one does where the layers have norms in front.
    activation: what follows the mixer; y is its output, g = dropout(gelu(y)),
      out1 and out2 are dense:
        "full_glu": out1(g) * sigmoid(out2(g)).
        "half_glu1": g * sigmoid(out2(g)).
        "half_glu2": y * sigmoid(out2(g)).
        "gelu": g.
        "none": y.
      A dropout follows all of them but "gelu".
    exact_gelu: the GELU of `activation` by the error function, as in S4's code,
      and not by its tanh approximation, as in S5's.
    residual: whether a layer adds its input to its output.
    gate: what joins input and output in the place of that sum: "gru" is that of
      `gtrxl_gate.GTrXLGate`, "none" the sum.
    gate_bias: the larger it is, the more of its input a fresh layer keeps.
    residual_float32: whether that sum stays float32 where `dtype` is narrower,
      and with it the layers' inputs and outputs (arXiv:2312.00752, its code).
    feedforward: a second half with norm and residual of its own: a kind of
      `feedforward.FeedForward`, "experts" for a mixture of them
      (`experts.Experts`), "channel_mix" for RWKV's, which has a state
      (`channel_mix`), or "none".
    feedforward_width: its hidden width, that of one expert; 4 times that of the
      layer, for gated ones 8/3 times it, if None.
    feedforward_options: further fields of its class, as {"bias": True}, of
      `experts.Routing` or of `channel_mix.Config`.
    dropout: rate; the mask is shared over time.
    norm_epsilon: added to the variance in layer and RMS norms.
    batch_norm_momentum: weight of the old running statistics.
    dtype: dtype of the activations, or its name, which it becomes; float64
      inputs stay float64. Parameters are float32 and states at least float32.
    remat: whether gradients recompute inside each layer instead of storing its
      values.
    scan_layers: whether the layers are one scanned layer: compile time does not
      grow with their number. Parameters gain a leading axis of layers, states
      one behind those of the batch.
    time_axis: mesh axis over whose devices the mixers split time, where the
      mesh in force (`jax.set_mesh`) has it; "" for none.
    time_scheme: how they do that, as the `scheme` of a mixer's own `apply`, for
      mixers that have several; "" for what they do by themselves.
    kernels: of accelerators, as `recurrence.kernels.use` takes it: "auto" where
      they were measured to be faster, "on" wherever there are some, "off".

  Raises:
    ValueError: a mixer or an option is unknown, or a value is out of range.
  """

  mixer: str = "s5"
  mixer_options: Options = ()
  _: dataclasses.KW_ONLY
  hybrid: tuple[tuple[str, Options], ...] | Mapping[str, Options] = ()
  parallel: tuple[tuple[str, Options], ...] | Mapping[str, Options] = ()
  bidirectional: bool = False
  mixes: bool = True
  layers: tuple[Options, ...] = ()
  shared_block: Options = ()
  d_model: int = 64
  num_layers: int = 2
  norm: Literal["none", "layer", "rms", "batch"] = "layer"
  prenorm: bool = True
  norm_output: bool = False
  gtrxl_norm: bool = False
  shared_norm: bool = False
  final_norm: bool | None = None
  activation: Literal["full_glu", "half_glu1", "half_glu2", "gelu", "none"] = (
    "half_glu2"
  )
  exact_gelu: bool = False
  residual: bool = True
  gate: Literal["none", "gru"] = "none"
  gate_bias: float = 2.0
  residual_float32: bool = False
  feedforward: Literal[
    "none",
    "relu",
    "gelu",
    "relu2",
    "swiglu",
    "geglu",
    "experts",
    "channel_mix",
  ] = "none"
  feedforward_width: int | None = None
  feedforward_options: Options = ()
  dropout: float = 0.0
  norm_epsilon: float = 1e-6
  batch_norm_momentum: float = 0.95
  dtype: Literal["float32", "bfloat16", "float16", "float64"] = "float32"
  remat: bool = False
  scan_layers: bool = False
  time_axis: str = ""
  time_scheme: str = ""
  kernels: Literal["auto", "on", "off"] = "auto"

  def __post_init__(self):
    hybrid = _options.mixers("hybrid", self.hybrid)
    object.__setattr__(self, "hybrid", hybrid)
    parallel = _options.mixers("parallel", self.parallel)
    object.__setattr__(self, "parallel", parallel)
    options = _options.pairs("mixer_options", self.mixer_options)
    object.__setattr__(self, "mixer_options", options)
    options = _options.pairs("feedforward_options", self.feedforward_options)
    object.__setattr__(self, "feedforward_options", options)
    object.__setattr__(self, "layers", _options.layers(self.layers))
    options = _options.pairs("shared_block", self.shared_block)
    object.__setattr__(self, "shared_block", options)
    object.__setattr__(self, "dtype", _options.dtype_name(self.dtype))
    _validate.literals(self)
    _validate.fields(
      self, positive=("d_model",), optional=("feedforward_width",)
    )
    _validate.integer("num_layers", self.num_layers, 0)
    if 0 < self.num_layers <= len(hybrid):
      names = ", ".join(name for name, _ in self._named)
      expected = (
        f"at least {len(hybrid) + 1}, a layer for each of {names}, or 0"
      )
      raise _validate.error("num_layers", self.num_layers, expected)
    if self.layers and self.num_layers != len(self.layers):
      expected = f"{len(self.layers)}, as many as there are layers"
      raise _validate.error("num_layers", self.num_layers, expected)
    if not 0 <= self.dropout < 1:
      raise _validate.error("dropout", self.dropout, "a rate, 0 <= rate < 1")
    if self.shared_norm and (not self.gtrxl_norm or self.norm == "none"):
      raise _validate.error(
        "shared_norm",
        True,
        "False where there are no two norms: gtrxl_norm, and a norm other than "
        "'none'",
      )
    if self.gate != "none" and not self.residual:
      expected = "'none' without a residual sum"
      raise _validate.error("gate", self.gate, expected)
    _validate.number("gate_bias", self.gate_bias)
    if self.final_norm and self.norm == "none":
      raise _validate.error("final_norm", True, "False where norm is 'none'")
    if self.hybrid and self.scan_layers:
      raise _validate.error(
        "scan_layers", True, f"False for {len(hybrid) + 1} mixers in turn"
      )
    carries = self.time_axis or self.feedforward == "channel_mix"
    if self.bidirectional and (self.parallel or carries):
      expected = "False with parallel mixers, a time_axis or a channel_mix"
      raise _validate.error("bidirectional", True, expected)
    if not self.mixes and self.feedforward == "none":
      expected = "True for layers without a feedforward"
      raise _validate.error("mixes", False, expected)
    if self.shared_block and (self.scan_layers or self.bidirectional):
      expected = "() with scan_layers or bidirectional"
      raise _validate.error("shared_block", dict(self.shared_block), expected)
    _ = self.shared_blocks
    self._check_layers()
    self._check_mixers()
    self._check_feedforward()

  @property
  def mixers(self) -> tuple[Any, ...]:
    """The Configs of the mixers that the layers take in turn."""
    return self._configs(self._named)

  @property
  def parallel_mixers(self) -> tuple[Any, ...]:
    """The Configs of the mixers beside those."""
    return self._configs(self.parallel)

  @property
  def mixer_names(self) -> tuple[str, ...]:
    """The names of all mixers, layer by layer or in turn."""
    return tuple(name for name, _ in self._every)

  def _configs(self, named) -> tuple[Any, ...]:
    return tuple(
      mixers.make_config(name, **{"d_model": self.d_model, **dict(options)})
      for name, options in named
    )

  @property
  def _named(self) -> tuple[tuple[str, Options], ...]:
    if self.layers:
      each = [self.layer(i) for i in range(self.num_layers)]
      return tuple((one.mixer, one.mixer_options) for one in each)
    return ((self.mixer, self.mixer_options), *self.hybrid)

  @property
  def _every(self) -> tuple[tuple[str, Options], ...]:
    beside = [self.parallel]
    if self.layers:
      beside = [self.layer(i).parallel for i in range(self.num_layers)]
    return tuple(itertools.chain(self._named, *beside))

  @property
  def channel_mix(self) -> channel_mix.Config | None:
    """The options of RWKV's feed-forward; None with another one."""
    if self.feedforward != "channel_mix":
      return None
    options = dict(self.feedforward_options)
    return channel_mix.Config(self.d_model, self.feedforward_width, **options)

  @property
  def routing(self) -> experts.Routing | None:
    """The options of a mixture of experts; None without one."""
    if self.feedforward != "experts":
      return None
    return experts.Routing(**dict(self.feedforward_options))

  @property
  def shared_blocks(
    self,
  ) -> tuple[tuple[zamba_block.Config, ...], dict[int, zamba_block.Use]]:
    """The Configs of the shared blocks, and their uses by layer."""
    options = dict(self.shared_block)
    return zamba_block.plan(options, self.d_model, self.num_layers)

  @property
  def ends_in_norm(self) -> bool:
    """Whether a norm follows the last layer."""
    if self.final_norm is not None:
      return self.final_norm
    return self.prenorm and self.norm != "none" and self.num_layers > 0

  @property
  def ssm_parameters(self) -> tuple[str, ...]:
    """Names of parameters that the papers give a learning rate of their own.

    Those that the mixers have: with some options there are fewer.
    """
    found = set()
    for name, config in zip(self.mixer_names, self._configs(self._every)):
      own = mixers.traits(name).ssm_parameters
      if own:
        found.update(set(own) & set(_parameters(name, config)))
    return tuple(sorted(found))

  @property
  def _share(self) -> bool:
    """Whether a mixer has values that the layers share."""
    kinds = map(mixers.get, self.mixer_names)
    hooks = ("apply_shared", "init_layers")
    return any(hasattr(kind, hook) for kind in kinds for hook in hooks)

  def layer(self, index: int) -> "StackConfig":
    """Returns the options of one layer, which has one mixer.

    Mixers and feed-forwards with the options `layer` and `num_layers` get them
    from here, where they are not given.
    """
    one, depth = self._layer(index), {}
    of_mixer = mixers.get(one.mixer).Config
    for field, kind in (
      ("mixer_options", of_mixer),
      ("feedforward_options", type(one.channel_mix)),
    ):
      given = dict(getattr(one, field))
      known = getattr(kind, "__dataclass_fields__", {})
      if {"layer", "num_layers"} <= set(known) - set(given):
        place = {"layer": index, "num_layers": self.num_layers}
        depth[field] = {**given, **place}
    return dataclasses.replace(one, **depth) if depth else one

  def _layer(self, index: int) -> "StackConfig":
    """Returns the options of one layer, but for its depth."""
    if self.layers:
      own = dict(self.layers[index])
      if own.get("mixer", self.mixer) != self.mixer:
        own = {"mixer_options": (), **own}
      if own.get("feedforward", self.feedforward) != self.feedforward:
        own = {"feedforward_options": (), **own}
      name = own.get("mixer", self.mixer)
      own["time_scheme"] = self.time_scheme if _schemes(name) else ""
      return dataclasses.replace(
        self, layers=(), shared_block=(), scan_layers=False, **own
      )
    if not self.hybrid:
      return dataclasses.replace(self, shared_block=())
    name, options = self._named[index % len(self._named)]
    return dataclasses.replace(
      self,
      mixer=name,
      mixer_options=options,
      hybrid=(),
      shared_block=(),
      time_scheme=self.time_scheme if _schemes(name) else "",
    )

  def refuse(
    self, where: str = "stack", *, batch_norm: str = "", dropout: str = ""
  ) -> None:
    """Refuses what makes no sense where the stack is used.

    Args:
      where: path of the stack, for the message.
      batch_norm: why there can be no batch norm; "" if there can.
      dropout: why there can be no dropout; "" if there can.

    Raises:
      ValueError: the stack has what is refused.
    """
    if batch_norm and self.norm == "batch":
      raise _validate.error(
        f"{where}.norm", "batch", f"'layer', 'rms' or 'none': {batch_norm}"
      )
    if dropout and self.dropout:
      raise _validate.error(f"{where}.dropout", self.dropout, f"0.0: {dropout}")

  def _check_feedforward(self):
    """Checks the options of the feed-forwards."""
    name, options = "feedforward_options", dict(self.feedforward_options)
    kinds = {"experts": experts.Routing, "channel_mix": channel_mix.Config}
    if self.feedforward in kinds:
      fields = dataclasses.fields(kinds[self.feedforward])
      known = [x.name for x in fields if x.name not in ("d_model", "width")]
    else:
      known = [] if self.feedforward == "none" else ["bias"]
    for option in options:
      what = f"{name} of feedforward {self.feedforward!r}"
      if not known:
        raise _validate.error(what, option, "none")
      _validate.choice(what, option, known)
    if not isinstance(options.get("bias", True), bool):
      raise _validate.error(f"{name}.bias", options["bias"], "True or False")
    try:
      _ = self.routing, self.channel_mix
    except (TypeError, ValueError) as error:
      raise ValueError(f"{name}: {error}") from error

  def _check_layers(self):
    """Checks the layers one by one, so that a message says which it is."""
    if self.layers and self.hybrid:
      raise _validate.error("hybrid", self.hybrid, "() beside layers")
    if self.layers and self.scan_layers:
      raise _validate.error("scan_layers", True, "False for layers that differ")
    if self.scan_layers and self._share:
      expected = f"False for {self.mixer}, whose layers share values"
      raise _validate.error("scan_layers", True, expected)
    for index, own in enumerate(self.layers):
      try:
        for field, _ in own:
          _validate.choice("field", field, _OF_A_LAYER)
        self.layer(index)
      except ValueError as error:
        raise ValueError(f"layers[{index}]: {error}") from error

  def _check_mixers(self):
    """Checks the mixers with their options, and how they split time."""
    fields = dataclasses.fields(mixers.get(self.mixer).Config)
    for option, _ in self.mixer_options:
      try:
        name = f"option of mixer {self.mixer!r}"
        _validate.choice(name, option, [field.name for field in fields])
      except ValueError as reason:
        # The mixer may have been replaced, and not what goes with it.
        hint = "mixer_options={} takes back those of another mixer"
        raise ValueError(f"{str(reason).rstrip('.')}; {hint}.") from None
    for config in (*self.mixers, *self.parallel_mixers):
      if config.d_model != self.d_model:
        raise _validate.error(
          "mixer_options.d_model", config.d_model, "no d_model: the stack's is"
        )
    known = [_schemes(name) for name in self.mixer_names]
    if self.time_scheme and not any(known):
      raise _validate.error(
        "time_scheme",
        self.time_scheme,
        "'', for these mixers split time in one way only",
      )
    for schemes in filter(None, known):
      _validate.choice("time_scheme", self.time_scheme, ("", *schemes))


def _parameters(name: str, config: Any) -> Any:
  """Returns the shapes of a mixer's parameters, by their names."""

  def init():
    return mixers.get(name).init(jax.random.key(0), config)

  return jax.eval_shape(init)


def _schemes(name: str) -> tuple[str, ...]:
  """Returns the ways in which a mixer can split time, if it has several."""
  return mixers.traits(name).schemes


def splits_by_scheme(config: Any) -> bool:
  """Returns whether a mixer has several ways of splitting time."""
  return bool(mixers.traits(mixers.module_of(config)).schemes)
