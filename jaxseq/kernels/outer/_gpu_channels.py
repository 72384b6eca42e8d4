"""Chunks of `outer_scan` on Hopper, with a decay for each channel of the keys.

`states` runs along time with 64 channels of a head's state and stores the state
entering each chunk; `outputs` computes all chunks in parallel. Decays are
inside of the products as in `_tpu_channels`; their sums are products of ones
and two bfloat16 parts.
"""

import enum
import functools
import math
from typing import NamedTuple

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
import jax.numpy as jnp

from jaxseq.kernels import _calls
from jaxseq.kernels import _hopper
from jaxseq.kernels.outer import _products
from jaxseq.recurrence.outer import _outer_decays
from jaxseq.recurrence.platform import support

CHUNK = 64  # Rows of a warpgroup's product.
BLOCK = 64  # Channels of a tile: a row has 128 bytes.
# Maxima of keys and values by registers and shared memory.
MOST = 256, 128
_STAGES = 2
_LAYOUT = plgpu.Layout.WGMMA
_TILE = CHUNK, BLOCK


class Facts(enum.IntEnum):
  """Rows of `facts`, each with one number per element."""

  EPISODE = 0  # Number of resets up to the element.
  ENTER = 1  # 1 if it sees the state before the chunk, else 0.
  LEAVE = 2  # 1 if the state after the chunk sees it, else 0.


class Plan(NamedTuple):
  """Static sizes of a call."""

  # q, k [rows, time, groups * K]; v [rows, time, heads * V]; a [rows, time,
  # heads * A], channel d has number d modulo A; facts [rows, heads, chunks, F,
  # C]; lost [rows, heads, chunks, C], not 0 if an output is undefined. Features
  # are multiples of 64.
  groups: int  # heads of q and k
  heads: int  # heads of v
  keys: int  # K
  values: int  # V
  decays: int  # A, which divides K
  chunks: int  # number of chunks
  reset: bool  # whether there are resets: undefined inputs are then set aside
  form: support.Form  # form of the kernel


def tile(*lead: int, dtype: jnp.dtype = jnp.bfloat16) -> plgpu.SMEM:
  """Returns shared memory for tiles of 64 x 64, as operands of products."""
  width = 64 // jnp.dtype(dtype).itemsize * 2
  transforms = plgpu.TilingTransform((8, width)), plgpu.SwizzleTransform(128)
  return plgpu.SMEM((*lead, *_TILE), dtype, transforms=transforms)


def product(*pairs) -> jax.Array:
  """Sums the products of pairs of tiles, in float32."""

  def run(sums):
    for x, y in pairs:
      plgpu.wgmma(sums, x, y)
    return sums[...]

  return pl.run_scoped(run, plgpu.ACC(_TILE, jnp.float32))


def turned(ref):
  """Transposes a tile."""
  return ref.transpose((1, 0))


def load(ref) -> jax.Array:
  """Loads a block of 64 x 64."""
  return plgpu.load(ref, layout=_LAYOUT, optimized=False)


def along(ref, axis: int) -> jax.Array:
  """Broadcasts 64 numbers of an axis's elements to [64, 64]."""
  layout = _LAYOUT.reduce(1 - axis)
  x = plgpu.load(ref, layout=layout, optimized=False)
  return lax.broadcast_in_dim(x, _TILE, [axis])


def places() -> tuple[jax.Array, jax.Array]:
  """Returns the row and column numbers [64, 64]."""

  def place(axis):
    layout = _LAYOUT.reduce(1 - axis)
    x = plgpu.broadcasted_iota(jnp.int32, (CHUNK,), 0, layout=layout)
    return lax.broadcast_in_dim(x, _TILE, [axis])

  return place(0), place(1)


def sees(episode) -> jax.Array:
  """Returns a mask [64, 64] of pairs of one episode, from episode numbers."""
  return along(episode, 0) == along(episode, 1)


def begins(episode) -> jax.Array:
  """Flags rows [64, 64] of elements that start a later episode."""
  later, earlier = places()
  goes_on = any_of_rows(sees(episode) & (earlier < later))
  goes_on = lax.broadcast_in_dim(goes_on, _TILE, [0]) > 0
  return ~goes_on & (along(episode, 0) > 0)


def zeros() -> jax.Array:
  """Returns zeros [64, 64] for a loop to add to."""
  return plgpu.layout_cast(jnp.zeros(_TILE, jnp.float32), _LAYOUT)


def write(ref, x) -> None:
  """Writes a block to a tile, and commits it."""
  ref[...] = x.astype(ref.dtype)
  plgpu.commit_smem()


def split(x: jax.Array, high, low) -> None:
  """Splits float32 numbers into two tiles whose sum has 16 of their bits."""
  coarse = x.astype(jnp.bfloat16)
  high[...] = coarse
  low[...] = (x - coarse.astype(jnp.float32)).astype(jnp.bfloat16)
  plgpu.commit_smem()


def summed(matrix, ones: jax.Array, high, low) -> jax.Array:
  """Multiplies a mask's matrix of ones by split numbers."""
  write(matrix, jnp.where(ones, 1.0, 0.0))
  return product((matrix, high), (matrix, low))


def log_decays(plan: Plan, a: jax.Array) -> jax.Array:
  """Returns finite base-2 logarithms of decays in float32."""
  a = a.astype(jnp.float32)
  if plan.reset:
    a = jnp.where(a < jnp.inf, a, 0.0)
  return _outer_decays.clamp(a) * math.log2(math.e)


def set_aside(plan: Plan, *refs) -> None:
  """Replaces undefined numbers in tiles by zeros, if there are resets."""
  if plan.reset:
    for ref in refs:
      write(ref, _products.clean(load(ref)))


def any_of_rows(broken: jax.Array) -> jax.Array:
  """Returns 1 for rows with a true number, else 0; [64]."""
  return jnp.max(jnp.where(broken, 1.0, 0.0), axis=1)


class Level(NamedTuple):
  """Blocks of positions that agree in all bits above one bit."""

  bit: jax.Array
  row: jax.Array
  column: jax.Array
  later: jax.Array  # Rows in the second half of their block.
  border: jax.Array  # Start of the second half.

  @classmethod
  def of(cls, index: jax.Array) -> "Level":
    """Returns the level of the bit with this index."""
    bit, (row, column) = lax.shift_left(jnp.int32(1), index), places()
    return cls(bit, row, column, (row & bit) != 0, (row & (-2 * bit)) + bit)

  def between(self) -> jax.Array:
    """Flags elements between a row and the border, which decay the row."""
    after = self.row + 1
    begin = jnp.where(self.later, self.border, after)
    end = jnp.where(self.later, after, self.border)
    return (self.column >= begin) & (self.column < end)

  def across(self) -> jax.Array:
    """Flags elements in the other half of a row's block."""
    begin = jnp.where(self.later, self.border - self.bit, self.border)
    return (self.column >= begin) & (self.column < begin + self.bit)


LEVELS = CHUNK.bit_length() - 1


def block(index) -> pl.Slice:
  """Returns the channels of a block."""
  return pl.ds(index * BLOCK, BLOCK)


def decays_of(plan: Plan, head, keys) -> pl.Slice:
  """Returns the decays of a block of a head's keys."""
  blocks = plan.decays // BLOCK
  return block(head * blocks + lax.rem(keys, blocks))


def states_kernel(plan, reverse, *refs):
  """Scans all chunks of one row, head and block of keys."""
  k_ref, v_ref, a_ref, facts_ref, init_ref, *refs = refs
  states_ref, final_ref, *refs = refs
  finds = plan.reset and not reverse
  broken_ref = refs.pop(0) if finds else None
  k_tiles, v_tiles, a_tiles, facts_tiles, *refs = refs
  high, low, before, one, met, narrow, ready = refs
  row, head, keys = map(lax.axis_index, ("rows", "heads", "keys"))
  of_k = block(head * plan.groups // plan.heads * (plan.keys // BLOCK) + keys)
  of_a = decays_of(plan, head, keys)
  values = range(plan.values // BLOCK)

  def fetch(step):
    slot, chunk = lax.rem(step, _STAGES), chunk_of(step)
    time = pl.ds(chunk * CHUNK, CHUNK)
    parts = [
      (k_ref.at[row, time, of_k], k_tiles.at[slot]),
      (a_ref.at[row, time, of_a], a_tiles.at[slot]),
      (facts_ref.at[row, head, chunk], facts_tiles.at[slot]),
    ]
    for i in values:
      of_v = block(head * len(values) + i)
      parts.append((v_ref.at[row, time, of_v], v_tiles.at[slot, i]))
    _hopper.fetch(parts, ready.at[slot])

  def chunk_of(step):
    return plan.chunks - 1 - step if reverse else step

  def body(step, state):
    slot = lax.rem(step, _STAGES)
    for i in values:
      # The previous outputs have left.
      plgpu.wait_smem_to_gmem(len(values) - 1, wait_read_only=True)
      write(narrow.at[i], state[i])
      place = states_ref.at[row, head, chunk_of(step), block(keys), block(i)]
      plgpu.copy_smem_to_gmem(narrow.at[i], place)
    plgpu.barrier_wait(ready.at[slot])
    pl.when(step + 1 < plan.chunks)(lambda: fetch(step + 1))
    split(log_decays(plan, load(a_tiles.at[slot])), high, low)
    decays = jnp.exp2(product((before, high), (before, low)))
    fact = Facts.ENTER if reverse else Facts.LEAVE
    decays *= along(facts_tiles.at[slot, int(fact)], 0)
    tiles = [k_tiles.at[slot]]
    if finds:
      tiles += [v_tiles.at[slot, i] for i in values]
      broken = [~(load(a_tiles.at[slot]).astype(jnp.float32) < jnp.inf)]
      broken += [~_products.finite(load(ref)) for ref in tiles]
      broken = functools.reduce(jnp.maximum, map(any_of_rows, broken))
      broken_ref[row, head, keys, chunk_of(step)] = broken
    set_aside(plan, *tiles)
    k = load(k_tiles.at[slot])
    write(met, k.astype(jnp.float32) * decays)
    # All columns are equal.
    through = jnp.exp2(product((turned(high), one), (turned(low), one)))
    alive = facts_tiles[slot, int(Facts.ENTER), CHUNK - 1] > 0
    return tuple(
      jnp.where(alive, through * x, 0.0)
      + product((turned(met), v_tiles.at[slot, i]))
      for i, x in enumerate(state)
    )

  fetch(jnp.int32(0))
  later, earlier = places()
  write(one, jnp.where(later >= 0, 1.0, 0.0))
  mask = earlier <= later if reverse else earlier > later
  write(before, jnp.where(mask, 1.0, 0.0))
  # The product has the type of the loop's results inside `jax.shard_map`.
  state = tuple(
    load(init_ref.at[row, head, block(keys), block(i)]) * 1.0 for i in values
  )
  state = lax.fori_loop(0, plan.chunks, body, state)
  for i, x in enumerate(state):
    final_ref[row, head, block(keys), block(i)] = x
  plgpu.wait_smem_to_gmem(0)


def outputs_kernel(plan, reverse, *refs):
  """Computes one chunk of one row and head."""
  q_ref, k_ref, v_ref, a_ref, facts_ref, lost_ref, states_ref, *refs = refs
  o_ref, q_tiles, k_tiles, v_tiles, states_tiles, *refs = refs
  high, low, matrix, met, keys_ready, ready = refs
  row, head, chunk = map(lax.axis_index, ("rows", "heads", "chunks"))
  time = pl.ds(chunk * CHUNK, CHUNK)
  keys, values = plan.keys // BLOCK, plan.values // BLOCK
  group = head * plan.groups // plan.heads
  facts = facts_ref.at[row, head, chunk]
  for j in range(keys):
    of_k = row, time, block(group * keys + j)
    plgpu.copy_gmem_to_smem(q_ref.at[of_k], q_tiles.at[j], keys_ready)
    plgpu.copy_gmem_to_smem(k_ref.at[of_k], k_tiles.at[j], keys_ready)
  for i in range(values):
    of_v = block(head * values + i)
    plgpu.copy_gmem_to_smem(v_ref.at[row, time, of_v], v_tiles.at[i], ready)
    for j in range(keys):
      place = states_ref.at[row, head, chunk, block(j), block(i)]
      plgpu.copy_gmem_to_smem(place, states_tiles.at[j, i], ready)

  def of_block(j, scores):
    q_tile, k_tile = q_tiles.at[j], k_tiles.at[j]
    set_aside(plan, q_tile, k_tile)
    a = load(a_ref.at[row, time, decays_of(plan, head, j)])
    split(log_decays(plan, a), high, low)

    def of_level(index, scores):
      level = Level.of(index)
      decays = jnp.exp2(summed(matrix, level.between(), high, low))
      x = jnp.where(level.later, load(q_tile), load(k_tile))
      write(met, x.astype(jnp.float32) * decays)
      products = product((met, turned(met)))
      return scores + jnp.where(level.across(), products, 0.0)

    scores = lax.fori_loop(0, LEVELS, of_level, scores)
    q, k = (load(x).astype(jnp.float32) for x in (q_tile, k_tile))
    diagonal = lax.broadcast_in_dim(jnp.sum(q * k, axis=1), _TILE, [0])
    later, earlier = places()
    scores = jnp.where(earlier == later, scores + diagonal, scores)
    # From the state before the chunk, or for cotangents from the one after it.
    between = earlier > later if reverse else earlier <= later
    decays = jnp.exp2(summed(matrix, between, high, low))
    # Overwrites the undecayed ones, which are not needed any more.
    end = k_tile if reverse else q_tile
    write(end, load(end).astype(jnp.float32) * decays)
    return scores

  plgpu.barrier_wait(keys_ready)
  scores = zeros()
  for j in range(keys):
    scores = of_block(j, scores)
  later, earlier = places()
  episode = facts.at[int(Facts.EPISODE)]
  seen = earlier >= later if reverse else earlier <= later
  seen &= along(episode, 0) == along(episode, 1)
  write(matrix, jnp.where(seen, scores, 0.0))
  beyond = along(facts.at[int(Facts.LEAVE if reverse else Facts.ENTER)], 0) > 0
  lost = along(lost_ref.at[row, head, chunk], 0) > 0
  plgpu.barrier_wait(ready)
  ends = k_tiles if reverse else q_tiles
  for i in range(values):
    if not reverse:
      set_aside(plan, v_tiles.at[i])
    o = product(*((ends.at[j], states_tiles.at[j, i]) for j in range(keys)))
    o = jnp.where(beyond, o, 0.0) + product((matrix, v_tiles.at[i]))
    if plan.reset and not reverse:
      o = jnp.where(lost, jnp.nan, o)
    write(v_tiles.at[i], o)
    of_v = block(head * values + i)
    plgpu.copy_smem_to_gmem(v_tiles.at[i], o_ref.at[row, time, of_v])
  plgpu.wait_smem_to_gmem(0)


def call(plan: Plan, name: str, kernel, grid: dict, out, scratch, *arguments):
  """Calls a kernel over a grid of named sizes."""
  how = name, plan.form, kernel, grid, out, scratch, arguments, arguments[0]
  # All sums are along the registers of a few threads.
  return _hopper.call(*how, reduction_scratch_bytes=0, **_hopper.APPROXIMATE)


@_calls.in_32_bits
def states(
  plan: Plan,
  k: jax.Array,
  v: jax.Array,
  a: jax.Array,
  facts: jax.Array,
  init: jax.Array,
  *,
  reverse: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
  """Returns the chunks' entering states, bfloat16, and the last, float32."""
  rows, heads = init.shape[:2]
  keys, values = plan.keys // BLOCK, plan.values // BLOCK
  shape = rows, heads, plan.chunks, plan.keys, plan.values
  out = [_hopper.bfloat16(shape), _hopper.float32(init.shape)]
  if plan.reset and not reverse:
    shape = rows, heads, keys, plan.chunks, CHUNK
    out.append(_hopper.float32(shape))
  entering, final, *broken = call(
    plan,
    "outer_channels_adjoint" if reverse else "outer_channels_states",
    functools.partial(states_kernel, plan, reverse),
    {"rows": rows, "heads": heads, "keys": keys},
    out,
    [
      *(tile(_STAGES), tile(_STAGES, values), tile(_STAGES, dtype=a.dtype)),
      plgpu.SMEM((_STAGES, len(Facts), CHUNK), jnp.float32),
      *(tile() for _ in range(5)),
      tile(values),
      plgpu.Barrier(num_arrivals=3 + values, num_barriers=_STAGES),
    ],
    *(k, v, a, facts, init),
  )
  return entering, final, broken[0] if broken else None


@_calls.in_32_bits
def outputs(
  plan: Plan,
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  a: jax.Array,
  facts: jax.Array,
  lost: jax.Array,
  entering: jax.Array,
  *,
  reverse: bool = False,
) -> jax.Array:
  """Computes outputs like v."""
  rows, heads = entering.shape[:2]
  keys, values = plan.keys // BLOCK, plan.values // BLOCK
  return call(
    plan,
    "outer_channels_d_values" if reverse else "outer_channels_outputs",
    functools.partial(outputs_kernel, plan, reverse),
    {"rows": rows, "heads": heads, "chunks": plan.chunks},
    [jax.ShapeDtypeStruct(v.shape, v.dtype)],
    [
      *(tile(keys), tile(keys), tile(values), tile(keys, values)),
      *(tile() for _ in range(4)),
      plgpu.Barrier(num_arrivals=2 * keys),
      plgpu.Barrier(num_arrivals=values * (1 + keys)),
    ],
    *(q, k, v, a, facts, lost, entering),
  )[0]
