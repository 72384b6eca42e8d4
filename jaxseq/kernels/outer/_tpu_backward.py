"""The gradient of `outer_scan` on a TPU, with a decay per head or none."""

import functools
from typing import NamedTuple

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
import jax.numpy as jnp

from jaxseq.kernels.outer import _products
from jaxseq.kernels.outer import _tpu
from jaxseq.kernels.outer import _tpu_call

dot = _products.dot


class _Cotangents(NamedTuple):
  """Cotangents of the arrays of one tile."""

  keys: slice
  values: slice
  q: jax.Array
  k: jax.Array
  v: jax.Array
  state: jax.Array
  sums: list[tuple[jax.Array, jax.Array]]  # Per head, see `_rows`.


def _backward_tile(plan, shared, tile, gram, q, k, v, g, state, d_after):
  """Returns cotangents of `gram` and, without those by it, a tile's inputs."""
  by, V = _tpu.factors(plan, shared, tile), plan.values
  wide_v, wide_g = v.astype(jnp.float32), g.astype(jnp.float32)
  narrow_after = d_after.astype(v.dtype)
  entering = (by.enter * wide_g).astype(v.dtype)
  leaving = (by.leave * wide_v).astype(v.dtype)
  d_leaving = by.leave * dot(k, narrow_after, 1, 0)
  d_state = by.through * d_after + dot(q, entering, 0, 0)
  dq, dk = dot(entering, state, 1, 1), dot(leaving, narrow_after, 1, 1)
  if plan.decay:
    # Cotangents of the decay sums by the states.
    by_keys = wide_v * d_leaving
    by_states = wide_g * (by.enter * dot(q, state, 1, 0)) - by_keys
    by_last = jnp.sum(by_keys, 0, keepdims=True) + by.through * jnp.sum(
      d_after * state.astype(jnp.float32), 0, keepdims=True
    )
  lane = lax.broadcasted_iota(jnp.int32, wide_v.shape, 1)
  d_gram, d_values, sums = 0.0, [], []
  for head, pairs in enumerate(by.pairs):
    lanes = (lane >= head * V) & (lane < (head + 1) * V)

    def of_head(x, lanes=lanes):
      return x if len(by.pairs) == 1 else jnp.where(lanes[: x.shape[0]], x, 0.0)

    d_pairs = dot(of_head(wide_g).astype(v.dtype), v, 1, 1) * pairs
    d_gram += d_pairs
    d_values.append(dot((gram * pairs).astype(v.dtype), g, 0, 0))
    if plan.decay:
      d_pairs = d_pairs * gram
      last = jnp.sum(of_head(by_last), 1, keepdims=True)
      row = jnp.sum(d_pairs, 0, keepdims=True)
      element = lax.broadcasted_iota(jnp.int32, row.shape, 1)
      row = jnp.where(element == plan.chunk - 1, last - row, -row)
      column = jnp.sum(d_pairs, 1, keepdims=True)
      column += jnp.sum(of_head(by_states), 1, keepdims=True)
      sums.append((column, row))
  dv = d_leaving + _products.beside(d_values, V)
  return d_gram, _Cotangents(tile.keys, tile.values, dq, dk, dv, d_state, sums)


def _backward_kernel(plan, count, *refs):
  """Computes one chunk, later ones first; `d_init` carries cotangents."""
  q_ref, k_ref, v_ref, *refs = refs
  facts_ref = refs.pop(0) if plan.decay or plan.reset else None
  entering_ref, g_ref, d_final_ref, *refs = refs
  dq_ref, dk_ref, dv_ref, d_init_ref, *refs = refs
  d_facts_ref = refs.pop(0) if plan.decay else None
  sum_q, sum_k = refs
  block = pl.program_id(3)

  @pl.when(pl.program_id(2) == 0)
  def _():
    d_init_ref[block] = d_final_ref[block]

  @pl.when(block == 0)
  def _():
    sum_q[...] = jnp.zeros_like(sum_q)
    sum_k[...] = jnp.zeros_like(sum_k)

  shared = _tpu.given_of(plan, facts_ref)

  def attempt(careful):
    results, worth = (
      [],
      _tpu.bad_decays(plan, shared) if plan.reset else [],
    )
    for group in range(plan.groups):
      gram, d_gram = None, 0.0
      for tile in _tpu.tiles(plan, group):
        x = q_ref[:, tile.keys], k_ref[:, tile.keys], v_ref[:, tile.values]
        x = *x, entering_ref[:, tile.values]
        g = g_ref[:, tile.values]
        d_after = d_init_ref[block, :, tile.values]
        if careful:
          bad = _tpu.ruined(plan, shared, tile, *x)
          g = jnp.where(bad[0], 0.0, g.astype(jnp.float32)).astype(g.dtype)
          d_after = jnp.where(bad[1], 0.0, d_after)
          x = map(_products.clean, x)
        q, k, v, state = x
        gram = dot(q, k, 1, 1) if gram is None else gram
        more, d = _backward_tile(
          *(plan, shared, tile, gram, q, k, v, g, state, d_after)
        )
        d_gram += more
        worth += [d.v, d.state]
        results.append(d._replace(v=d.v.astype(dv_ref.dtype)))
      d_gram = d_gram.astype(q.dtype)
      d = results[-1]
      d = d._replace(q=d.q + dot(d_gram, k, 1, 0), k=d.k + dot(d_gram, q, 0, 0))
      results[-1] = d
      worth += [d.q, d.k]
    return results, worth

  def store(results):
    for d in results:
      sum_q[:, d.keys] += d.q
      sum_k[:, d.keys] += d.k
      dv_ref[:, d.values] = d.v
      d_init_ref[block, :, d.values] = d.state
    if plan.decay:
      d_facts_ref[...] = _rows(plan, [x for d in results for x in d.sums])

  _tpu_call.store_defined(plan.reset, attempt, store)

  @pl.when(block == count - 1)
  def _():
    dq_ref[...] = sum_q[...].astype(dq_ref.dtype)
    dk_ref[...] = sum_k[...].astype(dk_ref.dtype)


def _rows(plan, sums):
  """Returns cotangents [8 n, C] of the heads' sums, from columns and rows."""
  C, height = plan.chunk, _tpu.eights(len(sums))
  lane = lax.broadcasted_iota(jnp.int32, (C, height), 1)
  line = lax.broadcasted_iota(jnp.int32, (height, C), 0)
  columns = jnp.zeros((C, height), jnp.float32)
  rows = jnp.zeros((height, C), jnp.float32)
  for index, (column, row) in enumerate(sums):
    columns = jnp.where(lane == index, column, columns)
    rows = jnp.where(line == index, row, rows)
  return columns.T + rows


def backward(
  plan: _tpu.Plan,
  x: _tpu.Blocks,
  entering: jax.Array,
  g: jax.Array,
  d_final: jax.Array,
) -> tuple[jax.Array, ...]:
  """Returns cotangents of q, k, v and init, and of decay sums if any."""
  specs, grid = _tpu.block_specs(plan, x, d_final, reverse=True)
  shapes = [jax.ShapeDtypeStruct(y.shape, y.dtype) for y in (x.q, x.k, x.v)]
  shapes.append(jax.ShapeDtypeStruct(d_final.shape, jnp.float32))
  outputs = [specs["q"], specs["q"], specs["v"], specs["state"]]
  if plan.decay:
    height = _tpu.eights(plan.groups * plan.heads)
    lead = x.facts.shape[:4]
    shapes.append(
      jax.ShapeDtypeStruct((*lead, height, plan.chunk), jnp.float32)
    )
    outputs.append(specs["d_facts"])
  facts = [] if x.facts is None else [specs["facts"]]
  scratch = pltpu.VMEM((plan.chunk, plan.groups * plan.keys), jnp.float32)
  return _tpu_call.call(
    "outer_backward",
    plan.form,
    functools.partial(_backward_kernel, plan, grid[3]),
    grid,
    [
      *(specs["q"], specs["q"], specs["v"], *facts),
      *(specs["entering"], specs["v"], specs["state"]),
    ],
    outputs,
    shapes,
    [scratch, scratch],
    [leaf for leaf in (*x, entering, g, d_final) if leaf is not None],
  )
