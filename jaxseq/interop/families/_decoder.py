"""Families of decoders: the network around the layers, and all tensors."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import re
from typing import Any

from jaxseq import nn
from jaxseq import validate
from jaxseq.interop import _entries
from jaxseq.interop import _placement
from jaxseq.interop._entries import Entries

Places = dict[str, _placement.Place]
# The name of a parameter's tensor in a module, and its layout.
Table = Mapping[str, tuple[str, Callable[[str], _placement.Place]]]
# A mixer option's entry, type and default.
Options = Mapping[str, tuple[str, type, Any]]

# Options of every family's network, unless a family overrides them.
_STACK = {
  "hybrid": (),
  "parallel": (),
  "bidirectional": False,
  "layers": (),
  "norm": "rms",
  "prenorm": True,
  "norm_output": False,
  "gtrxl_norm": False,
  "activation": "none",
  "residual": True,
  "feedforward": "none",
}
_NETWORK = {
  "pooling": "none",
  "head_widths": (),
  "embedding_scale": 1.0,
  "embedding_norm": False,
  "logit_scale": 1.0,
  "logit_cap": None,
}
# The usual names of a gated feed-forward's layers: the activated one, its gate,
# and the output.
GATED = {"in": "gate_proj", "gate": "up_proj", "out": "down_proj"}
# Mixers by the layer kinds that several families use.
MAMBA_KINDS = {
  "linear_attention": "mamba2",
  "mamba": "mamba2",
  "full_attention": "attention",
  "attention": "attention",
}


def tensors(
  linear: Mapping[str, str] | None = None,
  same: Mapping[str, str] | None = None,
  conv: str | None = None,
) -> Table:
  """Returns the tensors of linear layers, unchanged ones and a convolution."""
  table = {}
  if conv is not None:
    table["conv_weight"] = f"{conv}.weight", _placement.conv
    table["conv_bias"] = f"{conv}.bias", _placement.same
  for ours, theirs in (linear or {}).items():
    table[ours] = f"{theirs}.weight", _placement.linear
    table[f"{ours}_bias"] = f"{theirs}.bias", _placement.same
  for ours, theirs in (same or {}).items():
    table[ours] = theirs, _placement.same
  return table


_ATTENTION = tensors({f"W_{x}": f"{x}_proj" for x in "qkvo"})
_NORM = tensors(same={"scale": "weight", "bias": "bias"})


def renamed(ours: str, theirs: str, table: Table) -> Places:
  """Returns the places of the parameters of a module."""
  return {
    f"{ours}/{parameter}": layout(f"{theirs}.{name}")
    for parameter, (name, layout) in table.items()
  }


@dataclasses.dataclass(frozen=True)
class Layer:
  """A layer; its methods return places by paths inside of it.

  Attributes:
    number: number of the layer.
    stack: options of all layers.
    entries: entries of the model.
    theirs: prefix of the names of the layer's tensors.
  """

  number: int
  stack: nn.StackConfig
  entries: Entries
  theirs: str

  @property
  def config(self) -> nn.LayerConfig:
    """The options of the layer."""
    return self.stack.every_layer[self.number]

  @property
  def mixer(self) -> Any:
    """The options of the mixer."""
    return self.config.mixer_config

  def named(self, theirs: str) -> str:
    """Returns the full name of a part of the layer."""
    return f"{self.theirs}.{theirs}"

  def norms(
    self,
    mixer: str,
    feedforward: str,
    place: Callable[[str], _placement.Place] = _placement.same,
  ) -> Places:
    """Returns the places of the two norms, by their names there."""
    return {
      "norm/scale": place(self.named(f"{mixer}.weight")),
      "feedforward_norm/scale": place(self.named(f"{feedforward}.weight")),
    }

  def module(self, theirs: str, table: Table, ours: str = "mixer") -> Places:
    """Returns the places of a module, by default the mixer."""
    return renamed(ours, self.named(theirs), table)

  def attention(self, theirs: str = "self_attn") -> Places:
    """Returns the places of mixer "attention": `q_proj` and so on."""
    return self.module(theirs, _ATTENTION)

  def dense(
    self,
    theirs: str,
    names: Mapping[str, str] = GATED,
    ours: str = "feedforward",
  ) -> Places:
    """Returns the places of dense layers, by names here and in the files."""
    paths = {}
    for our_name, their_name in names.items():
      name = self.named(f"{theirs}.{their_name}")
      paths[f"{ours}/{our_name}/kernel"] = _placement.linear(f"{name}.weight")
      paths[f"{ours}/{our_name}/bias"] = _placement.same(f"{name}.bias")
    return paths

  def experts(
    self,
    theirs: str,
    names: Mapping[str, str] = GATED,
    router: str = "gate",
    bias: str | None = None,
  ) -> Places:
    """Returns the places of experts with separate tensors, and the router."""
    paths = {
      "feedforward/router/kernel": _placement.linear(
        self.named(f"{theirs}.{router}.weight")
      )
    }
    if bias is not None:
      name = self.named(f"{theirs}.{bias}")
      paths["feedforward/selection_bias"] = _placement.same(name)
    for our_name, their_name in names.items():
      each = [
        self.named(f"{theirs}.experts.{i}.{their_name}.weight")
        for i in range(self.config.routing.experts)
      ]
      paths[f"feedforward/{our_name}"] = _placement.stacked(
        [_placement.linear(name) for name in each]
      )
    return paths


@dataclasses.dataclass(frozen=True)
class Decoder:
  """A family whose tensor names contain layer numbers.

  Attributes:
    options: function of entries and the norms' epsilon that returns the options
      of the network and its stack, except those below.
    layer: function that returns the places of a layer, by paths inside of it.
    EMBEDDING: see `registry.Family`, also for the other names in capitals.
    norm: name of the last norm's weight.
    norm_place: layout of the last norm's weight.
    epsilon: name and default of the norms' epsilon.
    width: default of `hidden_size`.
    tie: whether the embedding is tied by default; None if it never is.
    activation: name of the entry that has to be silu; None for no check.
    prepare: function that converts the file's entries.
    around: function that returns places of parameters outside of the layers.
    copies: see `families`, also for the fields after it.
  """

  options: Callable[[Entries, float], dict[str, Any]]
  layer: Callable[[Layer], Places]
  _: dataclasses.KW_ONLY
  EMBEDDING: str = "model.embed_tokens.weight"
  LAYERS: str = "model.layers"
  OLD_NAMES: Mapping[str, str] = dataclasses.field(default_factory=dict)
  IGNORED: re.Pattern[str] | None = None
  DERIVED: re.Pattern[str] | None = None
  MODULES: tuple[tuple[str, str], ...] = ()
  norm: str = "model.norm.weight"
  norm_place: Callable[[str], _placement.Place] = _placement.same
  epsilon: tuple[str, float] = ("rms_norm_eps", 1e-6)
  width: Any = _entries.MISSING
  tie: bool | None = False
  activation: str | None = "hidden_act"
  prepare: Callable[[Entries], Entries] = lambda entries: entries
  around: Callable[[nn.NetworkConfig], Places] = lambda config: {}
  copies: Callable[[Entries], Mapping[str, str]] | None = None
  unused: Callable[[Entries], Iterable[str]] | None = None
  to_json: Callable[[nn.NetworkConfig, int], dict[str, Any]] | None = None

  def from_json(self, entries: Entries) -> tuple[nn.NetworkConfig, int]:
    """Returns the options of the network and the number of tokens."""
    entries = self.prepare(entries)
    if self.activation is not None:
      entries.choice(self.activation, ("silu", "swish"), "silu")
    entries.choice("sliding_window", (None,), None)
    epsilon = entries.epsilon(*self.epsilon)
    options = {
      "d_model": entries.count("hidden_size", self.width),
      "norm_epsilon": epsilon,
      **self.options(entries, epsilon),
    }
    if "num_layers" not in options:
      layers = options.get("layers")
      options["num_layers"] = len(layers) if layers else entries.layers
    around = {name: options.pop(name) for name in _NETWORK if name in options}
    tie = self.tie
    if tie is not None:
      tie = entries.flag("tie_word_embeddings", tie)
    try:
      config = nn.NetworkConfig(
        nn.StackConfig(**_STACK | options),
        **{"head_bias": False, "tie": bool(tie), **_NETWORK, **around},
      )
    except ValueError as error:
      raise ValueError(
        f"{entries.where} does not make a network: {error}"
      ) from error
    return config, entries.get("vocab_size", int)

  def places(self, config: nn.NetworkConfig, entries: Entries) -> Places:
    """Returns the places of the parameters."""
    paths = {
      "embed/embedding": _placement.same(self.EMBEDDING),
      "stack/final_norm/scale": self.norm_place(self.norm),
      "head/mlp/dense_0/kernel": _placement.linear("lm_head.weight"),
    }
    for i in range(config.stack.num_layers):
      layer = Layer(i, config.stack, entries, f"{self.LAYERS}.{i}")
      for path, place in self.layer(layer).items():
        paths[f"stack/layers_{i}/{path}"] = place
    return paths | self.around(config)


def layer_norms(names: Mapping[str, str]) -> Places:
  """Returns the places of layer norms, by paths here and in the files."""
  paths = {}
  for ours, theirs in names.items():
    paths |= renamed(ours, theirs, _NORM)
  return paths


def check_saved(config: nn.NetworkConfig) -> None:
  """Checks that a network is one of a `Decoder` with a single mixer."""
  needed = dict(_NETWORK)
  if not config.tie:
    needed["head_bias"] = False
  for part, wanted in ((config, needed), (config.stack, _STACK)):
    for name, value in wanted.items():
      if getattr(part, name) != value:
        raise validate.error(
          name, getattr(part, name), f"{value!r} to be saved in this format"
        )
  if not config.stack.ends_in_norm:
    expected = "True to be saved in this format"
    raise validate.error("final_norm", False, expected)


def read_options(entries: Entries, table: Options) -> dict[str, Any]:
  """Returns a mixer's options from the entries that a table names."""
  options = {}
  for option, (name, kind, default) in table.items():
    if option == "d_conv":
      options[option] = entries.taps(name, default)
    elif kind is int:
      options[option] = entries.size(name, default)
    else:
      options[option] = entries.get(name, kind, default)
  return options


def attends(
  entries: Entries,
  heads: int,
  kv_heads: int | None = None,
  *,
  rotary: float | None = None,
  base: float = 10000.0,
  bias: str | None = None,
  **options: Any,
) -> dict[str, Any]:
  """Returns the options of an attention layer from the usual entries.

  Args:
    entries: entries of the model.
    heads: default number of heads.
    kv_heads: default number of heads of keys and values; `heads` if None.
    rotary: default fraction of a head that positions rotate; None for no
      positions.
    base: default base of rotary positions.
    bias: name of the entry for biases of projections.
    **options: further options of the mixer.
  """
  heads = entries.count("num_attention_heads", heads)
  width = entries.count("head_dim", None)
  if width is None:
    width = entries.count("hidden_size") // heads
  if entries.contents.get("num_key_value_heads", kv_heads) is None:
    kv_heads = heads
  else:
    kv_heads = entries.count("num_key_value_heads", kv_heads)
  result = {
    "heads": heads,
    "kv_heads": kv_heads,
    "d_head": width,
    "positions": "none",
  }
  if rotary is not None:
    result["positions"] = "rotary"
    base, fraction = entries.rotary(rotary, base)
    result |= {"rotary_base": base, "rotary_fraction": fraction}
  if bias is not None:
    said = entries.flag(bias, False)
    result |= {"qkv_bias": said, "output_bias": said}
  result |= options
  if "window" not in result:
    result["window"] = entries.context
  return {"mixer": "attention", "mixer_options": result}


def swiglu(
  entries: Entries, width: int, bias: str | None = None
) -> dict[str, Any]:
  """Returns a gated feed-forward's options; `bias` names its bias entry."""
  options = {} if bias is None else {"bias": entries.flag(bias, False)}
  return {
    "feedforward": "swiglu",
    "feedforward_width": entries.count("intermediate_size", width),
    "feedforward_options": options,
  }
