"""Cotangents of q, k, read and each key's decays of `delta_scan` on Hopper."""

import functools

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
import jax.numpy as jnp

from jaxseq.kernels import _calls
from jaxseq.kernels import _hopper
from jaxseq.kernels.delta import _gpu
from jaxseq.kernels.delta import _gpu_channels
from jaxseq.kernels.outer import _gpu as _outer_gpu
from jaxseq.kernels.outer import _gpu_channels as blocks
from jaxseq.recurrence.outer import _outer_decays

CHUNK, BLOCK = blocks.CHUNK, blocks.BLOCK
Facts = _outer_gpu.Facts


def _wide(tile):
  return blocks.load(tile).astype(jnp.float32)


def _kernel(plan, *refs):
  """Computes one chunk and block of keys of one row."""
  q_ref, k_ref, read_ref, a_ref, facts_ref, w_ref, g_ref, dv_ref, *refs = refs
  entering_ref, after_ref, dq_ref, dk_ref, d_read_ref, da_ref, *refs = refs
  q, k, read, facts, w, g, dv, entering, after, *refs = refs
  high, low, matrix, met, of_q, of_read, leaving_rest, ready = refs
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
  _hopper.fetch(copies, ready)

  def over_values(x, y):
    tiles = ((x.at[i], blocks.turned(y.at[i])) for i in range(count))
    return blocks.product(*tiles)

  def to_states(fact, between):
    return _gpu_channels.to_states(facts, fact, between, matrix, high, low)

  a = blocks.load(a_ref.at[row, time, keys])
  blocks.split(blocks.log_decays(plan, a), high, low)
  plgpu.barrier_wait(ready)
  _outer_gpu.clean(facts, (q, k, read))
  for i in range(count):
    _outer_gpu.clean(facts, (), g.at[i])
  # Cotangents of pairs, both row by column and transposed.
  later, earlier = blocks.places()
  d_scores = over_values(g, w)
  diagonal = jnp.sum(jnp.where(earlier == later, d_scores, 0.0), axis=1)
  d_scores = jnp.where(earlier < later, d_scores, over_values(w, g))
  same = _gpu_channels.sees(facts)
  blocks.write(of_q, jnp.where(same, d_scores, 0.0))
  later, earlier = blocks.places()
  d_reads = over_values(dv, w)
  d_reads = jnp.where(earlier < later, d_reads, over_values(w, dv))
  same = _gpu_channels.sees(facts)
  blocks.write(of_read, jnp.where(same, -d_reads, 0.0))

  # Through the states. The cotangents of decay sums are products of an
  # element's cotangent and its rounded value where it met the others, so that
  # the terms of two elements cancel for those before both.
  def through_state(tile, decays, d_x):
    x = (_wide(tile) * decays).astype(jnp.bfloat16)
    return decays * d_x, x.astype(jnp.float32) * d_x

  later, earlier = blocks.places()
  leave = to_states(Facts.LEAVE, earlier > later)
  dk, asked = through_state(k, leave, over_values(w, after))
  # The writes are not needed any more.
  leaving = w.at[0], leaving_rest
  blocks.split(asked, *leaving)
  later, earlier = blocks.places()
  enter = to_states(Facts.ENTER, earlier <= later)
  dq, sums = through_state(q, enter, over_values(g, entering))
  # An element with itself.
  diagonal = lax.broadcast_in_dim(diagonal, (CHUNK, BLOCK), [0])
  dq += diagonal * _wide(k)
  dk += diagonal * _wide(q)

  def through_pairs(tile, pairs, *asked):
    """Adds the cotangents of elements by those that meet them."""

    def of_level(index, asked):
      d_later, dk, sums = asked
      level = blocks.Level.of(index)
      decays = jnp.exp2(blocks.summed(matrix, level.between(), high, low))
      x = jnp.where(level.later, blocks.load(tile), blocks.load(k))
      blocks.write(met, x.astype(jnp.float32) * decays)
      zero = jnp.zeros((), jnp.bfloat16)
      across = jnp.where(level.across(), blocks.load(pairs), zero)
      blocks.write(matrix, across)
      d_x = blocks.product((matrix, met))
      change = _wide(met) * d_x
      sums += jnp.where(level.later, change, -change)
      d_x = d_x * decays
      d_later += jnp.where(level.later, d_x, 0.0)
      return d_later, dk + jnp.where(level.later, 0.0, d_x), sums

    return lax.fori_loop(0, blocks.LEVELS, of_level, asked)

  def hand_out(tile, d, ref):
    blocks.write(tile, d)
    plgpu.copy_smem_to_gmem(tile, ref.at[row, time, keys])

  # Queries and reads in turn, to save registers.
  dq, dk, sums = through_pairs(q, of_q, dq, dk, sums)
  hand_out(q, dq, dq_ref)
  later, earlier = blocks.places()
  enter = to_states(Facts.ENTER, earlier <= later)
  d_x = -over_values(dv, entering)
  d_read, asked = through_state(read, enter, d_x)
  sums += asked
  for i in range(count):
    both = _wide(entering.at[i]) * _wide(after.at[i])
    blocks.write(entering.at[i], both)
  d_read, dk, sums = through_pairs(read, of_read, d_read, dk, sums)
  hand_out(read, d_read, d_read_ref)
  hand_out(k, dk, dk_ref)
  # The pairs are not needed any more.
  blocks.split(sums, of_q, of_read)
  later, earlier = blocks.places()
  between = _gpu_channels.sees(facts) & (earlier >= later)
  da = blocks.summed(matrix, between, of_q, of_read)
  later, earlier = blocks.places()
  da += blocks.summed(matrix, earlier < later, *leaving)
  later, earlier = blocks.places()
  through = jnp.exp2(blocks.summed(matrix, later >= 0, high, low))
  # All rows are equal: the matrix has ones.
  of_states = ((matrix, blocks.turned(entering.at[i])) for i in range(count))
  alive = facts[int(Facts.ENTER), CHUNK - 1] > 0
  da += jnp.where(alive, through * blocks.product(*of_states), 0.0)
  a = blocks.load(a_ref.at[row, time, keys])
  unused = a < _outer_decays.clamp(a)
  if plan.reset:
    # Undefined decays, and decays at resets.
    unused |= ~(a < jnp.inf) | blocks.begins(facts.at[int(Facts.EPISODE)])
  da_ref[row, time, keys] = jnp.where(unused, 0.0, da)
  plgpu.wait_smem_to_gmem(0)


@_calls.in_32_bits
def gradients(
  plan: _gpu_channels.Plan,
  x: _gpu.Blocks,
  a: jax.Array,
  w: jax.Array,
  g: jax.Array,
  dv: jax.Array,
  entering: jax.Array,
  after: jax.Array,
) -> tuple[jax.Array, ...]:
  """Returns cotangents of q, k and read (bfloat16), and of a (float32)."""
  rows, chunks, keys, values = entering.shape
  tile, count = blocks.tile(), values // BLOCK
  return blocks.call(
    plan,
    "delta_channels_gradients",
    functools.partial(_kernel, plan),
    {"row": rows, "chunk": chunks, "part": keys // BLOCK},
    [*[_hopper.bfloat16(x.q.shape)] * 3, _hopper.float32(a.shape)],
    [
      *[tile] * 3,
      plgpu.SMEM((len(Facts), CHUNK), jnp.float32),
      *[blocks.tile(count)] * 5,
      *[tile] * 7,
      plgpu.Barrier(num_arrivals=4 + 5 * count),
    ],
    *(x.q, x.k, x.read, a, x.facts, w, g, dv, entering, after),
  )
