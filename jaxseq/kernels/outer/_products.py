"""Parts of an `outer_scan` chunk for kernels, on two-dimensional blocks."""

from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp


class Inputs(NamedTuple):
  """Arrays of the kernels of `outer_scan_heads`."""

  q: jax.Array  # [rows, time, groups, K] in the dtype of the products
  k: jax.Array  # [rows, time, groups, K]
  v: jax.Array  # [rows, time, heads, V]
  decay: jax.Array | None  # [rows, time, heads, K or 1], or None
  init: jax.Array  # [rows, heads, K, V] float32
  reset: jax.Array | None  # [rows, time] bool, or None


def dot(x: jax.Array, y: jax.Array, x_axis: int, y_axis: int) -> jax.Array:
  """Sums the products of two blocks over one axis of each, in float32."""
  axes = ((x_axis,), (y_axis,)), ((), ())
  # A caller's precision for float32 products does not concern others.
  exact = x.dtype == jnp.float32
  precision = None if exact else lax.Precision.DEFAULT
  return lax.dot_general(
    x, y, axes, precision=precision, preferred_element_type=jnp.float32
  )


def beside(columns: list[jax.Array], width: int) -> jax.Array:
  """Concatenates broadcast columns, each `width` wide."""
  rows, total = columns[0].shape[0], len(columns) * width
  lane = lax.broadcasted_iota(jnp.int32, (rows, total), 1)
  wide = jnp.broadcast_to(columns[0], (rows, total))
  for index, column in enumerate(columns[1:], 1):
    wide = jnp.where(lane >= index * width, column, wide)
  return wide


class Masks(NamedTuple):
  """Visibility in a chunk; all but `pairs` are None without resets."""

  pairs: jax.Array  # [C, C] bool, element t sees element j
  # [C, 1] bool, t sees the state before the chunk
  enter: jax.Array | None = None
  # [C, 1] bool, the state after the chunk sees j
  leave: jax.Array | None = None
  through: jax.Array | None = None  # [1, 1] bool, one state sees the other

  @classmethod
  def of(cls, size: int, episode: jax.Array | None) -> "Masks":
    """Returns the masks of a chunk of that size."""
    later = lax.broadcasted_iota(jnp.int32, (size, size), 0)
    earlier = lax.broadcasted_iota(jnp.int32, (size, size), 1)
    pairs = later >= earlier
    if episode is None:
      return cls(pairs)
    column = episode.T[:, :1]
    last = column[size - 1 :]
    pairs &= column == jnp.broadcast_to(episode[:1], pairs.shape)
    return cls(pairs, column == 0, column == last, last == 0)

  def within(self, exponents: jax.Array) -> jax.Array:
    """Returns decays [C, C] of visible pairs by their logs, 0 elsewhere."""
    return jnp.exp(jnp.where(self.pairs, exponents, -jnp.inf))


def keep(mask: jax.Array | None, x: jax.Array) -> jax.Array:
  """Selects `x` if the mask is true, else 0."""
  return x if mask is None else jnp.where(mask, x, 0.0)


def finite(x: jax.Array) -> jax.Array:
  """Flags finite numbers."""
  return jnp.abs(x.astype(jnp.float32)) < jnp.inf


def clean(x: jax.Array) -> jax.Array:
  """Replaces infinite and undefined numbers by zeros."""
  wide = x.astype(jnp.float32)
  return jnp.where(finite(wide), wide, 0.0).astype(x.dtype)


def broken(x: jax.Array) -> jax.Array:
  """Returns 1.0 for infinite or undefined numbers, else 0.0."""
  return jnp.where(finite(x), 0.0, 1.0)


def ruined(
  masks: Masks,
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  before: jax.Array,
  bad: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
  """Flags results that depend on infinite or undefined numbers."""
  of_q = jnp.max(broken(q), 1, keepdims=True)
  of_v = jnp.maximum(broken(v), jnp.max(broken(k), 1, keepdims=True))
  if bad is not None:
    of_v = jnp.maximum(of_v, bad)
  pairs = jnp.where(masks.pairs, 1.0, 0.0).astype(jnp.bfloat16)
  outputs = dot(pairs, of_v.astype(jnp.bfloat16), 1, 0) + of_q
  outputs += keep(masks.enter, jnp.broadcast_to(before, v.shape))
  after = jnp.max(keep(masks.leave, of_v), 0, keepdims=True)
  return outputs, after + keep(masks.through, before)
