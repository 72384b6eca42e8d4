"""Chunks of `outer_scan` on a TPU, with a decay for each channel of the keys.

The highest bit in which two positions differ splits a block into halves, and
the later half sees the earlier one through the border between them: one product
per bit, of queries decayed from the border and keys decayed to it.
"""

import functools
from typing import NamedTuple

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
import jax.numpy as jnp

from jaxseq.kernels.outer import _products
from jaxseq.kernels.outer import _tpu_call
from jaxseq.recurrence.outer import _outer_decays
from jaxseq.recurrence.platform import support

dot = _products.dot
keep = _products.keep


class Plan(NamedTuple):
  """Static sizes of a call."""

  heads: int  # heads of one program
  keys: int  # K
  values: int  # V
  chunk: int  # C, a power of two
  reset: bool  # whether there are resets
  form: support.Form  # form of the kernel


class Blocks(NamedTuple):
  """Arrays of a call; states are [rows, heads, V, K], keys last."""

  q: jax.Array  # [rows, time, heads * K]
  k: jax.Array  # [rows, time, heads * K]
  v: jax.Array  # [rows, time, heads * V]
  a: jax.Array  # [rows, time, heads * K]
  # [rows, chunks, 8, C], number of resets up to an element in equal rows
  episode: jax.Array | None


class Level(NamedTuple):
  """Pairs of elements whose positions differ in one bit, and in none above."""

  bit: int
  later: jax.Array  # [C, K] bool, positions that have the bit.
  decays: jax.Array  # [C, K], from or to the border.


class Decays(NamedTuple):
  """Decays within a chunk."""

  masks: _products.Masks
  levels: list[Level]
  enter: jax.Array  # [C, K], from the state before the chunk.
  leave: jax.Array  # [C, K], to the state after it.
  through: jax.Array  # [1, K], from the state before to the state after.
  bad: jax.Array  # [C, 1], 1 where a decay is undefined.


def decays_of(a: jax.Array, episode: jax.Array | None, careful: bool) -> Decays:
  """Returns the decays of a chunk."""
  C, a = a.shape[0], a.astype(jnp.float32)
  masks = _products.Masks.of(C, episode)
  fine = a < jnp.inf
  bad = jnp.max(jnp.where(fine, 0.0, 1.0), 1, keepdims=True)
  if careful:
    a = jnp.where(fine, a, 0.0)
  # Sums of the earlier decays in a block, inclusive, and of the later ones.
  before = _outer_decays.clamp(a)
  after = jnp.zeros_like(a)
  place = lax.broadcasted_iota(jnp.int32, a.shape, 0)
  levels, bit = [], 1
  while bit < C:
    later = (place & bit) != 0
    levels.append(Level(bit, later, jnp.exp(jnp.where(later, before, after))))
    total = before + after
    other = jnp.where(
      later, pltpu.roll(total, bit, 0), pltpu.roll(total, C - bit, 0)
    )
    before = jnp.where(later, before + other, before)
    after = jnp.where(later, after, after + other)
    bit *= 2
  enter = keep(masks.enter, jnp.exp(before))
  leave = keep(masks.leave, jnp.exp(after))
  through = keep(masks.through, jnp.exp(before[C - 1 :]))
  return Decays(masks, levels, enter, leave, through, bad)


def apart_of(size: int) -> jax.Array:
  """Returns the differing bits of positions, [C, C]."""
  return lax.broadcasted_iota(jnp.int32, (size, size), 0) ^ (
    lax.broadcasted_iota(jnp.int32, (size, size), 1)
  )


def later_side(level: Level, q: jax.Array) -> jax.Array:
  """Returns queries decayed from the border, 0 for earlier ones."""
  wide = q.astype(jnp.float32) * level.decays
  return jnp.where(level.later, wide, 0.0).astype(q.dtype)


def earlier_side(level: Level, k: jax.Array) -> jax.Array:
  """Returns keys decayed to the border, 0 for later ones."""
  wide = k.astype(jnp.float32) * level.decays
  return jnp.where(level.later, 0.0, wide).astype(k.dtype)


def _scores(x, apart, q, k):
  """Returns decayed products [C, C] of queries and keys, and border sides."""
  # An element with itself.
  scores = dot(q, k, 1, 1)
  sides = []
  for level in x.levels:
    sides.append((later_side(level, q), earlier_side(level, k)))
    scores = jnp.where(apart >= level.bit, dot(*sides[-1], 1, 1), scores)
  return keep(x.masks.pairs, scores), sides


def decayed(x: jax.Array, decays: jax.Array) -> jax.Array:
  """Multiplies by decays, in the dtype of `x`."""
  return (x.astype(jnp.float32) * decays).astype(x.dtype)


def _ruined(x, q, k, v, state):
  """Flags undefined results: outputs [C, V], rows [V, 1] of the state."""
  before = jnp.max(_products.broken(state), 1, keepdims=True)
  before = jnp.broadcast_to(before, (state.shape[0], 8)).T[:1]
  outputs, after = _products.ruined(x.masks, q, k, v, before, x.bad)
  after = jnp.broadcast_to(after, (8, state.shape[0])).T[:, :1]
  return outputs > 0, after > 0


def _columns(size, index):
  return slice(index * size, (index + 1) * size)


def _forward_kernel(plan, keeps, *refs):
  """Computes one chunk; `final` carries the states."""
  q_ref, k_ref, v_ref, a_ref, *refs = refs
  episode = refs.pop(0)[...] if plan.reset else None
  init_ref, o_ref, final_ref, *entering_ref = refs

  @pl.when(pl.program_id(2) == 0)
  def _():
    final_ref[...] = init_ref[...]

  apart = apart_of(plan.chunk)
  if keeps:
    entering_ref[0][...] = final_ref[...].astype(entering_ref[0].dtype)

  def attempt(careful):
    results, worth = [], []
    for head in range(plan.heads):
      keys, values = _columns(plan.keys, head), _columns(plan.values, head)
      arrays = q_ref[:, keys], k_ref[:, keys], v_ref[:, values], final_ref[head]
      x = decays_of(a_ref[:, keys], episode, careful)
      if careful:
        bad = _ruined(x, *arrays)
        arrays = map(_products.clean, arrays)
      q, k, v, state = arrays
      scores, _ = _scores(x, apart, q, k)
      o = dot(scores.astype(v.dtype), v, 1, 0)
      o += dot(decayed(q, x.enter), state.astype(q.dtype), 1, 1)
      state = x.through * state + dot(v, decayed(k, x.leave), 0, 0)
      if careful:
        o = jnp.where(bad[0], jnp.nan, o)
        state = jnp.where(bad[1], jnp.nan, state)
      worth += [o, state, jnp.where(x.bad > 0, jnp.inf, 0.0)]
      results.append((head, values, o.astype(o_ref.dtype), state))
    return results, worth

  def store(results):
    for head, values, o, state in results:
      o_ref[:, values] = o
      final_ref[head] = state

  _tpu_call.store_defined(plan.reset, attempt, store)


class _Cotangents(NamedTuple):
  """Cotangents of the arrays of one head."""

  q: jax.Array
  k: jax.Array
  v: jax.Array
  a: jax.Array
  state: jax.Array


def d_log_decays(
  d_sums: jax.Array, d_last: jax.Array, a: jax.Array, episode: jax.Array | None
) -> jax.Array:
  """Returns cotangents of log-decays [C, K] from those of their sums."""
  place = lax.broadcasted_iota(jnp.int32, d_sums.shape, 0)
  C, bit = d_sums.shape[0], 1
  da = jnp.where(place == C - 1, d_sums + d_last, d_sums)
  unused = a < _outer_decays.clamp(a)
  if episode is not None:
    episode = jnp.broadcast_to(episode.T[:, :1], d_sums.shape)
    before = jnp.where(place == 0, 0.0, pltpu.roll(episode, 1, 0))
    unused |= ~(a < jnp.inf) | (episode != before)
  while bit < C:  # The sum from each element to the last of its episode.
    within = place < C - bit
    if episode is not None:
      within &= pltpu.roll(episode, C - bit, 0) == episode
    da += jnp.where(within, pltpu.roll(da, C - bit, 0), 0.0)
    bit *= 2
  return jnp.where(unused, 0.0, da)


def _backward_head(apart, episode, x, a, q, k, v, g, state, d_after):
  """Returns cotangents of a head's inputs; `a` is unclamped."""
  narrow_after = d_after.astype(v.dtype)
  scores, sides = _scores(x, apart, q, k)
  d_scores = keep(x.masks.pairs, dot(g, v, 1, 1))
  entering, leaving = decayed(q, x.enter), decayed(k, x.leave)
  dv = dot(scores.astype(v.dtype), g, 0, 0) + dot(leaving, narrow_after, 1, 1)
  d_state = x.through * d_after + dot(g, entering, 0, 0)

  # Through the states.
  d_entering, d_leaving = dot(g, state, 1, 0), dot(v, narrow_after, 1, 0)
  by_keys = leaving.astype(jnp.float32) * d_leaving
  d_sums = entering.astype(jnp.float32) * d_entering - by_keys
  d_last = jnp.sum(by_keys, 0, keepdims=True) + x.through * jnp.sum(
    d_after * state.astype(jnp.float32), 0, keepdims=True
  )
  # An element with itself.
  diagonal = jnp.where(apart == 0, d_scores, 0.0).astype(q.dtype)
  dq = x.enter * d_entering + dot(diagonal, k, 1, 0)
  dk = x.leave * d_leaving + dot(diagonal, q, 0, 0)
  for level, (later, earlier) in zip(x.levels, sides):
    across = (apart >= level.bit) & (apart < 2 * level.bit)
    across = jnp.where(across, d_scores, 0.0).astype(q.dtype)
    d_later, d_earlier = dot(across, earlier, 1, 0), dot(across, later, 0, 0)
    d_sums += later.astype(jnp.float32) * d_later
    d_sums -= earlier.astype(jnp.float32) * d_earlier
    dq += jnp.where(level.later, level.decays * d_later, 0.0)
    dk += jnp.where(level.later, 0.0, level.decays * d_earlier)

  da = d_log_decays(d_sums, d_last, a, episode)
  return _Cotangents(dq, dk, dv, da, d_state)


def _backward_kernel(plan, *refs):
  """Computes one chunk, later ones first; `d_init` carries cotangents."""
  q_ref, k_ref, v_ref, a_ref, *refs = refs
  episode = refs.pop(0)[...] if plan.reset else None
  entering_ref, g_ref, d_final_ref, *refs = refs
  dq_ref, dk_ref, dv_ref, da_ref, d_init_ref = refs

  @pl.when(pl.program_id(2) == 0)
  def _():
    d_init_ref[...] = d_final_ref[...]

  apart = apart_of(plan.chunk)

  def attempt(careful):
    results, worth = [], []
    for head in range(plan.heads):
      keys, values = _columns(plan.keys, head), _columns(plan.values, head)
      arrays = q_ref[:, keys], k_ref[:, keys], v_ref[:, values]
      arrays = *arrays, entering_ref[head]
      a = a_ref[:, keys].astype(jnp.float32)
      g, d_after = g_ref[:, values], d_init_ref[head]
      x = decays_of(a, episode, careful)
      if careful:
        bad = _ruined(x, *arrays)
        g = jnp.where(bad[0], 0.0, g.astype(jnp.float32)).astype(g.dtype)
        d_after = jnp.where(bad[1], 0.0, d_after)
        arrays = map(_products.clean, arrays)
      q, k, v, state = arrays
      d = _backward_head(apart, episode, x, a, q, k, v, g, state, d_after)
      worth += [*d, jnp.where(x.bad > 0, jnp.inf, 0.0)]
      results.append((head, keys, values, d))
    return results, worth

  def store(results):
    for head, keys, values, d in results:
      dq_ref[:, keys] = d.q.astype(dq_ref.dtype)
      dk_ref[:, keys] = d.k.astype(dk_ref.dtype)
      dv_ref[:, values] = d.v.astype(dv_ref.dtype)
      da_ref[:, keys] = d.a.astype(da_ref.dtype)
      d_init_ref[head] = d.state

  _tpu_call.store_defined(plan.reset, attempt, store)


def forward(
  plan: Plan, x: Blocks, init: jax.Array, keeps: bool
) -> tuple[jax.Array, ...]:
  """Returns outputs like v, last state, and entering states if requested."""
  specs, grid = _specs(plan, x, reverse=False)
  rows, heads, *state = init.shape
  entering = jax.ShapeDtypeStruct((rows, grid[2], heads, *state), x.v.dtype)
  return _tpu_call.call(
    "outer_channels_forward",
    plan.form,
    functools.partial(_forward_kernel, plan, keeps),
    grid,
    [*_inputs(plan, specs), specs["state"]],
    [specs["v"], specs["state"], *([specs["entering"]] if keeps else [])],
    [*map(_like, (x.v, init)), *([entering] if keeps else [])],
    [],
    [leaf for leaf in (*x, init) if leaf is not None],
  )


def backward(
  plan: Plan, x: Blocks, entering: jax.Array, g: jax.Array, d_final: jax.Array
) -> tuple[jax.Array, ...]:
  """Returns cotangents of q, k, v, a and init."""
  specs, grid = _specs(plan, x, reverse=True)
  return _tpu_call.call(
    "outer_channels_backward",
    plan.form,
    functools.partial(_backward_kernel, plan),
    grid,
    [*_inputs(plan, specs), *map(specs.get, ("entering", "v", "state"))],
    [specs[name] for name in ("q", "q", "v", "q", "state")],
    [_like(leaf) for leaf in (*x[:4], d_final)],
    [],
    [leaf for leaf in (*x, entering, g, d_final) if leaf is not None],
  )


def _like(x):
  return jax.ShapeDtypeStruct(x.shape, x.dtype)


def _inputs(plan, specs):
  episode = [specs["episode"]] if plan.reset else []
  return [*(specs[name] for name in ("q", "q", "v", "q")), *episode]


def _specs(plan, x, reverse):
  """Returns the blocks of all arrays by name, and the grid."""
  C = plan.chunk
  rows, time, width = x.q.shape
  chunks = time // C

  def of(shape, index):
    if reverse:
      return pl.BlockSpec(shape, lambda n, h, c: index(n, h, chunks - 1 - c))
    return pl.BlockSpec(shape, index)

  state = plan.heads, plan.values, plan.keys
  specs = {
    "q": of((None, C, plan.heads * plan.keys), lambda n, h, c: (n, c, h)),
    "v": of((None, C, plan.heads * plan.values), lambda n, h, c: (n, c, h)),
    "episode": of((None, None, 8, C), lambda n, h, c: (n, c, 0, 0)),
    "state": of((None, *state), lambda n, h, c: (n, h, 0, 0)),
    "entering": of((None, None, *state), lambda n, h, c: (n, c, h, 0, 0)),
  }
  return specs, (rows, width // (plan.heads * plan.keys), chunks)
