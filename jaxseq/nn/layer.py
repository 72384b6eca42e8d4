"""The sequence layer: a mixer with what the papers put around it."""

from typing import Any

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq import _validate
from jaxseq._types import PyTree
from jaxseq.nn import dense
from jaxseq.nn import feedforward
from jaxseq.nn import mixer
from jaxseq.nn import recurrent
from jaxseq.nn import stack


class SequenceLayer(recurrent.Recurrent):
  """Norm, mixer, activation or gate, dropout, residual.

  Smith et al., arXiv:2208.04933, and Lu et al., arXiv:2303.03982, with the
  details of their code: GELU by its tanh approximation, epsilon 1e-6 in norms.
  With `feedforward` it is the block of a Transformer with another mixer.

  Attributes:
    config: options of the layer; if it has several mixers, the first is taken.
    fixed: keyword options of the mixer's own `apply` or `step` that are no
      arrays, as pairs; so they stay what they are under `linen.remat`.
  """

  config: stack.StackConfig
  fixed: tuple[tuple[str, Any], ...] = ()

  @linen.compact
  def __call__(
    self,
    x: jax.Array,
    state: PyTree = None,
    reset: jax.Array | None = None,
    train: bool = False,
    options: dict[str, Any] | None = None,
    step: bool = False,
    condition: jax.Array | None = None,
  ) -> tuple[jax.Array, PyTree]:
    """Runs over a sequence.

    Args:
      x: (*batch, time, d_model).
      state: the mixer's state before the first element; fresh if None.
      reset: (*batch, time) bool, or None.
      train: whether dropout is on (it draws from the "dropout" keys) and batch
        norm uses, and updates, the statistics of the batch.
      options: keyword options of the mixer's own `apply`.
      step: whether x is one element, without a time axis.
      condition: (*batch, n), the same at all times, of which a dense layer
        without bias adds a part to x; None for none.

    Returns:
      y of x's shape, in the dtype of the activations, or of the residual sum if
      that is another, and the state after the last element.

    Raises:
      ValueError: if a shape or dtype does not fit.
    """
    config = self.config
    if jnp.ndim(x) < 1 or x.shape[-1] != config.d_model:
      shape, width = f"shape {jnp.shape(x)}", f"{config.d_model} features"
      raise _validate.error("x", shape, f"{width}, the d_model of the layer")
    dtype = dense.activation_dtype(config.dtype, x)
    x = x.astype(residual_dtype(config, x))
    if condition is not None:
      shift = dense.Dense(
        config.d_model, use_bias=False, dtype=dtype, name="condition"
      )(condition)
      x = x + (shift if step else shift[..., None, :]).astype(x.dtype)
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
      config.mixers[0],
      dtype,
      config.time_axis,
      config.time_scheme,
      name="mixer",
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

  @linen.nowrap
  def _fresh(self, batch_shape, dtype):
    bound = mixer.SequenceMixer(self.config.mixers[0], parent=None)
    return bound.initial_state(batch_shape, dtype)

  def _feed_forward(self, x, dtype, train, step):
    config = self.config
    norm = None
    if config.norm != "none":
      norm = make_norm(config, config.norm, dtype, train, "feedforward_norm")
    width = config.feedforward_width
    if width is None:
      gated = config.feedforward == "swiglu"
      width = 8 * config.d_model // 3 if gated else 4 * config.d_model
    y = feedforward.FeedForward(
      config.feedforward,
      width,
      config.dropout,
      dtype,
      name="feedforward",
    )(norm(x) if norm and config.prenorm else x.astype(dtype), train, step)
    y = dense.dropout(y, config.dropout, train, step)
    if config.residual:
      y = x + y
    return norm(y) if norm and not config.prenorm else y

  def _activate(self, y, train, step):
    kind = self.config.activation

    def dropout(values):
      return dense.dropout(values, self.config.dropout, train, step)

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


def residual_dtype(config: stack.StackConfig, x: jax.Array) -> jnp.dtype:
  """Returns the dtype of a layer's input and output."""
  dtype = dense.activation_dtype(config.dtype, x)
  if not config.residual_float32:
    return dtype
  return jnp.promote_types(dtype, jnp.float32)


def make_norm(
  config: stack.StackConfig,
  kind: str,
  dtype: jax.typing.DTypeLike,
  train: bool,
  name: str,
) -> linen.Module:
  """Makes a norm of one of the kinds of `StackConfig.norm` but "none"."""
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
