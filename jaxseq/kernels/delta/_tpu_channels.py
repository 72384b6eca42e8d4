"""A row's chunk of `delta_scan` on a TPU, with a decay for each key.

At each border of `outer._tpu_channels`, reads meet the same keys as queries.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.kernels.delta import _products
from jaxseq.kernels.outer import _products as _outer_products
from jaxseq.kernels.outer import _tpu_channels as channels

accurate = _products.accurate
decayed = channels.decayed
dot = _outer_products.dot
keep = _outer_products.keep


class _Pairs(NamedTuple):
  """Products of the elements of a chunk."""

  apart: jax.Array  # positions' differing bits [C, C]
  scores: jax.Array  # [C, C], of queries and keys, decayed
  reads: jax.Array  # [C, C], of reads and keys of earlier elements, decayed
  # queries, reads and keys of each level, as they meet
  sides: list[tuple[jax.Array, jax.Array, jax.Array]]


def _pairs(by, x):
  """Returns the products of a chunk."""
  apart = channels.apart_of(x.q.shape[0])
  # An element with itself.
  scores, sides = dot(x.q, x.k, 1, 1), []
  reads = jnp.zeros_like(scores)
  for level in by.levels:
    q, read = (channels.later_side(level, y) for y in (x.q, x.read))
    k = channels.earlier_side(level, x.k)
    across = apart >= level.bit
    scores = jnp.where(across, dot(q, k, 1, 1), scores)
    reads = jnp.where(across, dot(read, k, 1, 1), reads)
    sides.append((q, read, k))
  mask = by.masks.pairs
  return _Pairs(apart, keep(mask, scores), keep(mask, reads), sides)


def _written(by, x, pairs, state):
  """Returns the inverse [C, C], and the writes at the keys, [C, V] float32."""
  like = x.v.dtype
  inverse = _products.inverse(pairs.reads, like)
  reads = dot(decayed(x.read, by.enter), state.astype(like), 1, 0)
  values = x.v.astype(jnp.float32) - reads
  return inverse, accurate(inverse, values, 1, 0, like)


def _column(row):
  """Transposes a row [1, K] to [K, 1]."""
  return jnp.broadcast_to(row, (8, row.shape[1])).T[:, :1]


def _row(column):
  """Transposes a column [K, 1] to [1, K]."""
  return jnp.broadcast_to(column, (column.shape[0], 8)).T[:1]


def forward(shared, x, state):
  """Returns outputs of a row's chunk, and the state after it."""
  by, narrow = shared.by, x.v.dtype
  pairs = _pairs(by, x)
  _, w = _written(by, x, pairs, state)
  w = w.astype(narrow)
  o = dot(pairs.scores.astype(narrow), w, 1, 0)
  o += dot(decayed(x.q, by.enter), state.astype(narrow), 1, 0)
  added = dot(decayed(x.k, by.leave), w, 0, 0)
  return o, _column(by.through) * state + added


def backward(shared, x, g, state, d_after):
  """Returns cotangents of a row's chunk."""
  by, narrow = shared.by, x.v.dtype
  pairs, through = _pairs(by, x), _column(by.through)
  inverse, w = _written(by, x, pairs, state.astype(jnp.float32))
  narrow_w, narrow_after = w.astype(narrow), d_after.astype(narrow)
  q, read = decayed(x.q, by.enter), decayed(x.read, by.enter)
  k = decayed(x.k, by.leave)
  d_w = dot(pairs.scores.astype(narrow), g, 0, 0) + dot(k, narrow_after, 1, 0)
  dv = accurate(inverse, d_w, 0, 0, narrow)
  narrow_dv, mask = dv.astype(narrow), by.masks.pairs
  d_scores = keep(mask, dot(g, narrow_w, 1, 1))
  d_reads = keep(mask, -dot(narrow_dv, narrow_w, 1, 1))
  d_state = through * d_after + dot(q, g, 0, 0) - dot(read, narrow_dv, 0, 0)

  # Through the states.
  to_q, to_read = dot(g, state, 1, 1), -dot(narrow_dv, state, 1, 1)
  to_k = dot(narrow_w, narrow_after, 1, 1)
  wide = (y.astype(jnp.float32) for y in (q, read, k))
  by_q, by_read, by_k = (y * d for y, d in zip(wide, (to_q, to_read, to_k)))
  d_sums = by_q + by_read - by_k
  held = jnp.sum(d_after * state.astype(jnp.float32), 1, keepdims=True)
  d_last = jnp.sum(by_k, 0, keepdims=True) + _row(through * held)
  # An element with itself.
  diagonal = jnp.where(pairs.apart == 0, d_scores, 0.0).astype(narrow)
  dq = by.enter * to_q + dot(diagonal, x.k, 1, 0)
  dk = by.leave * to_k + dot(diagonal, x.q, 0, 0)
  d_read = by.enter * to_read
  for level, (q, read, k) in zip(by.levels, pairs.sides):
    across = (pairs.apart >= level.bit) & (pairs.apart < 2 * level.bit)
    of_q, of_read = (
      jnp.where(across, d, 0.0).astype(narrow) for d in (d_scores, d_reads)
    )
    to_q, to_read = dot(of_q, k, 1, 0), dot(of_read, k, 1, 0)
    to_k = dot(of_q, q, 0, 0) + dot(of_read, read, 0, 0)
    wide = (y.astype(jnp.float32) for y in (q, read, k))
    by_q, by_read, by_k = (y * d for y, d in zip(wide, (to_q, to_read, to_k)))
    d_sums += by_q + by_read - by_k
    dq += jnp.where(level.later, level.decays * to_q, 0.0)
    d_read += jnp.where(level.later, level.decays * to_read, 0.0)
    dk += jnp.where(level.later, 0.0, level.decays * to_k)
  d_decays = channels.d_log_decays(d_sums, d_last, x.a, shared.episode)
  return _products.Cotangents(dq, dk, dv, d_read, d_state, d_decays)
