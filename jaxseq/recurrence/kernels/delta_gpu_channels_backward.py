"""Cotangents of q, k, read and decays of `delta_scan` on Hopper.

With a decay for each key. The kernel takes all chunks, and all blocks of 64
keys in them, at once: what elements write, the cotangents of the values and the
states at both ends of a chunk with theirs are known then, see
`delta_gpu_backward` for the formulas. Cotangents of pairs go to their elements
level by level, as in `outer_gpu_channels_backward`.
"""

import functools

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
import jax.numpy as jnp

from jaxseq.recurrence import _outer_decays
from jaxseq.recurrence.kernels import delta_gpu
from jaxseq.recurrence.kernels import delta_gpu_channels
from jaxseq.recurrence.kernels import outer_gpu
from jaxseq.recurrence.kernels import outer_gpu_channels as blocks
from jaxseq.recurrence.kernels import support

CHUNK, BLOCK = blocks.CHUNK, blocks.BLOCK
Facts = outer_gpu.Facts


def _wide(tile):
  return blocks.load(tile).astype(jnp.float32)


def _kernel(plan, *refs):
  """One chunk and block of keys of one row."""
  q_ref, k_ref, read_ref, a_ref, facts_ref, w_ref, g_ref, dv_ref, *refs = refs
  entering_ref, after_ref, dq_ref, dk_ref, d_read_ref, da_ref, *refs = refs
  q, k, read, facts, w, g, dv, entering, after, *refs = refs
  high, low, matrix, met, of_q, of_read, rest, ready = refs
  row, chunk = lax.axis_index("row"), lax.axis_index("chunk")
  part = lax.axis_index("part")
  time, keys = pl.ds(chunk * CHUNK, CHUNK), blocks.block(part)
  count = g_ref.shape[2] // BLOCK
  copies = [(facts_ref.at[row, 0, chunk], facts)]
  for ref, tile in ((q_ref, q), (k_ref, k), (read_ref, read)):
    copies.append((ref.at[row, time, keys], tile))
  for i in range(count):
    columns = blocks.block(i)
    for ref, tile in ((w_ref, w), (g_ref, g), (dv_ref, dv)):
      copies.append((ref.at[row, time, columns], tile.at[i]))
    for ref, tile in ((entering_ref, entering), (after_ref, after)):
      copies.append((ref.at[row, chunk, keys, columns], tile.at[i]))
  for source, target in copies:
    plgpu.copy_gmem_to_smem(source, target, ready)

  def over_values(x, y):
    tiles = ((x.at[i], blocks.turned(y.at[i])) for i in range(count))
    return blocks.product(*tiles)

  def to_states(fact, between):
    return delta_gpu_channels.to_states(facts, fact, between, matrix, high, low)

  a = blocks.load(a_ref.at[row, time, keys])
  blocks.split(blocks.log_decays(plan, a), high, low)
  plgpu.barrier_wait(ready)
  outer_gpu.clean(facts, (q, k, read))
  for i in range(count):
    outer_gpu.clean(facts, (), g.at[i])
  # Cotangents of pairs, of rows by columns and the other way.
  later, earlier = blocks.places()
  d_scores = over_values(g, w)
  own = jnp.sum(jnp.where(earlier == later, d_scores, 0.0), axis=1)
  d_scores = jnp.where(earlier < later, d_scores, over_values(w, g))
  same = delta_gpu_channels.sees(facts)
  blocks.write(of_q, jnp.where(same, d_scores, 0.0))
  later, earlier = blocks.places()
  d_reads = over_values(dv, w)
  d_reads = jnp.where(earlier < later, d_reads, over_values(w, dv))
  same = delta_gpu_channels.sees(facts)
  blocks.write(of_read, jnp.where(same, -d_reads, 0.0))
  # Through the states, and of an element with itself.
  later, earlier = blocks.places()
  dk = to_states(Facts.LEAVE, earlier > later) * over_values(w, after)
  later, earlier = blocks.places()
  dq = to_states(Facts.ENTER, earlier <= later) * over_values(g, entering)
  # What these tiles held is not needed any more.
  leaving = w.at[0], g.at[0]
  blocks.split(_wide(k) * dk, *leaving)
  own = lax.broadcast_in_dim(own, (CHUNK, BLOCK), [0])
  dq += own * _wide(k)
  dk += own * _wide(q)

  def through_pairs(tile, pairs, d_later, dk):
    """Adds what elements are asked for by those that meet them."""

    def of_level(index, carry):
      d_later, dk = carry
      level = blocks.Level.of(index)
      decays = jnp.exp2(blocks.summed(matrix, level.between(), high, low))
      x = jnp.where(level.later, blocks.load(tile), blocks.load(k))
      blocks.write(met, x.astype(jnp.float32) * decays)
      zero = jnp.zeros((), jnp.bfloat16)
      across = jnp.where(level.across(), blocks.load(pairs), zero)
      blocks.write(matrix, across)
      d_x = blocks.product((matrix, met)) * decays
      d_later += jnp.where(level.later, d_x, 0.0)
      return d_later, dk + jnp.where(level.later, 0.0, d_x)

    return lax.fori_loop(0, blocks.LEVELS, of_level, (d_later, dk))

  def leave(tile, d, ref):
    blocks.write(tile, d)
    plgpu.copy_smem_to_gmem(tile, ref.at[row, time, keys])

  # Of queries and of reads one after the other, for want of registers.
  dq, dk = through_pairs(q, of_q, dq, dk)
  blocks.split(_wide(q) * dq, of_q, rest)
  leave(q, dq, dq_ref)
  later, earlier = blocks.places()
  d_read = to_states(Facts.ENTER, earlier <= later)
  d_read *= -over_values(dv, entering)
  for i in range(count):
    both = _wide(entering.at[i]) * _wide(after.at[i])
    blocks.write(entering.at[i], both)
  d_read, dk = through_pairs(read, of_read, d_read, dk)
  on_time = _wide(of_q) + _wide(rest)
  on_time += _wide(read) * d_read - _wide(k) * dk
  blocks.split(on_time, of_q, rest)
  leave(read, d_read, d_read_ref)
  leave(k, dk, dk_ref)
  later, earlier = blocks.places()
  da = blocks.summed(matrix, earlier >= later, of_q, rest)
  later, earlier = blocks.places()
  through = jnp.exp2(blocks.summed(matrix, later >= 0, high, low))
  # The same in all rows: the matrix has ones.
  of_states = ((matrix, blocks.turned(entering.at[i])) for i in range(count))
  alive = facts[int(Facts.ENTER), CHUNK - 1] > 0
  da += jnp.where(alive, through * blocks.product(*of_states), 0.0)
  da += blocks.product(*((matrix, tile) for tile in leaving))
  a = blocks.load(a_ref.at[row, time, keys])
  unused = a < _outer_decays.clamp(a)
  if plan.reset:
    # What is none, and what stands at a reset.
    unused |= ~(a < jnp.inf)
    later, earlier = blocks.places()
    goes_on = delta_gpu_channels.sees(facts) & (earlier < later)
    goes_on = blocks.any_of_rows(goes_on)
    goes_on = lax.broadcast_in_dim(goes_on, (CHUNK, BLOCK), [0]) > 0
    unused |= ~goes_on & (blocks.along(facts.at[int(Facts.EPISODE)], 0) > 0)
  da_ref[row, time, keys] = jnp.where(unused, 0.0, da)
  plgpu.wait_smem_to_gmem(0)


@support.in_32_bits
def gradients(
  plan: delta_gpu_channels.Plan,
  x: delta_gpu.Blocks,
  a: jax.Array,
  w: jax.Array,
  g: jax.Array,
  dv: jax.Array,
  entering: jax.Array,
  after: jax.Array,
) -> tuple[jax.Array, ...]:
  """Cotangents of q, k and read, in bfloat16, and of a, in float32.

  Args:
    plan: see there.
    x: without decays.
    a: log-decays [rows, time, K], float32.
    w: what elements write, of `delta_gpu.scan`.
    g: cotangent of the outputs.
    dv: cotangent of the values, of `delta_gpu_backward.adjoint`.
    entering: states that enter the chunks.
    after: cotangents of those after them, of `adjoint`.
  """
  rows, chunks, keys, values = entering.shape
  tile, count = blocks.tile(), values // BLOCK
  return blocks.call(
    plan,
    "delta_channels_gradients",
    functools.partial(_kernel, plan),
    {"row": rows, "chunk": chunks, "part": keys // BLOCK},
    [
      *[jax.ShapeDtypeStruct(x.q.shape, jnp.bfloat16)] * 3,
      jax.ShapeDtypeStruct(a.shape, jnp.float32),
    ],
    [
      *[tile] * 3,
      plgpu.SMEM((len(Facts), CHUNK), jnp.float32),
      *[blocks.tile(count)] * 5,
      *[tile] * 7,
      plgpu.Barrier(num_arrivals=4 + 5 * count),
    ],
    *(x.q, x.k, x.read, a, x.facts, w, g, dv, entering, after),
  )
