"""Parts of a `delta_scan` chunk for kernels, on two-dimensional blocks."""

from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.kernels.outer import _products as _outer_products


class Inputs(NamedTuple):
  """Arrays of the kernels of `delta_scan`."""

  q: jax.Array  # [rows, time, K] in the dtype of the products
  k: jax.Array  # [rows, time, K]
  v: jax.Array  # [rows, time, V]
  read: jax.Array  # [rows, time, K]
  decay: jax.Array | None  # [rows, time, K or 1], or None
  init: jax.Array  # [rows, K, V] float32
  reset: jax.Array | None  # [rows, time] bool, or None


class Cotangents(NamedTuple):
  """Cotangents of the arrays of one row in a chunk, in float32."""

  q: jax.Array  # [C, K]
  k: jax.Array  # [C, K]
  v: jax.Array  # [C, V]
  read: jax.Array  # [C, K]
  state: jax.Array  # [K, V], before the chunk
  # [C, K] of log-decays; or [1, C] of their sums, if all keys share one
  decays: jax.Array


class Factors(NamedTuple):
  """Decays within a chunk, 0 across episodes."""

  pairs: jax.Array  # [C, C], from element j to element t, j <= t
  strict: jax.Array  # the same for j < t
  enter: jax.Array  # [C, 1], from the state before the chunk
  leave: jax.Array  # [C, 1], to the state after it
  through: jax.Array  # from the state before to the state after


def factors(
  masks: _outer_products.Masks, sums: tuple[jax.Array, ...] | None
) -> Factors:
  """Returns the decays of a chunk as factors."""
  size = masks.pairs.shape[0]
  if sums is None:
    pairs = jnp.where(masks.pairs, 1.0, 0.0)
    ones = jnp.ones((size, 1), jnp.float32)
    to_state, from_state, whole = ones, ones, ones[:1]
  else:
    between = sum(column - row for row, column in sums)
    pairs = masks.within(between)
    from_state = jnp.exp(sum(column for _, column in sums))
    last = sum(column[size - 1 :] - column for _, column in sums)
    to_state = jnp.exp(last)
    whole = jnp.exp(sum(column[size - 1 :] for _, column in sums))
  keep = _outer_products.keep
  later = lax.broadcasted_iota(jnp.int32, (size, size), 0)
  earlier = lax.broadcasted_iota(jnp.int32, (size, size), 1)
  return Factors(
    pairs,
    jnp.where(later > earlier, pairs, 0.0),
    keep(masks.enter, from_state),
    keep(masks.leave, to_state),
    keep(masks.through, whole),
  )


def accurate(
  x: jax.Array, y: jax.Array, x_axis: int, y_axis: int, like: jnp.dtype
) -> jax.Array:
  """Multiplies two float32 blocks without rounding to bfloat16."""
  if like == jnp.bfloat16:
    (x, x_rest), (y, y_rest) = map(_split, (x, y))
    dot = _outer_products.dot
    rest = dot(x, y_rest, x_axis, y_axis) + dot(x_rest, y, x_axis, y_axis)
    return dot(x, y, x_axis, y_axis) + rest
  return lax.dot_general(
    x,
    y,
    (((x_axis,), (y_axis,)), ((), ())),
    precision=lax.Precision.HIGHEST,
    preferred_element_type=jnp.float32,
  )


def _split(x):
  """Splits an array into two bfloat16 parts."""
  high = x.astype(jnp.bfloat16)
  return high, (x - high.astype(jnp.float32)).astype(jnp.bfloat16)


def inverse(A: jax.Array, like: jnp.dtype) -> jax.Array:
  """Inverts I + A for strictly lower triangular A [C, C], C a power of 2."""
  size = A.shape[0]
  later = lax.broadcasted_iota(jnp.int32, A.shape, 0)
  earlier = lax.broadcasted_iota(jnp.int32, A.shape, 1)
  differ = later ^ earlier
  blocks, block = jnp.where(later == earlier, 1.0, 0.0), 1
  while block < size:
    # Pairs whose positions differ in this bit and in no higher one.
    below = jnp.where((differ >= block) & (differ < 2 * block), A, 0.0)
    if block == 1:
      blocks = blocks - below
    else:
      across = accurate(blocks, below, 1, 0, like)
      blocks = blocks - accurate(across, blocks, 1, 0, like)
    block *= 2
  return blocks
