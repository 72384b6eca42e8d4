"""The gradient of `delta_scan` on a TPU, backward in time."""

import functools

import jax
from jax import lax
from jax.experimental import pallas as pl
import jax.numpy as jnp

from jaxseq.kernels.delta import _products
from jaxseq.kernels.delta import _tpu
from jaxseq.kernels.delta import _tpu_channels
from jaxseq.kernels.outer import _products as _outer_products
from jaxseq.kernels.outer import _tpu_call as _outer_tpu_call

dot = _outer_products.dot


def _row(shared, x, g, state, d_after):
  """Returns cotangents of a row's chunk."""
  by, narrow = shared.by, x.v.dtype
  inverse, w = _tpu.written(shared, x, state.astype(jnp.float32))
  scores = (dot(x.q, x.k, 1, 1) * by.pairs).astype(narrow)
  narrow_after, narrow_w = d_after.astype(narrow), w.astype(narrow)
  asked = by.leave * dot(x.k, narrow_after, 1, 0)
  d_w = dot(scores, g, 0, 0) + asked
  dv = _products.accurate(inverse, d_w, 0, 0, narrow)
  narrow_dv = dv.astype(narrow)
  d_scores = (dot(g, narrow_w, 1, 1) * by.pairs).astype(narrow)
  d_reads = (-dot(narrow_dv, narrow_w, 1, 1) * by.strict).astype(narrow)
  dq = dot(d_scores, x.k, 1, 0) + by.enter * dot(g, state, 1, 1)
  d_read = dot(d_reads, x.k, 1, 0) - by.enter * dot(narrow_dv, state, 1, 1)
  dk = dot(d_scores, x.q, 0, 0) + dot(d_reads, x.read, 0, 0)
  dk += by.leave * dot(narrow_w, narrow_after, 1, 1)
  entering_g = (by.enter * g.astype(jnp.float32)).astype(narrow)
  entering_dv = (by.enter * dv).astype(narrow)
  d_state = by.through * d_after + dot(x.q, entering_g, 0, 0)
  d_state -= dot(x.read, entering_dv, 0, 0)
  wide = (y.astype(jnp.float32) for y in (x.q, x.read, x.k))
  on_time = sum(
    sign * jnp.sum(y * dy, 1, keepdims=True)
    for sign, y, dy in zip((1, 1, -1), wide, (dq, d_read, dk))
  )
  last = jnp.sum(asked * w, keepdims=True)
  last += by.through * jnp.sum(
    d_after * state.astype(jnp.float32), keepdims=True
  )
  sums = jnp.broadcast_to(on_time, (*on_time.shape[:1], 8)).T[:1]
  element = lax.broadcasted_iota(jnp.int32, sums.shape, 1)
  sums += jnp.where(element == sums.shape[1] - 1, last, 0.0)
  return _products.Cotangents(dq, dk, dv, d_read, d_state, sums)


def _kernel(plan, *refs):
  """Computes one chunk, later ones first; `d_init` carries cotangents."""
  inputs, refs = _tpu.inputs_of(plan, refs)
  entering_ref, g_ref, d_final_ref, *d_refs = refs
  *d_inputs, d_init_ref = d_refs[:5]
  d_decays_ref = d_refs[5] if plan.decay else None
  of_row = _tpu_channels.backward if plan.channels else _row

  @pl.when(pl.program_id(2) == 0)
  def _():
    d_init_ref[...] = d_final_ref[...]

  def attempt(careful):
    results, worth = [], []
    for row in range(plan.rows):
      x = _tpu.row_of(inputs, row)
      shared = _tpu.given_of(plan, x.a, x.facts, careful)
      g, state, d_after = g_ref[row], entering_ref[row], d_init_ref[row]
      if plan.reset and plan.decay:
        worth.append(jnp.where(shared.bad > 0, jnp.inf, 0.0))
      if careful:
        x, state, bad = _tpu.set_aside(shared, x, state)
        g = jnp.where(bad[0], 0.0, g.astype(jnp.float32)).astype(g.dtype)
        d_after = jnp.where(bad[1], 0.0, d_after)
      d = of_row(shared, x, g, state, d_after)
      worth += d[:5]
      results.append(d)
    return results, worth

  def store(results):
    for row, d in enumerate(results):
      for ref, y in zip(d_inputs, d):
        ref[row] = y.astype(ref.dtype)
      d_init_ref[row] = d.state
      if plan.channels:
        d_decays_ref[row] = d.decays
      elif plan.decay:
        d_decays_ref[row] = jnp.broadcast_to(d.decays, (8, plan.chunk))

  _outer_tpu_call.store_defined(plan.reset, attempt, store)


def backward(
  plan: _tpu.Plan,
  x: _tpu.Blocks,
  entering: jax.Array,
  g: jax.Array,
  d_final: jax.Array,
) -> tuple[jax.Array | None, ...]:
  """Returns cotangents of q, k, v, read, init and decays (None without)."""
  specs, grid = _tpu.block_specs(plan, x, d_final, reverse=True)
  arrays, blocks = _tpu.arguments_of(specs, x)
  shapes = [jax.ShapeDtypeStruct(y.shape, y.dtype) for y in x[:4]]
  shapes.append(jax.ShapeDtypeStruct(d_final.shape, jnp.float32))
  outputs = [specs[name] for name in ("q", "q", "v", "q", "state")]
  if plan.channels:
    shapes.append(jax.ShapeDtypeStruct(x.a.shape, jnp.float32))
    outputs.append(specs["q"])
  elif plan.decay:
    shape = *x.facts.shape[:2], 8, plan.chunk
    shapes.append(jax.ShapeDtypeStruct(shape, jnp.float32))
    outputs.append(specs["d_sums"])
  cotangents = _outer_tpu_call.call(
    "delta_backward",
    plan.form,
    functools.partial(_kernel, plan),
    grid,
    [*blocks, specs["entering"], specs["v"], specs["state"]],
    outputs,
    shapes,
    [],
    [*arrays, entering, g, d_final],
  )
  return (*cotangents, *([] if plan.decay else [None]))
