"""The three terms of native sparse attention, for a few queries."""

import functools
import math

import jax
from jax import lax
import jax.numpy as jnp

# Place of missing blocks: after all elements.
FAR = 2**30
# Rounded scores would select other blocks.
_product = functools.partial(jnp.einsum, precision="highest")


def attend(sizes, q, gates, t, first, table, fetch, near):
  """Outputs (rows, groups, heads of a group, queries, dv).

  Args:
    sizes: the sizes.
    q: (rows, groups, heads of a group, queries, d).
    gates: (rows, groups, heads of a group, queries, 3).
    t: (queries,) places of the queries.
    first: (rows, queries), the first elements of their episodes.
    table: first elements of complete blocks, in order, (rows, n), and their
      mean keys and values (rows, groups, n, d).
    fetch: from first elements of blocks (rows, groups, queries, n) to keys and
      values (rows, groups, queries, n, block_size, d).
    near: returns keys and values (rows, groups, n, d) of the window, and their
      places (n,).
  """
  size, scale = sizes.block_size, 1 / math.sqrt(q.shape[-1])
  starts, mean_keys, mean_values = table
  number = (t - first) // size
  query_block = (first + number * size)[..., None]  # (rows, queries, 1)
  oldest = query_block - jnp.minimum(number, sizes.kept - 1)[..., None] * size
  starts, t = starts[:, None], t[:, None]
  complete = (starts >= oldest) & (starts + size - 1 <= t)
  scores = _product("rghqd,rgnd->rghqn", q, mean_keys) * scale
  shares = _shares(scores, complete[:, None, None])
  o = _product("rghqn,rgnd->rghqd", shares, mean_values) * gates[..., :1]

  weights = jnp.mean(lax.stop_gradient(shares), axis=2)
  forced = (starts == oldest) | (starts == query_block - size)
  weights = jnp.where(forced[:, None], 2, weights)
  weights = jnp.where(
    (complete & (starts != query_block))[:, None], weights, -1
  )
  count = min(sizes.block_count - 1, starts.shape[-1])
  best, index = lax.top_k(weights, count)
  chosen = jnp.take_along_axis(starts[:, None], index, axis=-1)
  chosen = jnp.where(best < 0, FAR, chosen)
  query_block = jnp.broadcast_to(query_block[:, None], (*chosen.shape[:-1], 1))
  blocks = jnp.concatenate([query_block, chosen], axis=-1)
  keys, values = (
    x.reshape(*x.shape[:3], -1, x.shape[-1]) for x in fetch(blocks)
  )
  places = blocks[..., None] + jnp.arange(size)
  seen = places.reshape(*blocks.shape[:3], -1) <= t
  scores = _product("rghqd,rgqnd->rghqn", q, keys) * scale
  shares = _shares(scores, seen[:, :, None])
  o += _product("rghqn,rgqnd->rghqd", shares, values) * gates[..., 1:2]

  if sizes.window:
    keys, values, places = near()
    seen = (places <= t) & (places > t - sizes.window)
    seen = seen & (places >= first[..., None])
    scores = _product("rghqd,rgnd->rghqn", q, keys) * scale
    shares = _shares(scores, seen[:, None, None])
    o += _product("rghqn,rgnd->rghqd", shares, values) * gates[..., 2:]
  return o


def _shares(scores, seen):
  """Softmax over the visible scores; zeros if no score is visible."""
  scores = jnp.where(seen, scores, -jnp.inf)
  top = lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
  weights = jnp.exp(scores - jnp.where(jnp.isfinite(top), top, 0))
  total = jnp.sum(weights, axis=-1, keepdims=True)
  return weights / jnp.where(total > 0, total, 1)


def complete(sizes, mean_keys, mean_values, count, zero):
  """The table of `attend` of a state's blocks; places count from `zero`."""
  number = (count // sizes.block_size)[:, None] + jnp.arange(-sizes.kept, 0)
  starts = number * sizes.block_size - zero[:, None]
  means = (take(x, number % sizes.kept) for x in (mean_keys, mean_values))
  return jnp.where(number < 0, FAR, starts), *means


def take(x, index):
  """Elements (rows, groups, m, d) of x (rows, groups, n, d) by (rows, m)."""
  return jnp.take_along_axis(x, index[:, None, :, None], axis=2)


def slices(x, begin, size):
  """Slices (rows, groups, a, b, size, d) of x; begin (rows, groups, a, b)."""
  one = functools.partial(lax.dynamic_slice_in_dim, slice_size=size)
  for axes in ((None, 0), (None, 0), (0, 0), (0, 0)):
    one = jax.vmap(one, axes)
  return one(x, begin)
