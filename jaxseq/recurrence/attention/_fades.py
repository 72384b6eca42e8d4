"""Sums of log decays between elements: the score biases of forget gates.

Decays are summed directly: differences of cumulative sums would round if both
are large. The same holds for the gradients.
"""

from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.shared import _halo

# Elements per part of time, in which each pair is summed directly.
_PART = 16


class Fading(NamedTuple):
  """Decays of elements, and the decay that cached elements already have.

  Attributes:
    decay: (*batch, elements, heads), zeros for cached elements.
    lost: (*batch, elements, heads), sums of the decays between cached elements
      and the first one after the cache, zeros for others; None if nothing is
      cached.
  """

  decay: jax.Array
  lost: jax.Array | None


def cached(decay: jax.Array, fades: jax.Array) -> Fading:
  """Returns the decays of cached elements and of the elements after them."""
  decay, fades = (
    x.astype(jnp.result_type(decay, fades)) for x in (decay, fades)
  )
  axis = decay.ndim - 2
  return Fading(
    jnp.concatenate([jnp.zeros_like(fades), decay], axis),
    jnp.concatenate([fades, jnp.zeros_like(decay)], axis),
  )


def with_halo(
  decay: jax.Array, fades: jax.Array | None, count: int, axis: str
) -> Fading:
  """Returns decays of a device's elements and of `count` before them."""
  if fades is None:
    before = _halo.previous(decay, count, axis)
    return Fading(jnp.concatenate([before, decay], axis=-2), None)
  heads = decay.shape[-1]
  # Cached elements of the whole sequence also decayed on other devices.
  sums, init = (
    jnp.concatenate(pair, axis=-1)
    for pair in (
      (decay, jnp.zeros_like(decay)),
      (jnp.zeros_like(fades), fades),
    )
  )
  sums = jnp.concatenate([_halo.previous(sums, count, axis, init), sums], -2)
  return Fading(sums[..., :heads], sums[..., heads:])


def kept(fading: Fading, window: int) -> jax.Array:
  """Returns the summed decays of the last `window` elements until the end."""
  decay, lost = (
    None if x is None else x[..., -window:, :].swapaxes(-1, -2) for x in fading
  )
  lost = after(decay) if lost is None else after(decay) + lost
  return lost.swapaxes(-1, -2)


def bias(fading: Fading, size: int) -> jax.Array:
  """Returns the score biases for queries of the last `size` elements.

  Args:
    fading: of all elements, with one batch axis.
    size: number of queries.

  Returns:
    (rows, heads, size, elements); meaningless if a query cannot see the key.
  """
  decay = fading.decay.swapaxes(-1, -2)
  border = decay.shape[-1] - size
  near = between(decay[..., border:])
  if not border:
    return near
  # Decays before the first query and after it, summed separately.
  before = after(decay[..., :border])
  if fading.lost is not None:
    before += fading.lost.swapaxes(-1, -2)[..., :border]
  through = jnp.cumsum(decay[..., border:], axis=-1)
  # Selected: XLA on CPUs adds them while it reads the scores; otherwise it
  # would store both, and recompute the pairs' sums at each reading.
  lead = [(0, 0)] * (decay.ndim - 1)
  near = jnp.pad(lax.optimization_barrier(near), [*lead, (0, 0), (border, 0)])
  far = through[..., None] + jnp.pad(before, [*lead, (0, size)])[..., None, :]
  return jnp.where(jnp.arange(border + size) < border, far, near)


def after(decay: jax.Array) -> jax.Array:
  """Returns for each element of (..., n) the sum of the elements after it."""
  later = jnp.concatenate(
    [decay[..., 1:], jnp.zeros_like(decay[..., :1])], axis=-1
  )
  return lax.cumsum(later, axis=later.ndim - 1, reverse=True)


def between(decay: jax.Array) -> jax.Array:
  """Returns sums over s < u <= t of decays (..., n), as (..., t, s).

  Meaningless for s > t.
  """
  *lead, count = decay.shape
  if count <= 2 * _PART:
    return _pairs(decay)
  parts = -(-count // _PART)
  padding = [(0, 0)] * len(lead) + [(0, parts * _PART - count)]
  split = jnp.pad(decay, padding).reshape(*lead, parts, _PART)
  through, rest = jnp.cumsum(split, axis=-1), after(split)
  # Of whole parts, those between the parts of s and of t.
  whole = jnp.pad(_pairs(through[..., -1])[..., :-1, :], _above(len(lead)))
  far = through[..., None, None] + rest[..., None, None, :, :]
  far += whole[..., :, None, :, None]
  same_part = jnp.eye(parts, dtype=bool)[:, None, :, None]
  sums = jnp.where(same_part, _pairs(split)[..., :, :, None, :], far)
  sums = sums.reshape(*lead, parts * _PART, parts * _PART)
  return sums[..., :count, :count]


def _pairs(decay):
  """Sums of `between`, pair by pair, with zeros for s > t."""
  earlier = jnp.tri(decay.shape[-1], k=-1, dtype=bool)
  return jnp.cumsum(jnp.where(earlier, decay[..., None], 0), axis=-2)


def _above(axes):
  """Widths of a row of zeros above the rows of matrices."""
  return [(0, 0)] * axes + [(1, 0), (0, 0)]
