"""A mixer with what the papers put around it."""

import dataclasses
from typing import Any

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq.nn import dense
from jaxseq.nn import feedforward
from jaxseq.nn import mixer

NORMS = ("none", "layer", "rms", "batch")
ACTIVATIONS = ("full_glu", "half_glu1", "half_glu2", "gelu", "none")


@dataclasses.dataclass(frozen=True)
class LayerConfig:
  """Options of a layer.

  Attributes:
    mixer: Config of a mixer; its d_model is the layer's width.
    norm: "none", "layer", "rms" or "batch" (over batch and time).
    prenorm: whether the norm stands before the mixer or after the residual sum.
    gtrxl_norm: whether a second norm follows the mixer, of the same kind, or a
      layer norm where `norm` is "none" (arXiv:2303.03982, after GTrXL).
    shared_norm: whether that one has the parameters of the first, as in the
      code of that paper.
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
    dropout: rate; the mask is shared over time.
    residual: whether the layer adds its input to its output.
    residual_float32: whether that sum stays float32 where `dtype` is narrower,
      and with it the layer's input and output (arXiv:2312.00752, its code).
    feedforward: a second half with norm and residual of its own, see
      `feedforward.FeedForward`: "relu", "gelu", "swiglu", or "none".
    feedforward_width: its hidden width; 4 times that of the layer, for "swiglu"
      8/3 times it, if None.
    norm_epsilon: added to the variance in layer and RMS norms.
    batch_norm_momentum: weight of the old running statistics.
    dtype: dtype of the activations; float64 inputs stay float64. Parameters
      are float32 and states at least float32.
    time_axis: mesh axis over whose devices the mixer splits time, where the
      mesh in force (`jax.set_mesh`) has it; "" for none.
    time_scheme: how it does that, as the `scheme` of the mixer's own `apply`,
      for mixers that have several; "" for what they do by themselves.
  """

  mixer: Any
  _: dataclasses.KW_ONLY
  norm: str = "none"
  prenorm: bool = True
  gtrxl_norm: bool = False
  shared_norm: bool = False
  activation: str = "full_glu"
  exact_gelu: bool = False
  dropout: float = 0.0
  residual: bool = True
  residual_float32: bool = False
  feedforward: str = "none"
  feedforward_width: int | None = None
  norm_epsilon: float = 1e-6
  batch_norm_momentum: float = 0.95
  dtype: str = "float32"
  time_axis: str = ""
  time_scheme: str = ""

  def __post_init__(self):
    for name, choices in (
      ("norm", NORMS),
      ("activation", ACTIVATIONS),
      ("feedforward", feedforward.KINDS),
    ):
      if getattr(self, name) not in choices:
        raise ValueError(
          f"{name} must be one of {', '.join(choices)}; got "
          f"{getattr(self, name)!r}."
        )
    if not 0 <= self.dropout < 1:
      raise ValueError(f"dropout must be in [0, 1); got {self.dropout}.")
    if self.dtype not in ("float32", "bfloat16", "float16", "float64"):
      raise ValueError(
        "dtype must be float32, bfloat16, float16 or float64; got "
        f"{self.dtype!r}."
      )
    if self.feedforward_width is not None and self.feedforward_width < 1:
      raise ValueError(
        f"feedforward_width must be at least 1; got {self.feedforward_width}."
      )
    if self.shared_norm and (not self.gtrxl_norm or self.norm == "none"):
      raise ValueError(
        "shared_norm needs two norms: gtrxl_norm, and a norm other than 'none'."
      )


class SequenceLayer(linen.Module):
  """Norm, mixer, activation or gate, dropout, residual.

  Smith et al., arXiv:2208.04933, and Lu et al., arXiv:2303.03982, with the
  details of their code: GELU by its tanh approximation, epsilon 1e-6 in norms.
  With `feedforward` it is the block of a Transformer with another mixer.

  Attributes:
    config: options.
    fixed: keyword options of the mixer's own `apply` or `step` that are no
      arrays, as pairs; so they stay what they are under `linen.remat`.
  """

  config: LayerConfig
  fixed: tuple[tuple[str, Any], ...] = ()

  @linen.compact
  def __call__(
    self,
    x: jax.Array,
    state: Any = None,
    reset: jax.Array | None = None,
    train: bool = False,
    options: dict[str, Any] | None = None,
    step: bool = False,
  ) -> tuple[jax.Array, Any]:
    """Runs over a sequence.

    Args:
      x: (*batch, time, d_model).
      state: the mixer's state before the first element; fresh if None.
      reset: (*batch, time) bool, or None.
      train: whether dropout is on (it draws from the "dropout" keys) and batch
        norm uses, and updates, the statistics of the batch.
      options: keyword options of the mixer's own `apply`.
      step: whether x is one element, without a time axis.

    Returns:
      y of x's shape, in the dtype of the activations, or of the residual sum if
      that is another, and the state after the last element.

    Raises:
      ValueError: if a shape or dtype does not fit.
    """
    config = self.config
    _check_width(config, x)
    dtype = dense.activation_dtype(config.dtype, x)
    x = x.astype(residual_dtype(config, x))
    norm = second = None
    if config.norm != "none":
      norm = make_norm(config, config.norm, dtype, train, "norm")
    if config.gtrxl_norm:
      kind = "layer" if config.norm == "none" else config.norm
      second = (
        norm
        if config.shared_norm
        else make_norm(config, kind, dtype, train, "mixer_norm")
      )
    y = norm(x) if norm and config.prenorm else x.astype(dtype)
    bound = mixer.SequenceMixer(
      config.mixer, dtype, config.time_axis, config.time_scheme, name="mixer"
    )
    run = bound.step if step else bound
    y, state = run(y, state, reset, **dict(self.fixed), **(options or {}))
    if second:
      y = second(y)
    y = self._activate(y, train, step)
    if config.residual:
      y = x + y
    if norm and not config.prenorm:
      y = norm(y)
    if config.feedforward != "none":
      y = self._feed_forward(y, dtype, train, step)
    return y.astype(x.dtype), state

  def step(
    self,
    x: jax.Array,
    state: Any,
    reset: jax.Array | None = None,
    options: dict[str, Any] | None = None,
  ) -> tuple[jax.Array, Any]:
    """Runs over one element; `__call__` without the time axis."""
    return self(x, state, reset, options=options, step=True)

  @linen.nowrap
  def initial_state(
    self, batch_shape: tuple[int, ...] = (), dtype: Any = jnp.float32
  ) -> Any:
    """Returns the state of a fresh sequence; works on an unbound module."""
    bound = mixer.SequenceMixer(self.config.mixer, parent=None)
    return bound.initial_state(batch_shape, dtype)

  def _feed_forward(self, x, dtype, train, step):
    config = self.config
    norm = None
    if config.norm != "none":
      norm = make_norm(config, config.norm, dtype, train, "feedforward_norm")
    y = feedforward.FeedForward(
      config.feedforward,
      _feedforward_width(config),
      config.dropout,
      dtype,
      name="feedforward",
    )(norm(x) if norm and config.prenorm else x.astype(dtype), train, step)
    y = self._dropout(y, train, step)
    if config.residual:
      y = x + y
    return norm(y) if norm and not config.prenorm else y

  def _dropout(self, y, train, step):
    # One mask for the whole sequence.
    axes = () if step else (-2,)
    layer = linen.Dropout(self.config.dropout, broadcast_dims=axes)
    return layer(y, deterministic=not train)

  def _activate(self, y, train, step):
    kind = self.config.activation

    def dropout(values):
      return self._dropout(values, train, step)

    def out(name, values):
      return dense.Dense(y.shape[-1], dtype=y.dtype, name=name)(values)

    if kind == "none":
      return dropout(y)
    g = dropout(linen.gelu(y, approximate=not self.config.exact_gelu))
    if kind == "gelu":
      return g
    if kind == "full_glu":
      value = out("out1", g)
    else:
      value = g if kind == "half_glu1" else y
    return dropout(value * linen.sigmoid(out("out2", g)))


def residual_dtype(config: LayerConfig, x: jax.Array) -> jnp.dtype:
  """Returns the dtype of a layer's input and output."""
  dtype = dense.activation_dtype(config.dtype, x)
  if not config.residual_float32:
    return dtype
  return jnp.promote_types(dtype, jnp.float32)


def make_norm(
  config: LayerConfig, kind: str, dtype: Any, train: bool, name: str
) -> linen.Module:
  """Makes a norm of one of the kinds in `NORMS`, other than "none"."""
  options = {"epsilon": config.norm_epsilon, "dtype": dtype, "name": name}
  if kind == "layer":
    return linen.LayerNorm(**options)
  if kind == "rms":
    return linen.RMSNorm(**options)
  # The epsilon of the original is flax's own, another one than in layer norms.
  return linen.BatchNorm(
    use_running_average=not train,
    momentum=config.batch_norm_momentum,
    dtype=dtype,
    name=name,
  )


def _feedforward_width(config):
  if config.feedforward_width is not None:
    return config.feedforward_width
  width = config.mixer.d_model
  return 8 * width // 3 if config.feedforward == "swiglu" else 4 * width


def _check_width(config, x):
  width = config.mixer.d_model
  if jnp.ndim(x) < 1 or x.shape[-1] != width:
    raise ValueError(
      f"x must have {width} features, as the mixer has d_model = {width}; got "
      f"shape {jnp.shape(x)}."
    )
