"""Cotangents of queries, keys and decays per channel of `outer_scan` on Hopper.

At each level of `_gpu_channels` a row's cotangent is the product of one
symmetric matrix, of the scores' cotangents, and the rows that meet.
"""

import functools

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
import jax.numpy as jnp

from jaxseq.kernels import _calls
from jaxseq.kernels import _hopper
from jaxseq.kernels.outer import _gpu_channels
from jaxseq.recurrence.outer import _outer_decays

CHUNK, BLOCK = _gpu_channels.CHUNK, _gpu_channels.BLOCK
Facts = _gpu_channels.Facts
along = _gpu_channels.along
block = _gpu_channels.block
load = _gpu_channels.load
places = _gpu_channels.places
product = _gpu_channels.product
split = _gpu_channels.split
summed = _gpu_channels.summed
tile = _gpu_channels.tile
turned = _gpu_channels.turned
write = _gpu_channels.write


def _kernel(plan, of_decays, *refs):
  """Computes one chunk and block of keys of one row and head."""
  q_ref, k_ref, v_ref, a_ref, facts_ref, s_ref, g_ref, d_ref, *refs = refs
  dq_ref, dk_ref, *refs = refs
  da_ref = refs.pop(0) if of_decays else None
  q_tile, k_tile, *refs = refs
  v_tiles, g_tiles, s_tiles, d_tiles, *refs = refs
  high, low, matrix, pairs, ready = refs
  names = "rows", "heads", "chunks", "keys"
  row, head, chunk, keys = map(lax.axis_index, names)
  time = pl.ds(chunk * CHUNK, CHUNK)
  blocks, values = plan.keys // BLOCK, plan.values // BLOCK
  of_q = block(head * plan.groups // plan.heads * blocks + keys)
  of_k = block(head * blocks + keys)
  of_a = of_k if of_decays else _gpu_channels.decays_of(plan, head, keys)
  facts = facts_ref.at[row, head, chunk]
  parts = [(q_ref.at[row, time, of_q], q_tile)]
  parts += [(k_ref.at[row, time, of_q], k_tile)]
  for i in range(values):
    of_v, of_s = (row, time, block(head * values + i)), (block(keys), block(i))
    parts += [(v_ref.at[of_v], v_tiles.at[i]), (g_ref.at[of_v], g_tiles.at[i])]
    for ref, tiles in ((s_ref, s_tiles), (d_ref, d_tiles)):
      parts.append((ref.at[(row, head, chunk, *of_s)], tiles.at[i]))
  _hopper.fetch(parts, ready)

  def over_values(x, y):
    return product(*((x.at[i], turned(y.at[i])) for i in range(values)))

  def through_state(ref, between, fact, g, state):
    """Returns cotangents of a decayed array and of its decays."""
    beyond = along(facts.at[int(fact)], 0) > 0
    decays = jnp.exp2(summed(matrix, between, high, low))
    decays = jnp.where(beyond, decays, 0.0)
    x = (load(ref).astype(jnp.float32) * decays).astype(jnp.bfloat16)
    d_x = jnp.where(beyond, over_values(g, state), 0.0)
    return decays * d_x, x.astype(jnp.float32) * d_x

  a = load(a_ref.at[row, time, of_a])
  split(_gpu_channels.log_decays(plan, a), high, low)
  plgpu.barrier_wait(ready)
  tiles = q_tile, k_tile, *(v_tiles.at[i] for i in range(values))
  _gpu_channels.set_aside(plan, *tiles)
  # Cotangents of scores, both row by column and transposed.
  later, earlier = places()
  d_scores = over_values(g_tiles, v_tiles)
  diagonal = jnp.sum(jnp.where(earlier == later, d_scores, 0.0), axis=1)
  d_scores = jnp.where(earlier < later, d_scores, over_values(v_tiles, g_tiles))
  episode = facts.at[int(Facts.EPISODE)]
  same = _gpu_channels.sees(episode)
  write(pairs, jnp.where(same, d_scores, 0.0))
  # Through the states.
  later, earlier = places()
  dq, d_sums = through_state(
    q_tile, earlier <= later, Facts.ENTER, g_tiles, s_tiles
  )
  dk, leaving = through_state(
    k_tile, earlier > later, Facts.LEAVE, v_tiles, d_tiles
  )
  # The contents of these tiles are not needed any more.
  left, met = v_tiles.at[0], d_tiles.at[0]
  if of_decays:
    write(left, leaving)
    for i in range(values):
      x, y = (load(z.at[i]).astype(jnp.float32) for z in (s_tiles, d_tiles))
      write(s_tiles.at[i], x * y)
  diagonal = lax.broadcast_in_dim(diagonal, (CHUNK, BLOCK), [0])
  dq += diagonal * load(k_tile).astype(jnp.float32)
  dk += diagonal * load(q_tile).astype(jnp.float32)

  def of_level(index, carry):
    dq, dk, *sums = carry
    level = _gpu_channels.Level.of(index)
    decays = jnp.exp2(summed(matrix, level.between(), high, low))
    x = jnp.where(level.later, load(q_tile), load(k_tile))
    write(met, x.astype(jnp.float32) * decays)
    zero = jnp.zeros((), jnp.bfloat16)
    write(matrix, jnp.where(level.across(), load(pairs), zero))
    d_x = product((matrix, met))
    if of_decays:
      change = load(met).astype(jnp.float32) * d_x
      sums = [sums[0] + jnp.where(level.later, change, -change)]
    d_x = d_x * decays
    dq += jnp.where(level.later, d_x, 0.0)
    dk += jnp.where(level.later, 0.0, d_x)
    return dq, dk, *sums

  levels, sums = _gpu_channels.LEVELS, (d_sums,) if of_decays else ()
  dq, dk, *sums = lax.fori_loop(0, levels, of_level, (dq, dk, *sums))
  for x, ref, target in ((dq, dq_ref, q_tile), (dk, dk_ref, k_tile)):
    write(target, x)
    plgpu.copy_smem_to_gmem(target, ref.at[row, time, of_k])
  if not of_decays:
    plgpu.wait_smem_to_gmem(0)
    return

  later, earlier = places()
  through = jnp.exp2(summed(matrix, later >= 0, high, low))

  # All rows are equal: the matrix has ones.
  states = product(*((matrix, turned(s_tiles.at[i])) for i in range(values)))
  alive = facts[int(Facts.ENTER), CHUNK - 1] > 0
  da = jnp.where(alive, through * states, 0.0)
  split(sums[0], high, low)
  between = _gpu_channels.sees(episode) & (earlier >= later)
  da += summed(matrix, between, high, low)
  later, earlier = places()
  write(matrix, jnp.where(earlier < later, 1.0, 0.0))
  da += product((matrix, left))
  a = load(a_ref.at[row, time, of_a]).astype(jnp.float32)
  unused = a < _outer_decays.clamp(a)
  if plan.reset:
    unused |= ~(a < jnp.inf) | _gpu_channels.begins(episode)
  da_ref[row, time, of_a] = jnp.where(unused, 0.0, da).astype(da_ref.dtype)
  plgpu.wait_smem_to_gmem(0)


@_calls.in_32_bits
def backward(
  plan: _gpu_channels.Plan,
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  a: jax.Array,
  facts: jax.Array,
  entering: jax.Array,
  g: jax.Array,
  leaving: jax.Array,
  *,
  of_decays: bool,
) -> tuple[jax.Array, ...]:
  """Returns cotangents of q and k for each head, and of a if requested."""
  rows, heads = entering.shape[:2]
  values = plan.values // BLOCK
  shape = *a.shape[:2], heads * plan.keys
  sizes = rows, heads, plan.chunks, plan.keys // BLOCK
  return _gpu_channels.call(
    plan,
    "outer_channels_backward",
    functools.partial(_kernel, plan, of_decays),
    dict(zip(("rows", "heads", "chunks", "keys"), sizes)),
    [
      jax.ShapeDtypeStruct(shape, x.dtype)
      for x in (q, k, *((a,) if of_decays else ()))
    ],
    [
      *(tile(), tile(), tile(values), tile(values)),
      *(tile(values), tile(values), *(tile() for _ in range(4))),
      plgpu.Barrier(num_arrivals=2 + 4 * values),
    ],
    *(q, k, v, a, facts, entering, g, leaving),
  )
