"""Products with block-diagonal matrices."""

import jax

from jaxseq import recurrence


def dense(
  x: jax.Array,
  W: jax.Array,
  bias: jax.Array | None = None,
  *,
  wide: bool = False,
) -> jax.Array:
  """Product (..., blocks * m) of `recurrence.dense` with a matrix of blocks."""
  # From x (..., blocks * n), W (blocks, n, m) and bias (blocks * m,).
  blocks = x.reshape(*x.shape[:-1], W.shape[0], -1)

  def one(x, W):
    return recurrence.dense(x, W, wide=wide or bias is not None)

  y = jax.vmap(one, in_axes=(-2, 0), out_axes=-2)(blocks, W)
  y = y.reshape(*x.shape[:-1], -1)
  if bias is not None:
    y = y + bias.astype(y.dtype)
  return y if wide else y.astype(x.dtype)
