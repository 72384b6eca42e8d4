"""Arrays with each key's decays for `_gpu.scan`, on Hopper."""

import functools
from typing import NamedTuple

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

CHUNK, BLOCK = blocks.CHUNK, blocks.BLOCK
# Largest width of values for shared memory of `_gpu_channels_backward`.
MOST_VALUES = 128

Facts = _outer_gpu.Facts


class Plan(NamedTuple):
  """Static options of a call."""

  reset: bool  # whether there are resets: undefined inputs are then set aside
  form: support.Form  # form of the kernels


def sees(facts) -> jax.Array:
  """Returns a mask [C, C] of pairs of one episode."""
  return blocks.sees(facts.at[int(Facts.EPISODE)])


def to_states(facts, fact, between, matrix, high, low) -> jax.Array:
  """Returns decays [C, keys] from or to a state, 0 across episodes."""
  beyond = blocks.along(facts.at[int(fact)], 0) > 0
  decays = jnp.exp2(blocks.summed(matrix, between, high, low))
  return jnp.where(beyond, decays, 0.0)


def _kernel(plan, *refs):
  """Computes one chunk of one row."""
  q_ref, k_ref, read_ref, a_ref, facts_ref, *refs = refs
  *out_refs, scores_ref, through_ref, inverse_ref = refs[:6]
  *tiles, facts, high, low, matrix, met, rest, ready = refs[6:]
  row, chunk = lax.axis_index("row"), lax.axis_index("chunk")
  time, count = pl.ds(chunk * CHUNK, CHUNK), q_ref.shape[2] // BLOCK
  plgpu.copy_gmem_to_smem(facts_ref.at[row, 0, chunk], facts, ready)
  for ref, tile in zip((q_ref, k_ref, read_ref), tiles):
    for j in range(count):
      source = ref.at[row, time, blocks.block(j)]
      plgpu.copy_gmem_to_smem(source, tile.at[j], ready)

  def of_block(j, inverse):
    """Adds a block of keys to the pairs, and decays its tiles."""
    q, k, read = (tile.at[j] for tile in tiles)
    a = blocks.load(a_ref.at[row, time, blocks.block(j)])
    blocks.split(blocks.log_decays(plan, a), high, low)

    def of_level(index, inverse):
      level, sums = blocks.Level.of(index), []
      decays = jnp.exp2(blocks.summed(matrix, level.between(), high, low))
      for tile, pairs in zip((q, read), inverse):
        x = jnp.where(level.later, blocks.load(tile), blocks.load(k))
        blocks.write(met, x.astype(jnp.float32) * decays)
        added = blocks.product((met, blocks.turned(met)))
        sums.append(pairs + jnp.where(level.across(), added, 0.0))
      return tuple(sums)

    scores, reads = lax.fori_loop(0, blocks.LEVELS, of_level, inverse)
    wide = (blocks.load(tile).astype(jnp.float32) for tile in (q, k))
    diagonal = jnp.sum(functools.reduce(jnp.multiply, wide), axis=1)
    diagonal = lax.broadcast_in_dim(diagonal, (CHUNK, CHUNK), [0])
    later, earlier = blocks.places()
    scores = jnp.where(earlier == later, scores + diagonal, scores)

    def leave(tile, decays, ref):
      wide = blocks.load(tile).astype(jnp.float32)
      blocks.write(tile, wide * decays)
      target = ref.at[row, time, blocks.block(j)]
      plgpu.copy_smem_to_gmem(tile, target)

    of_q, of_k, of_read = out_refs
    terms = matrix, high, low
    enter = to_states(facts, Facts.ENTER, earlier <= later, *terms)
    leave(q, enter, of_q)
    leave(read, enter, of_read)
    leave(k, to_states(facts, Facts.LEAVE, earlier > later, *terms), of_k)
    blocks.write(matrix, jnp.where(later >= 0, 1.0, 0.0))
    # All columns are equal.
    sums = ((blocks.turned(part), matrix) for part in (high, low))
    through = jnp.max(jnp.exp2(blocks.product(*sums)), axis=1)
    alive = facts[int(Facts.ENTER), CHUNK - 1] > 0
    through_ref[row, chunk, j] = jnp.where(alive, through, 0.0)
    return scores, reads

  plgpu.barrier_wait(ready)
  _outer_gpu.clean(facts, [tile.at[j] for tile in tiles for j in range(count)])
  inverse = blocks.zeros(), blocks.zeros()
  for j in range(count):
    inverse = of_block(j, inverse)
  scores, reads = inverse
  later, earlier = blocks.places()
  blocks.write(matrix, jnp.where(sees(facts) & (earlier <= later), scores, 0.0))
  plgpu.copy_smem_to_gmem(matrix, scores_ref.at[row, chunk])
  later, earlier = blocks.places()
  reads = jnp.where(sees(facts) & (earlier < later), reads, 0.0)
  _gpu.inverted(reads, high, low, met, rest)
  for part, tile in enumerate((high, low)):
    plgpu.copy_smem_to_gmem(tile, inverse_ref.at[row, chunk, part])
  plgpu.wait_smem_to_gmem(0)


@_calls.in_32_bits
def decayed(
  plan: Plan, x: _gpu.Blocks, a: jax.Array
) -> tuple[_gpu.Blocks, jax.Array]:
  """Returns the decayed arrays, and the inverse of each chunk."""
  rows, _, keys = x.k.shape
  chunks, count = x.facts.shape[2], keys // BLOCK
  bfloat16 = _hopper.bfloat16
  *decayed, scores, through, inverse = blocks.call(
    plan,
    "delta_channels",
    functools.partial(_kernel, plan),
    {"row": rows, "chunk": chunks},
    [
      *[bfloat16(x.k.shape)] * 3,
      bfloat16((rows, chunks, CHUNK, CHUNK)),
      _hopper.float32((rows, chunks, count, BLOCK)),
      bfloat16((rows, chunks, 2, CHUNK, CHUNK)),
    ],
    [
      *[blocks.tile(count)] * 3,
      plgpu.SMEM((len(Facts), CHUNK), jnp.float32),
      *[blocks.tile()] * 5,
      plgpu.Barrier(num_arrivals=1 + 3 * count),
    ],
    *(x.q, x.k, x.read, a, x.facts),
  )
  q, k, read = decayed
  through = through.reshape(rows, chunks, keys)
  return _gpu.Blocks(q, k, x.v, read, x.facts, scores, through), inverse
