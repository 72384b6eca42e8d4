"""The gradient of `delta_scan` on Hopper.

`adjoint` runs backward in time with the cotangent D of the state after a chunk,
M the inverse, P the scores of queries and keys, e and l the factors from the
state before the chunk and to the state after it:

  dv = M^T (P^T g + l k D),  D' = through D + q^T (e g) - read^T (e dv)

`gradients` computes all chunks in parallel: with w the writes, S the entering
state and R the pairs of reads and keys,

  dP = g w^T,  dR = -dv w^T,  dq = dP k + e g S^T,  d_read = dR k - e dv S^T
  dk = dP^T q + dR^T read + l w D^T
"""

import enum
import functools

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
import jax.numpy as jnp

from jaxseq.kernels import _calls
from jaxseq.kernels import _hopper
from jaxseq.kernels.delta import _gpu
from jaxseq.kernels.outer import _gpu as _outer_gpu
from jaxseq.kernels.outer import _gpu_channels as blocks
from jaxseq.recurrence.platform import support

_KEYS = 64  # Keys per block of `gradients`.
_STAGES = _outer_gpu.STAGES

along = _outer_gpu.along
product = _outer_gpu.product
Facts = _outer_gpu.Facts


class Sums(enum.IntEnum):
  """Rows of the cotangents of log-decay sums, to be summed over keys."""

  ELEMENTS = 0  # The sums up to an element.
  LAST = 1  # To be summed over elements: the total sum.


def _scaled(x, facts, fact):
  """Multiplies a tile by a fact of its elements."""
  wide = plgpu.load(x, layout=_outer_gpu.LAYOUT).astype(jnp.float32)
  return wide * along(facts, fact, 0, wide.shape)


def _adjoint_kernel(channels, *refs):
  """Runs over all chunks of one row and block of columns, last one first."""
  q_ref, k_ref, g_ref, read_ref, facts_ref, *refs = refs
  more = [refs.pop(0) for _ in range(2 * channels)]
  inverse_ref, final_ref, dv_ref, init_ref, after_ref, *refs = refs
  tiles, refs = refs[: 6 + len(more)], refs[6 + len(more) :]
  products = None if channels else refs.pop(0)
  asked, low, d_values, narrow, ready = refs
  C, V = _gpu.CHUNK, _gpu.COLUMNS
  chunks = facts_ref.shape[2]
  row = lax.axis_index("row")
  columns = pl.ds(lax.axis_index("column") * V, V)

  def fetch(step):
    slot, chunk = lax.rem(step, jnp.int32(_STAGES)), chunks - 1 - step
    refs = q_ref, k_ref, g_ref, read_ref, facts_ref, inverse_ref, *more
    _gpu.fetch_chunk(refs, tiles, row, chunk, columns, slot, ready)

  def body(step, after):
    slot, chunk = lax.rem(step, jnp.int32(_STAGES)), chunks - 1 - step
    # The previous step's writes have left.
    plgpu.wait_smem_to_gmem(0)
    narrow[...] = after.astype(jnp.bfloat16)
    plgpu.barrier_wait(ready.at[slot])
    pl.when(step + 1 < chunks)(lambda: fetch(step + 1))
    q, k, g, read, facts, inverse, *pairs = (tile.at[slot] for tile in tiles)
    _outer_gpu.clean(facts, () if channels else (q, k, read), g)
    plgpu.commit_smem()
    plgpu.copy_smem_to_gmem(narrow, after_ref.at[row, chunk, :, columns])
    if channels:
      scores, through = pairs[0].transpose((1, 0)), pairs[1]
    else:
      scores, through = products, None
      gram = product(k, q.transpose((1, 0))) * _outer_gpu.decays(facts, True)
      blocks.write(scores, gram)

    def decayed(fact, x):
      return x if channels else x * along(facts, fact, 0, (C, V))

    d_w = decayed(Facts.LEAVE, product(k, narrow))
    d_w += product(scores, g)
    blocks.split(d_w, asked, low)
    parts = (inverse.at[part].transpose((1, 0)) for part in (0, 1))
    dv = _gpu.solved(*parts, asked, low)
    blocks.write(d_values, dv)
    time = pl.ds(chunk * C, C)
    plgpu.copy_smem_to_gmem(d_values, dv_ref.at[row, time, columns])
    blocks.split(decayed(Facts.ENTER, -dv), asked, low)
    if not channels:
      blocks.write(scores, _scaled(g, facts, Facts.ENTER))

    def through_inputs(sums):
      plgpu.wgmma(sums, q.transpose((1, 0)), g if channels else scores)
      plgpu.wgmma(sums, read.transpose((1, 0)), asked)
      plgpu.wgmma(sums, read.transpose((1, 0)), low)
      return sums[...]

    by_inputs = pl.run_scoped(
      through_inputs, plgpu.ACC(after.shape, jnp.float32)
    )
    return _gpu.kept(facts, through, after) + by_inputs

  fetch(jnp.int32(0))
  after = plgpu.load(
    final_ref.at[row, :, columns], layout=_outer_gpu.LAYOUT, optimized=False
  )
  # The product has the type of the loop's results inside `jax.shard_map`.
  after = lax.fori_loop(0, chunks, body, after * 1.0)
  init_ref[row, :, columns] = after
  plgpu.wait_smem_to_gmem(0)


@_calls.in_32_bits
def adjoint(
  form: support.Form,
  x: _gpu.Blocks,
  inverse: jax.Array,
  g: jax.Array,
  d_final: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns cotangents of values, the first state and states after chunks."""
  rows, keys, values = d_final.shape
  chunks, tile = x.facts.shape[2], _outer_gpu.tile
  C, V = _gpu.CHUNK, _gpu.COLUMNS
  wide, tiles = [] if x.channels else [tile(C, V)], _gpu.tiles_of(x, keys)
  arrays = (y for y in x._replace(v=g) if y is not None)
  return _hopper.call(
    "delta_adjoint",
    form,
    functools.partial(_adjoint_kernel, x.channels),
    {"row": rows, "column": values // V},
    [
      _hopper.bfloat16(x.v.shape),
      _hopper.float32(d_final.shape),
      _hopper.bfloat16((rows, chunks, keys, values)),
    ],
    [
      *(*tiles, *wide),
      *[tile(C, V)] * 3,
      tile(keys, V),
      plgpu.Barrier(num_arrivals=len(tiles), num_barriers=_STAGES),
    ],
    (*arrays, inverse, d_final),
    x.v,
    **_hopper.APPROXIMATE,
  )


def _gradients_kernel(*refs):
  """Computes one chunk of one row, for some of the keys."""
  q_ref, k_ref, read_ref, facts_ref, w_ref, g_ref, dv_ref, *refs = refs
  entering_ref, after_ref, dq_ref, dk_ref, d_read_ref, sums_ref, *refs = refs
  q, k, read, facts, *refs = refs
  w, g, dv, entering, after, scores, reads, sums, *refs = refs
  shared, ready, again = refs
  C, K, V = _gpu.CHUNK, _KEYS, _gpu.COLUMNS
  row, chunk = lax.axis_index("row"), lax.axis_index("chunk")
  part = lax.axis_index("part")
  time, keys = pl.ds(chunk * C, C), pl.ds(part * K, K)
  steps = g_ref.shape[2] // V

  def fetch(step, count, barrier):
    """Fetches the first `count` tiles of some columns."""
    columns = pl.ds(step * V, V)
    of_values, of_state = (row, time, columns), (row, chunk, keys, columns)
    tiles = (
      (g_ref.at[of_values], g),
      (dv_ref.at[of_values], dv),
      (entering_ref.at[of_state], entering),
      (w_ref.at[of_values], w),
      (after_ref.at[of_state], after),
    )
    _hopper.fetch(tiles[:count], barrier)

  def scale(tile, fact, sign=1):
    # The scaled numbers replace the tile.
    scaled = sign * _scaled(tile, facts, fact)
    tile[...] = scaled.astype(jnp.bfloat16)

  def of_pairs(d_scores, d_reads, dk):
    """Writes cotangents of the pairs to shared memory; returns the keys'."""

    def body(step, of_states):
      plgpu.barrier_wait(ready)
      _outer_gpu.clean(facts, (), g)
      plgpu.wgmma(d_scores, g, w.transpose((1, 0)))
      plgpu.wgmma(d_reads, dv, w.transpose((1, 0)))
      wide = blocks.load(entering).astype(jnp.float32)
      of_states += jnp.sum(wide * blocks.load(after).astype(jnp.float32), 1)
      plgpu.wgmma_wait(0)
      scale(w, Facts.LEAVE)
      plgpu.commit_smem()
      plgpu.wgmma(dk, w, after.transpose((1, 0)))
      plgpu.wgmma_wait(0)
      pl.when(step + 1 < steps)(lambda: fetch(step + 1, 5, ready))
      return of_states

    zeros = plgpu.layout_cast(
      jnp.zeros((K,), jnp.float32), _outer_gpu.LAYOUT.reduce(1)
    )
    of_states = lax.fori_loop(0, steps, body, zeros)
    # So far the keys' cotangents are only those through the state.
    by_states = jnp.sum(dk[...] * blocks.load(k).astype(jnp.float32), 1)
    through = facts[int(Facts.ENTER), C - 1]
    sums[int(Sums.LAST), :] = by_states + through * of_states
    decayed = d_scores[...] * _outer_gpu.decays(facts)
    scores[...] = decayed.astype(jnp.bfloat16)
    decayed = -_gpu.earlier(d_reads[...] * _outer_gpu.decays(facts))
    reads[...] = decayed.astype(jnp.bfloat16)
    plgpu.commit_smem()
    plgpu.wgmma(dk, scores.transpose((1, 0)), q)
    plgpu.wgmma(dk, reads.transpose((1, 0)), read)
    return dk[...]

  def of_queries(dq, d_read):
    """Returns the cotangents of queries and reads."""

    def body(step, _):
      plgpu.barrier_wait(again)
      _outer_gpu.clean(facts, (), g)
      scale(g, Facts.ENTER)
      scale(dv, Facts.ENTER, -1)
      plgpu.commit_smem()
      plgpu.wgmma(dq, g, entering.transpose((1, 0)))
      plgpu.wgmma(d_read, dv, entering.transpose((1, 0)))
      plgpu.wgmma_wait(0)
      pl.when(step + 1 < steps)(lambda: fetch(step + 1, 3, again))

    lax.fori_loop(0, steps, body, None)
    plgpu.wgmma(dq, scores, k)
    plgpu.wgmma(d_read, reads, k)
    return dq[...], d_read[...]

  def asked(x, d):
    return jnp.sum(d * blocks.load(x).astype(jnp.float32), 1)

  def leave(tile, d, ref):
    blocks.write(tile, d)
    plgpu.copy_smem_to_gmem(tile, ref.at[row, time, keys])

  pairs = [(facts_ref.at[row, 0, chunk], facts)]
  for ref, tile in ((q_ref, q), (k_ref, k), (read_ref, read)):
    pairs.append((ref.at[row, time, keys], tile))
  _hopper.fetch(pairs, shared)
  fetch(jnp.int32(0), 5, ready)
  plgpu.barrier_wait(shared)
  _outer_gpu.clean(facts, (q, k, read))
  accumulator = plgpu.ACC((C, K), jnp.float32)
  dk = pl.run_scoped(of_pairs, *[accumulator] * 3)
  fetch(jnp.int32(0), 3, again)
  by_keys = asked(k, dk)
  leave(w, dk, dk_ref)
  dq, d_read = pl.run_scoped(of_queries, *[accumulator] * 2)
  sums[int(Sums.ELEMENTS), :] = asked(q, dq) + asked(read, d_read) - by_keys
  leave(after, dq, dq_ref)
  leave(entering, d_read, d_read_ref)
  plgpu.copy_smem_to_gmem(sums, sums_ref.at[row, chunk, part])
  plgpu.wait_smem_to_gmem(0)


@_calls.in_32_bits
def gradients(
  form: support.Form,
  x: _gpu.Blocks,
  w: jax.Array,
  g: jax.Array,
  dv: jax.Array,
  entering: jax.Array,
  after: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
  """Returns cotangents of q, k, read; `Sums` [rows, chunks, K / 64, 2, C]."""
  rows, chunks, keys, _ = entering.shape
  C, parts = _gpu.CHUNK, keys // _KEYS
  sums = rows, chunks, parts, len(Sums), C
  tile = _outer_gpu.tile(C, _KEYS)
  return _hopper.call(
    "delta_gradients",
    form,
    _gradients_kernel,
    {"row": rows, "chunk": chunks, "part": parts},
    [*[_hopper.bfloat16(x.q.shape)] * 3, _hopper.float32(sums)],
    [
      *[tile] * 3,
      plgpu.SMEM((len(Facts), C), jnp.float32),
      *[tile] * 7,
      plgpu.SMEM((len(Sums), C), jnp.float32),
      plgpu.Barrier(num_arrivals=4),
      plgpu.Barrier(num_arrivals=5),
      plgpu.Barrier(num_arrivals=3),
    ],
    (x.q, x.k, x.read, x.facts, w, g, dv, entering, after),
    x.v,
    **_hopper.APPROXIMATE,
  )
