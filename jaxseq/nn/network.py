"""A whole network for supervised tasks: encoder, stack of layers, read-out."""

import dataclasses
from typing import Any
from typing import Literal

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq import mixers
from jaxseq.nn import dense
from jaxseq.nn import heads
from jaxseq.nn import model


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
  """Options of a network.

  Attributes:
    mixer: name of the sequence mixer in `jaxseq.mixers`.
    mixer_options: pairs of names and values for the mixer's own Config.
    hybrid: pairs of name and options of more mixers, which the layers take in
      turn with `mixer`.
    d_model: width of the layers.
    num_layers: number of layers.
    norm: see `LayerConfig`, as for all options down to `norm_epsilon`.
    prenorm: whether norms stand before the mixers or after the residual sums.
    activation: what follows a mixer.
    exact_gelu: whether its GELU is exact.
    residual: whether a layer adds its input to its output.
    residual_float32: whether that sum stays float32 where `dtype` is narrower.
    feedforward: second half of a layer.
    feedforward_width: its hidden width.
    dropout: rate, in the layers.
    norm_epsilon: added to variances.
    final_norm: whether a norm follows the last layer; by default one does where
      the layers have their norms in front.
    pooling: "none" reads out every element; "mean" and "last" reduce the
      sequence first.
    head_widths: hidden widths of the read-out.
    head_bias: whether the read-out's last layer has a bias; with `tie` it never
      has.
    tie: whether the read-out is the transposed embedding (tokens only).
    scan_layers: whether the layers are one scanned layer.
    remat: whether gradients recompute inside each layer.
    dtype: dtype of the activations.
    time_axis: mesh axis over which the mixers split time.
    time_scheme: how they do that, where they have several ways; see
      `layer.LayerConfig`.
  """

  mixer: str = "s5"
  mixer_options: tuple[tuple[str, Any], ...] = ()
  hybrid: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...] = ()
  d_model: int = 64
  num_layers: int = 2
  norm: Literal["none", "layer", "rms", "batch"] = "layer"
  prenorm: bool = True
  activation: str = "half_glu2"
  exact_gelu: bool = False
  residual: bool = True
  residual_float32: bool = False
  feedforward: str = "none"
  feedforward_width: int | None = None
  dropout: float = 0.0
  norm_epsilon: float = 1e-6
  final_norm: bool | None = None
  pooling: Literal["none", "mean", "last"] = "none"
  head_widths: tuple[int, ...] = ()
  head_bias: bool = True
  tie: bool = False
  scan_layers: bool = False
  remat: bool = False
  dtype: str = "float32"
  time_axis: str = ""
  time_scheme: str = ""

  def __post_init__(self):
    if self.pooling not in heads.POOLINGS:
      raise ValueError(
        f"pooling must be one of {', '.join(heads.POOLINGS)}; got "
        f"{self.pooling!r}."
      )
    if self.tie and (self.pooling != "none" or self.head_widths):
      raise ValueError("tie needs pooling='none' and no head_widths.")
    self.stack()

  def stack(self) -> model.ModelConfig:
    """Returns the configuration of the stack of layers.

    Raises:
      ValueError: if the mixer or one of the options is unknown.
    """
    final_norm = self.final_norm
    if final_norm is None:
      final_norm = self.prenorm and self.norm != "none"
    first, *others = (
      mixers.make_config(name, d_model=self.d_model, **dict(options))
      for name, options in ((self.mixer, self.mixer_options), *self.hybrid)
    )
    return model.ModelConfig(
      first,
      hybrid=tuple(others),
      num_layers=self.num_layers,
      norm=self.norm,
      prenorm=self.prenorm,
      activation=self.activation,
      exact_gelu=self.exact_gelu,
      residual=self.residual,
      residual_float32=self.residual_float32,
      feedforward=self.feedforward,
      feedforward_width=self.feedforward_width,
      dropout=self.dropout,
      norm_epsilon=self.norm_epsilon,
      final_norm=final_norm,
      scan_layers=self.scan_layers,
      remat=self.remat,
      dtype=self.dtype,
      time_axis=self.time_axis,
      time_scheme=self.time_scheme,
    )


class SequenceNetwork(linen.Module):
  """Encoder, `SequenceModel` and read-out, for tokens or feature vectors.

    network = SequenceNetwork(config, num_outputs=256, vocab_size=256)
    variables = network.init(key, tokens)
    logits, states = network.apply(variables, tokens, states, reset)
    logits_t, states = network.apply(
      variables, token_t, states, reset_t, method="step"
    )

  Attributes:
    config: options.
    num_outputs: width of the read-out: classes, or regressed values.
    vocab_size: number of tokens; None for feature vectors, which a dense layer
      encodes.
    pairs: whether an example is two sequences, (*batch, 2, time), of which each
      is encoded alone; the read-out of both is that of
      `heads.ClassificationHead`. The network pools.
  """

  config: NetworkConfig
  num_outputs: int
  vocab_size: int | None = None
  pairs: bool = False

  @linen.compact
  def __call__(
    self,
    inputs: jax.Array,
    states: Any = None,
    reset: jax.Array | None = None,
    lengths: jax.Array | None = None,
    train: bool = False,
    options: dict[str, Any] | None = None,
    step: bool = False,
  ) -> tuple[jax.Array, Any]:
    """Runs over a sequence.

    Args:
      inputs: (*batch, time) integer tokens, or (*batch, time, features). With
        `pairs`, the last axis of the batch has length 2, here as elsewhere.
      states: states before the first element; fresh ones if None.
      reset: (*batch, time) bool; where True the states are put back to fresh
        ones before that element. None for no resets.
      lengths: (*batch,) numbers of valid elements, for pooling; all are valid
        if None. What lies behind is left out of the pooling, but is seen by
        mixers that read in both directions.
      train: whether dropout is on and batch norm uses batch statistics.
      options: keyword options of the mixers' own `apply`.
      step: whether `inputs` is one element, without a time axis.

    Returns:
      Outputs, at least float32: (*batch, time, num_outputs), or (*batch,
      num_outputs) with pooling, without the axis of pairs; and the states after
      the last element.

    Raises:
      ValueError: if a shape or dtype does not fit.
    """
    config = self.config
    if self.pairs and (step or config.pooling == "none"):
      raise ValueError(
        "pairs need whole sequences and pooling 'mean' or 'last'; got "
        + ("a step." if step else "pooling 'none'.")
      )
    dtype = jnp.dtype(config.dtype)
    embed = None
    if self.vocab_size is not None:
      _check_tokens(inputs, step)
      embed = linen.Embed(
        self.vocab_size,
        config.d_model,
        dtype=dtype,
        embedding_init=linen.initializers.normal(0.02 if config.tie else 1.0),
        name="embed",
      )
      x = embed(inputs)
    else:
      dtype = dense.activation_dtype(dtype, inputs)
      x = dense.Dense(config.d_model, dtype=dtype, name="encoder")(inputs)
    stack = model.SequenceModel(config.stack(), name="stack")
    x, states = stack(x, states, reset, train, options, step)
    if config.tie:
      if embed is None:
        raise ValueError("tie needs tokens: vocab_size must not be None.")
      if self.num_outputs != self.vocab_size:
        raise ValueError(
          f"tie needs num_outputs = vocab_size = {self.vocab_size}; got "
          f"{self.num_outputs}."
        )
      y = embed.attend(x)
      return y.astype(jnp.promote_types(y.dtype, jnp.float32)), states
    head = heads.ClassificationHead(
      self.num_outputs,
      pooling="none" if step else config.pooling,
      widths=config.head_widths,
      out_bias=config.head_bias,
      pairs=self.pairs,
      dtype=x.dtype,
      name="head",
    )
    return head(x, None if config.pooling == "none" else lengths), states

  def step(
    self,
    inputs: jax.Array,
    states: Any,
    reset: jax.Array | None = None,
    options: dict[str, Any] | None = None,
  ) -> tuple[jax.Array, Any]:
    """Runs over one element: (*batch,) tokens or (*batch, features).

    Returns:
      Outputs (*batch, num_outputs) of this element, also where the config pools
      over a sequence, and the states after it.
    """
    if self.config.pooling == "mean":
      raise ValueError("step cannot pool over a sequence: pooling is 'mean'.")
    return self(inputs, states, reset, options=options, step=True)

  @linen.nowrap
  def initial_state(
    self, batch_shape: tuple[int, ...] = (), dtype: Any = jnp.float32
  ) -> Any:
    """Returns the states of a fresh sequence; works on an unbound module."""
    stack = model.SequenceModel(self.config.stack(), parent=None)
    return stack.initial_state(batch_shape, dtype)


def _check_tokens(inputs, step):
  layout = "(*batch,)" if step else "(*batch, time)"
  if not jnp.issubdtype(jnp.result_type(inputs), jnp.integer):
    raise ValueError(
      f"inputs must be integer tokens of shape {layout}, as vocab_size is set; "
      f"got dtype {jnp.result_type(inputs)}."
    )
  if not step and jnp.ndim(inputs) < 1:
    raise ValueError(f"inputs must have shape {layout}; got a scalar.")
