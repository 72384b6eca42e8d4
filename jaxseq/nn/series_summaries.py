"""Summaries of series, and a linear map of them for networks."""

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq.nn import dense
from jaxseq.nn import heads
from jaxseq.nn import masks


def summarize(x: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
  """Returns mean, deviation, minimum, maximum and last value of each channel.

  Args:
    x: (*batch, time, channels).
    lengths: (*batch,) numbers of valid elements; only these count, all if None.
      All summaries of an empty series are zeros.

  Returns:
    (*batch, 5 channels), at least float32, grouped by kind of summary.
  """
  x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  if lengths is None:
    lengths = jnp.full(x.shape[:-2], x.shape[-2])
  inside = masks.inside(x.shape[-2], lengths)[..., None]
  mean = heads.pool("mean", x, lengths)
  square = jnp.where(inside, (x - mean[..., None, :]) ** 2, 0)
  variance = heads.pool("mean", square, lengths)
  # The root has no gradient at 0.
  varies = variance > 0
  deviation = jnp.where(varies, jnp.sqrt(jnp.where(varies, variance, 1)), 0)
  ends = (
    jnp.where(inside, x, jnp.inf).min(-2),
    jnp.where(inside, x, -jnp.inf).max(-2),
  )
  least, greatest = (jnp.where(jnp.isfinite(end), end, 0) for end in ends)
  last = heads.pool("last", x, lengths)
  return jnp.concatenate([mean, deviation, least, greatest, last], axis=-1)


class Summaries(linen.Module):
  """A linear map of the summaries of series, initially 0.

  Attributes:
    num_outputs: width of the outputs.
  """

  num_outputs: int

  @linen.compact
  def __call__(
    self, x: jax.Array, lengths: jax.Array | None = None
  ) -> jax.Array:
    """Maps (*batch, time, channels) to (*batch, num_outputs)."""
    return dense.Dense(
      self.num_outputs,
      kernel_init=linen.initializers.zeros_init(),
      name="linear",
    )(summarize(x, lengths))
