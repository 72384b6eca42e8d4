"""Windows of the last routed elements, with time split over devices."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.recurrence.shared import _resets
from jaxseq.recurrence.shared import _summaries


class Recent(NamedTuple):
  """Remainder of a chunk in a window."""

  # (*batch,) bool, no reset in the chunk: older entries stay in the window.
  through: jax.Array | None
  count: jax.Array  # (*batch,) number of entries from the chunk
  state: jax.Array  # (*batch, entries, channels), these last; zeros in front


def combine(left: Recent, right: Recent, hops: int) -> Recent:
  """Merges chunks: entries of the left one move up, for those of the right."""
  del hops
  size = right.state.shape[-2]
  place = jnp.arange(size) + right.count[..., None]
  older, count = place < size, left.count
  state = jnp.take_along_axis(
    left.state, jnp.minimum(place, size - 1)[..., None], axis=-2
  )
  through = None
  if right.through is not None:
    through = left.through & right.through
    state = _resets.select(right.through, state, jnp.zeros_like(state))
    count = jnp.where(right.through, count, 0)
  state = jnp.where(older[..., None], state, right.state)
  return Recent(through, jnp.minimum(count + right.count, size), state)


def split(
  run: Callable[[jax.Array], tuple[jax.Array, jax.Array]],
  last: Callable[[jax.Array], tuple[jax.Array, jax.Array]],
  window: jax.Array,
  through: jax.Array | None,
  *,
  axis: str,
) -> tuple[jax.Array, jax.Array]:
  """Outputs of a chunk, and the window after the whole sequence."""
  # `run` maps the window before the chunk to outputs and the window after it;
  # `last` maps it to that window, and the number of its entries from the chunk,
  # with only these entries after a reset. `window` is that before the whole
  # sequence, the same on all devices; `through` (*batch,) is true if the chunk
  # has no reset, or is None.
  if not window.shape[-2]:
    return run(window)

  def begun(zeros, window):
    # All of the window's entries count, even empty ones.
    count = jnp.full_like(zeros.count, window.shape[-2])
    state = window.astype(zeros.state.dtype)
    return zeros._replace(count=count, state=state)

  def part(x, window, reset):
    del x, reset
    state, count = last(jnp.zeros_like(window))
    summary = Recent(through, count, state)
    return _summaries.Part(summary, run, combine, begun=begun)

  return _summaries.split(part, None, window, None, axis=axis)
