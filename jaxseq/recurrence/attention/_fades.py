"""Sums of log decays between elements: what forget gates add to scores.

Each is a sum of decays, and no difference of cumulative sums, which rounds
where both are large; so are the gradients.
"""

from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.shared import _halo

# Elements of a part of time, in which the sum of each pair is made by itself.
_PART = 16


class Fading(NamedTuple):
  """Decays of elements, and of those before them what they lost already.

  Attributes:
    decay: (*batch, elements, heads), zeros for cached elements.
    lost: (*batch, elements, heads), sums of the decays between cached elements
      and the first one behind the cache, zeros for others; None if nothing is
      cached.
  """

  decay: jax.Array
  lost: jax.Array | None


def cached(decay: jax.Array, fades: jax.Array) -> Fading:
  """Returns the decays of cached elements and those behind them."""
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
  # What is in the cache of the whole sequence lost more on other devices.
  both, init = (
    jnp.concatenate(pair, axis=-1)
    for pair in (
      (decay, jnp.zeros_like(decay)),
      (jnp.zeros_like(fades), fades),
    )
  )
  both = jnp.concatenate([_halo.previous(both, count, axis, init), both], -2)
  return Fading(both[..., :heads], both[..., heads:])


def kept(fading: Fading, window: int) -> jax.Array:
  """Returns what the last elements, `window` at most, lost until the end."""
  decay, lost = (
    None if x is None else x[..., -window:, :].swapaxes(-1, -2) for x in fading
  )
  lost = after(decay) if lost is None else after(decay) + lost
  return lost.swapaxes(-1, -2)


def bias(fading: Fading, size: int) -> jax.Array:
  """Returns what queries of the last `size` elements add to their scores.

  Args:
    fading: of all elements, with one batch axis.
    size: number of queries.

  Returns:
    (rows, heads, size, elements); meaningless where a query sees nothing.
  """
  decay = fading.decay.swapaxes(-1, -2)
  border = decay.shape[-1] - size
  near = between(decay[..., border:])
  if not border:
    return near
  # Until the first query and from there on, each a sum for itself.
  before = after(decay[..., :border])
  if fading.lost is not None:
    before += fading.lost.swapaxes(-1, -2)[..., :border]
  through = jnp.cumsum(decay[..., border:], axis=-1)
  # Selected: XLA on CPUs adds them as it reads the scores, where it would keep
  # both side by side, and work out those of pairs at each reading.
  lead = [(0, 0)] * (decay.ndim - 1)
  near = jnp.pad(lax.optimization_barrier(near), [*lead, (0, 0), (border, 0)])
  far = through[..., None] + jnp.pad(before, [*lead, (0, size)])[..., None, :]
  return jnp.where(jnp.arange(border + size) < border, far, near)


def after(decay: jax.Array) -> jax.Array:
  """Returns for each element of (..., n) the sum of those behind it."""
  later = jnp.concatenate(
    [decay[..., 1:], jnp.zeros_like(decay[..., :1])], axis=-1
  )
  return lax.cumsum(later, axis=later.ndim - 1, reverse=True)


def between(decay: jax.Array) -> jax.Array:
  """Returns sums over s < u <= t of decays (..., n), as (..., t, s).

  Where s is above t numbers are meaningless.
  """
  *lead, count = decay.shape
  if count <= 2 * _PART:
    return _pairs(decay)
  parts = -(-count // _PART)
  padding = [(0, 0)] * len(lead) + [(0, parts * _PART - count)]
  split = jnp.pad(decay, padding).reshape(*lead, parts, _PART)
  through, rest = jnp.cumsum(split, axis=-1), after(split)
  # Of whole parts, those between that of s and that of t.
  whole = jnp.pad(_pairs(through[..., -1])[..., :-1, :], _above(len(lead)))
  far = through[..., None, None] + rest[..., None, None, :, :]
  far += whole[..., :, None, :, None]
  own = jnp.eye(parts, dtype=bool)[:, None, :, None]
  sums = jnp.where(own, _pairs(split)[..., :, :, None, :], far)
  sums = sums.reshape(*lead, parts * _PART, parts * _PART)
  return sums[..., :count, :count]


def _pairs(decay):
  """`between`, pair by pair, with zeros for s above t."""
  earlier = jnp.tri(decay.shape[-1], k=-1, dtype=bool)
  return jnp.cumsum(jnp.where(earlier, decay[..., None], 0), axis=-2)


def _above(axes):
  """Widths of a row of zeros above the rows of matrices."""
  return [(0, 0)] * axes + [(1, 0), (0, 0)]
