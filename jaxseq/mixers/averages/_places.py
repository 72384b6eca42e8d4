"""Positions of elements in their sequence, for embeddings."""

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import recurrence


def since_reset(
  position: jax.Array,
  reset: jax.Array | None,
  time: int,
  axis: str | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Places (*batch, time) since the last reset, and that of one more."""
  # From a position (*batch,), floating, the number of elements before the first
  # one; the last place is in its dtype. With time split over devices and
  # resets, the counts of the chunks are exchanged.
  index = jnp.arange(time)
  if axis is not None and reset is not None:
    # The count is a recurrence itself: one more with each element.
    one = jnp.ones((1,), position.dtype)
    ones = jnp.ones((*reset.shape, 1), position.dtype)
    counts, after = recurrence.linear_scan(
      one, ones, position[..., None], axis=axis, reset=reset
    )
    return counts[..., 0] - 1, after[..., 0]
  first, count = 0, time
  if axis is not None:
    first = lax.axis_index(axis) * time
    count = lax.axis_size(axis) * time
  place = position[..., None] + (first + index).astype(position.dtype)
  if reset is None:
    return place, position + count
  last = lax.cummax(jnp.where(reset, index, -1), axis=reset.ndim - 1)
  since = (index - last).astype(position.dtype)
  place = jnp.where(last < 0, place, since)
  return place, place[..., -1] + 1
