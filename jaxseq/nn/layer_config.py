"""The configuration of one sequence layer."""

from collections.abc import Mapping
import dataclasses
import functools
from typing import Any
from typing import Literal

from jaxseq import mixers
from jaxseq import validate
from jaxseq.nn import _options
from jaxseq.nn import channel_mix
from jaxseq.nn import experts

Options = _options.Options
# Feed-forwards with their own options.
KINDS = {"experts": experts.Routing, "channel_mix": channel_mix.Config}


@dataclasses.dataclass(frozen=True)
class LayerConfig:
  """Options of a sequence layer: a mixer and the parts around it.

      LayerConfig("s5", {"ssm_size": 64}, d_model=128, norm="rms")

  Attributes:
    mixer: name of the sequence mixer in `jaxseq.mixers`.
    mixer_options: fields of its Config, except d_model.
    parallel: more mixers and their options with the same input as `mixer`; the
      outputs are summed (Falcon-H1, arXiv:2507.22448). A mapping, or pairs of
      name and options if a mixer occurs more than once.
    bidirectional: whether the layer has its mixer twice, and the second reads
      from the end (`Bidirectional`); then there are no states and no steps.
    rtrl: whether states carry their derivatives by the mixer's parameters, so
      that these learn from elements before a call, as if they were part of it:
      `mixers.rtrl`, for diagonal recurrences.
    mixes: whether the layer has a mixer; if not, it is only its feed-forward
      (single layers of Nemotron-H, arXiv:2504.03624).
    d_model: width of inputs and outputs.
    norm: "none", "layer", "rms" or "batch" (over batch and time).
    prenorm: whether the norm is before the mixer or after the residual sum.
    norm_output: whether it is instead between the mixer and that sum (OLMo 2,
      arXiv:2501.00656); the feed-forward's norm, too.
    gtrxl_norm: whether a second norm follows the mixer, of the same kind, or a
      layer norm if `norm` is "none" (arXiv:2303.03982, after GTrXL).
    shared_norm: whether the second norm shares the parameters of the first, as
      in the code of that paper.
    activation: activation after the mixer; y is its output, g =
      dropout(gelu(y)), out1 and out2 are dense:
        "full_glu": out1(g) * sigmoid(out2(g)).
        "half_glu1": g * sigmoid(out2(g)).
        "half_glu2": y * sigmoid(out2(g)).
        "gelu": g.
        "none": y.
      A dropout follows each of them except "gelu".
    exact_gelu: whether the GELU of `activation` uses the error function, as in
      S4's code, instead of its tanh approximation, as in S5's.
    residual: whether the layer adds its input to its output.
    gate: replaces that sum: "gru" is `gtrxl_gate.GTrXLGate`, "none" keeps the
      sum.
    gate_bias: a larger bias makes a fresh layer keep more of its input.
    residual_float32: whether that sum, and with it the layer's input and
      output, stays float32 if `dtype` is narrower (arXiv:2312.00752, its code).
    feedforward: a second half with its own norm and residual: a kind of
      `feedforward.FeedForward`, "experts" for a mixture of them
      (`experts.Experts`), "channel_mix" for RWKV's, which has a state
      (`channel_mix`), or "none".
    feedforward_width: its hidden width, or that of one expert; if None, 4 times
      the layer's width, or 8/3 times for gated ones.
    feedforward_options: further fields of its class, as {"bias": True}, of
      `experts.Routing` or of `channel_mix.Config`.
    dropout: rate; the mask is shared over time.
    norm_epsilon: added to the variance in layer and RMS norms.
    batch_norm_momentum: weight of the old running statistics.
    dtype: dtype of the activations, stored as its name; float64 inputs stay
      float64. Parameters are float32 and states at least float32.
    time_axis: mesh axis over whose devices the mixers split time, if the
      current mesh (`jax.set_mesh`) has it; "" for no split.
    time_scheme: the `scheme` of the mixers' `apply` for the split, for mixers
      that have several; "" for their default.

  Raises:
    ValueError: if a mixer or an option is unknown, or a value is out of range.
  """

  mixer: str = "s5"
  mixer_options: Options = ()
  _: dataclasses.KW_ONLY
  parallel: tuple[tuple[str, Options], ...] | Mapping[str, Options] = ()
  bidirectional: bool = False
  rtrl: bool = False
  mixes: bool = True
  d_model: int = 64
  norm: Literal["none", "layer", "rms", "batch"] = "layer"
  prenorm: bool = True
  norm_output: bool = False
  gtrxl_norm: bool = False
  shared_norm: bool = False
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
    "exact_gelu",
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
  time_axis: str = ""
  time_scheme: str = ""

  def __post_init__(self):
    self._set(parallel=_options.mixers("parallel", self.parallel))
    for name in ("mixer_options", "feedforward_options"):
      self._set(**{name: _options.pairs(name, getattr(self, name))})
    options = mixers.current_options(self.mixer, self.mixer_options)
    self._set(mixer_options=options)
    self._set(dtype=_options.dtype_name(self.dtype))
    validate.literals(self)
    validate.fields(
      self, positive=("d_model",), optional=("feedforward_width",)
    )
    if not 0 <= self.dropout < 1:
      raise validate.error("dropout", self.dropout, "a rate, 0 <= rate < 1")
    if self.shared_norm and (not self.gtrxl_norm or self.norm == "none"):
      raise validate.error(
        "shared_norm",
        True,
        "False where there are no two norms: gtrxl_norm, and a norm other than "
        "'none'",
      )
    if self.gate != "none" and not self.residual:
      expected = "'none' without a residual sum"
      raise validate.error("gate", self.gate, expected)
    validate.number("gate_bias", self.gate_bias)
    carries = self.time_axis or self.feedforward == "channel_mix"
    if self.bidirectional and (self.parallel or carries):
      expected = "False with parallel mixers, a time_axis or a channel_mix"
      raise validate.error("bidirectional", True, expected)
    if self.rtrl and (self.bidirectional or self.time_axis):
      expected = "False with bidirectional or a time_axis"
      raise validate.error("rtrl", True, expected)
    if not self.mixes and self.feedforward == "none":
      expected = "True for layers without a feedforward"
      raise validate.error("mixes", False, expected)
    self._check_mixers()
    self._check_feedforward()

  def _set(self, **values: Any) -> None:
    """Replaces fields by their stored form."""
    for name, value in values.items():
      object.__setattr__(self, name, value)

  @functools.cached_property
  def mixer_config(self) -> Any:
    """The Config of the mixer."""
    (config,) = self._configs(((self.mixer, self.mixer_options),))
    return config

  @functools.cached_property
  def parallel_mixers(self) -> tuple[Any, ...]:
    """The Configs of the parallel mixers."""
    return self._configs(self.parallel)

  def _configs(self, named) -> tuple[Any, ...]:
    configs = tuple(
      mixers.make_config(name, **{"d_model": self.d_model, **dict(options)})
      for name, options in named
    )
    return tuple(map(mixers.rtrl.Config, configs)) if self.rtrl else configs

  @functools.cached_property
  def channel_mix(self) -> channel_mix.Config | None:
    """The options of RWKV's feed-forward; None for other feed-forwards."""
    if self.feedforward != "channel_mix":
      return None
    options = dict(self.feedforward_options)
    return channel_mix.Config(self.d_model, self.feedforward_width, **options)

  @functools.cached_property
  def routing(self) -> experts.Routing | None:
    """The options of a mixture of experts; None without one."""
    if self.feedforward != "experts":
      return None
    return experts.Routing(**dict(self.feedforward_options))

  def refuse(
    self,
    where: str = "stack",
    *,
    batch_norm: str = "",
    dropout: str = "",
    bidirectional: str = "",
  ) -> None:
    """Rejects options that the use of the layers does not allow.

    Args:
      where: path of the configuration, for the message.
      batch_norm: reason against batch norm; "" if it is allowed.
      dropout: reason against dropout; "" if it is allowed.
      bidirectional: reason against reading from the end; "" if it is allowed.

    Raises:
      ValueError: if the configuration has a rejected option.
    """
    layers = getattr(self, "every_layer", (self,))
    for each in (self, *layers):
      if batch_norm and each.norm == "batch":
        raise validate.error(
          f"{where}.norm", "batch", f"'layer', 'rms' or 'none': {batch_norm}"
        )
      if dropout and each.dropout:
        raise validate.error(
          f"{where}.dropout", each.dropout, f"0.0: {dropout}"
        )
    for each in layers if bidirectional else ():
      for options in (each, each.mixer_config, *each.parallel_mixers):
        if getattr(options, "bidirectional", False):
          expected = f"False: {bidirectional}"
          raise validate.error(f"{where}: bidirectional", True, expected)

  def _check_feedforward(self):
    """Checks the feed-forward options."""
    name, options = "feedforward_options", dict(self.feedforward_options)
    if self.feedforward in KINDS:
      fields = dataclasses.fields(KINDS[self.feedforward])
      names = [x.name for x in fields if x.name not in ("d_model", "width")]
    else:
      names = [] if self.feedforward == "none" else ["bias"]
    for option in options:
      option_name = f"{name} of feedforward {self.feedforward!r}"
      if not names:
        raise validate.error(option_name, option, "none")
      validate.choice(option_name, option, names)
    if not isinstance(options.get("bias", True), bool):
      raise validate.error(f"{name}.bias", options["bias"], "True or False")
    try:
      _ = self.routing, self.channel_mix
    except (TypeError, ValueError) as error:
      raise ValueError(f"{name}: {error}") from error

  def _check_mixers(self):
    """Checks the mixers and their options."""
    fields = mixers.get(self.mixer).Config.__dataclass_fields__
    for option, _ in self.mixer_options:
      try:
        validate.choice(f"option of mixer {self.mixer!r}", option, fields)
      except ValueError as reason:
        # The mixer may have been replaced without its options.
        hint = "mixer_options={} removes the options of another mixer"
        raise ValueError(f"{str(reason).rstrip('.')}; {hint}.") from None
    for config in (self.mixer_config, *self.parallel_mixers):
      if config.d_model != self.d_model:
        raise validate.error(
          "mixer_options.d_model", config.d_model, "no d_model: the stack's is"
        )
