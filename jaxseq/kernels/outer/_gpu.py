"""Chunks of `outer_scan` on Hopper, with a decay per head or none.

A block is a warpgroup that runs one row, one head and some columns of its
values through all chunks, with the state in registers. Backward in time the
same recurrence, with q and k swapped and the outputs' cotangents g as values,
computes the cotangents of values and states:

  dv_j = sum_{t >= j} (k_j q_t) exp(s_t - s_j) g_t + exp(s_C - s_j) k_j D
  D'   = exp(s_C) D + sum_t exp(s_t) q_t g_t^T

With `Ones` keys have weights exp(w_j), and the values have an additional column
of ones, which is not in memory; in the backward pass its cotangents are in
`facts`.
"""

import enum
import functools
from typing import NamedTuple

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
import jax.numpy as jnp

from jaxseq.kernels import _calls
from jaxseq.kernels import _hopper
from jaxseq.kernels.outer import _products
from jaxseq.recurrence.platform import support

CHUNK = 64  # Rows of a product of the warpgroup.
# Columns of values per block: with 128 keys its registers fit such a state.
COLUMNS = 64
MOST_KEYS = 128
# Chunks in flight.
STAGES = 2
LAYOUT = plgpu.Layout.WGMMA


class Facts(enum.IntEnum):
  """Rows of `facts`, each with one number per element."""

  SUMS = 0  # Sums of the log-decays.
  EPISODE = 1  # Number of resets up to the element.
  ENTER = 2  # Factor from the state before the chunk.
  LEAVE = 3  # Factor to the state after the chunk.
  DOUBT = (
    4  # 2 where the output is undefined; 1 beside such in a chunk; else 0.
  )


class Weighted(enum.IntEnum):
  """Further rows of `facts`, with `Ones`."""

  KEYS = len(Facts)  # The sums of the log-decays, minus the key's log-weight.
  GIVEN = len(Facts) + 1  # Cotangent of the ones' output; only backward.


class Blocks(NamedTuple):
  """Arrays of the kernels; states are [rows, heads, K, V]."""

  q: jax.Array  # [rows, time, groups * K]
  k: jax.Array  # [rows, time, groups * K]
  v: jax.Array  # [rows, time, heads * V]
  facts: jax.Array  # [rows, heads, chunks, F, C], see `Facts`


class Ones(NamedTuple):
  """Results for the column of ones, in float32."""

  outputs: jax.Array | None  # [rows, heads, chunks, C], None backward
  final: jax.Array  # [rows, heads, K], the state after the last chunk
  entering: jax.Array | None  # [rows, heads, chunks, K], if requested


def fact_of(facts, fact, axis=0):
  """Loads a fact of the elements, which are an axis of matrices."""
  return plgpu.load(facts.at[int(fact)], layout=LAYOUT.reduce(1 - axis))


def along(facts, fact, axis, shape):
  """Broadcasts a fact of an axis's elements."""
  return lax.broadcast_in_dim(fact_of(facts, fact, axis), shape, [axis])


def spread(x, axis):
  """Broadcasts a vector along an axis to a [C, C] matrix."""
  return lax.broadcast_in_dim(x, (CHUNK, CHUNK), [axis])


def product(x, y):
  """Multiplies matrices in shared memory."""

  def run(sums):
    plgpu.wgmma(sums, x, y)
    return sums[...]

  return pl.run_scoped(run, plgpu.ACC((x.shape[0], y.shape[1]), jnp.float32))


def decays(facts, reverse=False, weighted=False):
  """Returns decays [C, C] to row elements from the ones that they see."""
  shape, sign = (CHUNK, CHUNK), -1 if reverse else 1
  later, earlier = Facts.SUMS, Weighted.KEYS if weighted else Facts.SUMS
  of_row, of_column = (earlier, later) if reverse else (later, earlier)
  rows, columns = (
    plgpu.broadcasted_iota(jnp.int32, shape, axis, layout=LAYOUT)
    for axis in (0, 1)
  )
  seen = (rows <= columns if reverse else rows >= columns) & (
    along(facts, Facts.EPISODE, 0, shape)
    == along(facts, Facts.EPISODE, 1, shape)
  )
  between = along(facts, of_row, 0, shape)
  between = sign * (between - along(facts, of_column, 1, shape))
  return jnp.exp(jnp.where(seen, between, -jnp.inf))


def clean(facts, inputs, cotangents=None):
  """Replaces undefined inputs of the chunk by zeros."""

  @pl.when(facts[int(Facts.DOUBT), CHUNK - 1] > 0)
  def _():
    for ref in inputs:
      ref[...] = _products.clean(plgpu.load(ref, layout=LAYOUT))
    if cotangents is not None:
      x = plgpu.load(cotangents, layout=LAYOUT).astype(jnp.float32)
      x = jnp.where(along(facts, Facts.DOUBT, 0, x.shape) > 1, 0.0, x)
      cotangents[...] = x.astype(jnp.bfloat16)
    plgpu.commit_smem()


def _kernel(groups, keys, reverse, keeps, weighted, *refs):
  """Scans all chunks of one row, head and block of columns."""
  q_ref, k_ref, v_ref, facts_ref, init_ref, *refs = refs
  ones_init_ref = refs.pop(0) if weighted else None
  o_ref, final_ref, *refs = refs
  entering_ref = refs.pop(0) if keeps else None
  ones_final_ref = refs.pop(0) if weighted else None
  ones_entering_ref = refs.pop(0) if weighted and keeps else None
  ones_ref = refs.pop(0) if weighted and not reverse else None
  q_tiles, k_tiles, v_tiles, facts_tiles, scores, mixed, narrow, *refs = refs
  n = refs.pop(0) if weighted else None
  (ready,) = refs
  C, K, V = CHUNK, keys, COLUMNS
  heads, chunks = facts_ref.shape[1:3]
  row, head = lax.axis_index("rows"), lax.axis_index("heads")
  head_columns = v_ref.shape[2] // heads
  of_v = pl.ds(head * head_columns + lax.axis_index("columns") * V, V)
  of_k = pl.ds(head * groups // heads * K, K)
  of_state = pl.ds(lax.axis_index("columns") * V, V)
  enter, leave = Facts.ENTER, Facts.LEAVE
  if reverse:
    enter, leave = leave, enter

  def chunk_at(step):
    return chunks - 1 - step if reverse else step

  def fetch(step):
    slot, chunk = lax.rem(step, jnp.int32(STAGES)), chunk_at(step)
    time = pl.ds(chunk * C, C)
    pairs = (
      (q_ref.at[row, time, of_k], q_tiles.at[slot]),
      (k_ref.at[row, time, of_k], k_tiles.at[slot]),
      (v_ref.at[row, time, of_v], v_tiles.at[slot]),
      (facts_ref.at[row, head, chunk], facts_tiles.at[slot]),
    )
    _hopper.fetch(pairs, ready.at[slot])

  first = lax.axis_index("columns") == 0
  # The keys of the column of ones are processed in parts, to save registers.
  parts = [pl.ds(part, V) for part in range(0, K, V)]

  def load(ref):
    return plgpu.load(ref, layout=LAYOUT).astype(jnp.float32)

  def of_keys(ref, optimized=True):
    return plgpu.load(ref, layout=LAYOUT.reduce(0), optimized=optimized)

  def write_ones(ref, *chunk):
    """Writes the state of the column of ones."""

    @pl.when(first)
    def _():
      for part in parts:
        ref[row, head, *chunk, part] = of_keys(n.at[part])

  def read_ones(q):
    """Multiplies the queries by the ones' state, [C]."""
    total = jnp.zeros((), jnp.float32)
    for part in parts:
      total += jnp.sum(load(q.at[:, part]) * spread(of_keys(n.at[part]), 1), 1)
    return total

  def add_ones(k, facts):
    """Updates the ones' state to the one after the chunk."""
    leaving = fact_of(facts, leave)
    if reverse:
      leaving *= fact_of(facts, Weighted.GIVEN)
    through = facts[int(Facts.ENTER), C - 1]
    for part in parts:
      added = jnp.sum(load(k.at[:, part]) * spread(leaving, 0), 0)
      after = through * of_keys(n.at[part]) + added
      plgpu.commit_smem()  # All warps have read the state.
      n[part] = after

  def body(step, state):
    slot, chunk = lax.rem(step, jnp.int32(STAGES)), chunk_at(step)
    if keeps:
      # The entering state has left, perhaps not yet the outputs.
      plgpu.wait_smem_to_gmem(1)
    narrow[...] = state.astype(jnp.bfloat16)
    if ones_entering_ref is not None:
      write_ones(ones_entering_ref, chunk)
    plgpu.barrier_wait(ready.at[slot])
    pl.when(step + 1 < chunks)(lambda: fetch(step + 1))
    q, k, v = q_tiles.at[slot], k_tiles.at[slot], v_tiles.at[slot]
    facts = facts_tiles.at[slot]
    if reverse:
      clean(facts, (q, k), v)
    else:
      clean(facts, (q, k, v))
    leaving = load(v) * along(facts, leave, 0, (C, V))
    mixed[...] = leaving.astype(jnp.bfloat16)
    if ones_ref is not None:
      ones = read_ones(q) * fact_of(facts, enter)
    gram = product(q, k.transpose((1, 0)))
    gram *= decays(facts, reverse, weighted)
    if ones_ref is not None:
      ones += jnp.sum(gram, 1)

      @pl.when(first)
      def _():
        ones_ref[row, head, chunk, :] = ones

    # The outputs of the previous chunk have left.
    plgpu.wait_smem_to_gmem(0)
    scores[...] = gram.astype(jnp.bfloat16)
    plgpu.commit_smem()
    if keeps:
      target = entering_ref.at[row, head, chunk, :, of_state]
      plgpu.copy_smem_to_gmem(narrow, target)
    o = product(q, narrow) * along(facts, enter, 0, (C, V))
    o += product(scores, v)
    if not reverse:
      o = jnp.where(along(facts, Facts.DOUBT, 0, (C, V)) > 1, jnp.nan, o)
    if weighted:
      add_ones(k, facts)
    # Outputs reuse the memory of the scores.
    scores[...] = o.astype(jnp.bfloat16)
    plgpu.commit_smem()
    plgpu.copy_smem_to_gmem(scores, o_ref.at[row, pl.ds(chunk * C, C), of_v])
    through = facts[int(Facts.ENTER), C - 1]
    return through * state + product(k.transpose((1, 0)), mixed)

  fetch(jnp.int32(0))
  state = plgpu.load(
    init_ref.at[row, head, :, of_state], layout=LAYOUT, optimized=False
  )
  if weighted:
    for part in parts:
      n[part] = of_keys(ones_init_ref.at[row, head, part], optimized=False)
    plgpu.commit_smem()
  # The product has the type of the loop's results inside `jax.shard_map`.
  state = lax.fori_loop(0, chunks, body, state * 1.0)
  final_ref[row, head, :, of_state] = state
  if weighted:
    write_ones(ones_final_ref)
  plgpu.wait_smem_to_gmem(0)


def tile(*shape):
  """Returns shared memory for an operand of products."""
  swizzle = plgpu.find_swizzle(shape[-1] * 16)
  transforms = (
    plgpu.TilingTransform((8, swizzle // 2)),
    plgpu.SwizzleTransform(swizzle),
  )
  return plgpu.SMEM(shape, jnp.bfloat16, transforms=transforms)


@_calls.in_32_bits
def scan(
  form: support.Form,
  groups: int,
  x: Blocks,
  init: jax.Array,
  *,
  keeps: bool,
  reverse: bool = False,
  ones: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array | None, Ones | None]:
  """Returns outputs like v, last state, entering states if requested, ones."""
  # Entering states are [rows, heads, chunks, K, V] in bfloat16. Time is a
  # multiple of `CHUNK`, K a multiple of 64 up to `MOST_KEYS`, and V one of
  # `COLUMNS`; q, k and v are bfloat16, the others float32. With `reverse` q and
  # k are swapped, g replaces v, and `init` is the state after the last chunk.
  # `ones` [rows, heads, K] is like `init` for the column of ones, or None; with
  # it each head has its own queries and keys.
  rows, heads, K, V = init.shape
  wide, stages = COLUMNS, (STAGES, CHUNK)
  chunks, count = x.facts.shape[2:4]
  weighted = ones is not None
  results = {
    "o": jax.ShapeDtypeStruct(x.v.shape, x.v.dtype),
    "final": _hopper.float32(init.shape),
  }
  if keeps:
    states = rows, heads, chunks, K, V
    results["entering"] = _hopper.bfloat16(states)
  if weighted:
    results["ones_final"] = _hopper.float32(ones.shape)
    if keeps:
      results["ones_entering"] = _hopper.float32((rows, heads, chunks, K))
    if not reverse:
      results["ones"] = _hopper.float32((rows, heads, chunks, CHUNK))
  outs = _hopper.call(
    "outer_reverse" if reverse else "outer_forward",
    form,
    functools.partial(_kernel, groups, K, reverse, keeps, weighted),
    {"rows": rows, "heads": heads, "columns": V // wide},
    results.values(),
    [
      *(tile(*stages, K), tile(*stages, K), tile(*stages, wide)),
      plgpu.SMEM((STAGES, count, CHUNK), jnp.float32),
      *(tile(CHUNK, CHUNK), tile(CHUNK, wide), tile(K, wide)),
      *([plgpu.SMEM((K,), jnp.float32)] if weighted else []),
      plgpu.Barrier(num_arrivals=4, num_barriers=STAGES),
    ],
    (*x, init, *([ones] if weighted else [])),
    x.v,
    **_hopper.APPROXIMATE,
  )
  outs = dict(zip(results, outs))
  beside = None
  if weighted:
    beside = Ones(
      outs.get("ones"), outs["ones_final"], outs.get("ones_entering")
    )
  return outs["o"], outs["final"], outs.get("entering"), beside
