"""Chunks of `delta_scan` on Hopper, by the formulas of `_delta_forms.tied`.

`invert` computes all chunks in parallel, and stores the inverse of the reads
between the elements of each; `scan` runs along time, with some columns of a
row's state in registers. Heads are among the rows.
"""

import functools
from typing import NamedTuple

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
import jax.numpy as jnp

from jaxseq.kernels import _calls
from jaxseq.kernels import _hopper
from jaxseq.kernels.outer import _gpu as _outer_gpu
from jaxseq.kernels.outer import _gpu_channels as blocks
from jaxseq.recurrence.platform import support

CHUNK = _outer_gpu.CHUNK
# Columns of values per block.
COLUMNS = _outer_gpu.COLUMNS
MOST_KEYS = _outer_gpu.MOST_KEYS
_STAGES = _outer_gpu.STAGES
_LEVELS = (CHUNK - 1).bit_length()

along = _outer_gpu.along
product = _outer_gpu.product
tile = _outer_gpu.tile
Facts = _outer_gpu.Facts


class Blocks(NamedTuple):
  """Arrays of the kernels; states are [rows, K, V]."""

  # If each key has a decay, q and read are decayed from the state before a
  # chunk, and k to the state after it.
  q: jax.Array  # [rows, time, K]
  k: jax.Array  # [rows, time, K]
  v: jax.Array  # [rows, time, V]
  read: jax.Array  # [rows, time, K]
  facts: jax.Array  # [rows, 1, chunks, F, C], see `_outer_gpu.Facts`
  # Scores between a chunk's elements, and its decay of the state.
  scores: jax.Array | None = None  # [rows, chunks, C, C]
  through: jax.Array | None = None  # [rows, chunks, K]

  @property
  def channels(self) -> bool:
    """True if each key has a decay."""
    return self.scores is not None


def earlier(x: jax.Array) -> jax.Array:
  """Keeps pairs [C, C] of an element and an earlier one; zeros elsewhere."""
  row, column = blocks.places()
  return jnp.where(row > column, x, 0.0)


def solved(inverse, inverse_rest, x, x_rest) -> jax.Array:
  """Multiplies two matrices of two parts, without the product of the rests."""
  return blocks.product((inverse, x), (inverse, x_rest), (inverse_rest, x))


def _invert_kernel(*refs):
  """Inverts one chunk of one row."""
  read_ref, k_ref, facts_ref, inverse_ref, *refs = refs
  read, k, facts, *refs = refs
  high, low, high_below, low_below, ready = refs
  row, chunk = lax.axis_index("row"), lax.axis_index("chunk")
  time = pl.ds(chunk * CHUNK, CHUNK)
  pairs = (
    (read_ref.at[row, time], read),
    (k_ref.at[row, time], k),
    (facts_ref.at[row, 0, chunk], facts),
  )
  _hopper.fetch(pairs, ready)
  plgpu.barrier_wait(ready)
  _outer_gpu.clean(facts, (read, k))
  pairs = product(read, k.transpose((1, 0))) * _outer_gpu.decays(facts)
  inverted(earlier(pairs), high, low, high_below, low_below)
  for part, tile in enumerate((high, low)):
    plgpu.copy_smem_to_gmem(tile, inverse_ref.at[row, chunk, part])
  plgpu.wait_smem_to_gmem(0)


def inverted(pairs, high, low, high_below, low_below) -> None:
  """Writes the inverse of I + pairs [C, C], two parts, to the first tiles."""
  later, sooner = blocks.places()
  differ = later ^ sooner

  def below(level):
    # Pairs whose positions differ in this bit and in no higher one.
    bit = lax.shift_left(jnp.int32(1), level)
    return jnp.where((differ >= bit) & (differ < 2 * bit), pairs, 0.0)

  def merge(level, inverse):
    blocks.split(inverse, high, low)
    blocks.split(below(level), high_below, low_below)
    across = solved(high, low, high_below, low_below)
    blocks.split(across, high_below, low_below)
    return inverse - solved(high_below, low_below, high, low)

  inverse = jnp.where(later == sooner, 1.0, 0.0) - below(jnp.int32(0))
  blocks.split(lax.fori_loop(1, _LEVELS, merge, inverse), high, low)


@_calls.in_32_bits
def invert(form: support.Form, x: Blocks) -> jax.Array:
  """Returns the inverse [rows, chunks, 2, C, C], two parts that add up."""
  rows, _, keys = x.k.shape
  chunks = x.facts.shape[2]
  return _hopper.call(
    "delta_invert",
    form,
    _invert_kernel,
    {"row": rows, "chunk": chunks},
    [_hopper.bfloat16((rows, chunks, 2, CHUNK, CHUNK))],
    [
      *(tile(CHUNK, keys), tile(CHUNK, keys)),
      plgpu.SMEM((len(Facts), CHUNK), jnp.float32),
      *[tile(CHUNK, CHUNK)] * 4,
      plgpu.Barrier(num_arrivals=3),
    ],
    (x.read, x.k, x.facts),
    x.v,
    **_hopper.APPROXIMATE,
  )[0]


def tiles_of(x: Blocks, keys: int) -> list:
  """Returns shared memory for the chunks' inputs of kernels along time."""
  of_keys, of_values = (tile(_STAGES, CHUNK, n) for n in (keys, COLUMNS))
  tiles = [of_keys, of_keys, of_values, of_keys]
  tiles.append(plgpu.SMEM((_STAGES, len(Facts), CHUNK), jnp.float32))
  tiles.append(tile(_STAGES, 2, CHUNK, CHUNK))
  if x.channels:
    tiles.append(tile(_STAGES, CHUNK, CHUNK))
    tiles.append(plgpu.SMEM((_STAGES, keys), jnp.float32))
  return tiles


def fetch_chunk(refs, tiles, row, chunk, columns, slot, ready) -> None:
  """Starts to copy a chunk's inputs of kernels along time to `tiles_of`."""
  q, k, v, read, facts, *more = refs
  time = pl.ds(chunk * CHUNK, CHUNK)
  sources = [q.at[row, time], k.at[row, time], v.at[row, time, columns]]
  sources += [read.at[row, time], facts.at[row, 0, chunk]]
  sources += [ref.at[row, chunk] for ref in more]
  pairs = zip(sources, (tile.at[slot] for tile in tiles))
  _hopper.fetch(pairs, ready.at[slot])


def kept(facts, through, state):
  """Returns the decayed state after a chunk, without its additions."""
  if through is None:
    return facts[int(Facts.ENTER), CHUNK - 1] * state
  by = plgpu.load(through, layout=_outer_gpu.LAYOUT.reduce(1))
  return lax.broadcast_in_dim(by, state.shape, [0]) * state


def _scan_kernel(keeps, channels, *refs):
  """Scans all chunks of one row and block of columns."""
  q_ref, k_ref, v_ref, read_ref, facts_ref, *refs = refs
  more = [refs.pop(0) for _ in range(2 * channels)]
  inverse_ref, init_ref, o_ref, final_ref, *refs = refs
  entering_ref, w_ref = (refs.pop(0), refs.pop(0)) if keeps else (None, None)
  tiles, refs = refs[: 6 + len(more)], refs[6 + len(more) :]
  products = None if channels else refs.pop(0)
  rest, low, written, narrow, narrow_rest, ready = refs
  C, V = CHUNK, COLUMNS
  chunks = facts_ref.shape[2]
  row = lax.axis_index("row")
  columns = pl.ds(lax.axis_index("column") * V, V)

  def fetch(chunk):
    slot = lax.rem(chunk, jnp.int32(_STAGES))
    refs = q_ref, k_ref, v_ref, read_ref, facts_ref, inverse_ref, *more
    fetch_chunk(refs, tiles, row, chunk, columns, slot, ready)

  def body(chunk, state):
    slot, time = lax.rem(chunk, jnp.int32(_STAGES)), pl.ds(chunk * C, C)
    if channels:
      # Waits for the outputs, too, because their memory is fetched into again.
      plgpu.wait_smem_to_gmem(0)
    elif keeps:
      # The entering state and the writes have left, perhaps not the outputs.
      plgpu.wait_smem_to_gmem(1)
    blocks.split(state, narrow, narrow_rest)
    plgpu.barrier_wait(ready.at[slot])
    pl.when(chunk + 1 < chunks)(lambda: fetch(chunk + 1))
    q, k, v, read, facts, inverse, *pairs = (tile.at[slot] for tile in tiles)
    scores, through = pairs or (products, None)
    _outer_gpu.clean(facts, (v,) if channels else (q, k, v, read))
    if keeps:
      plgpu.copy_smem_to_gmem(narrow, entering_ref.at[row, chunk, :, columns])

    def decayed(fact, x):
      return x if channels else x * along(facts, fact, 0, (C, V))

    values = plgpu.load(v, layout=_outer_gpu.LAYOUT).astype(jnp.float32)
    reads = blocks.product((read, narrow), (read, narrow_rest))
    blocks.split(values - decayed(Facts.ENTER, reads), rest, low)
    w = solved(inverse.at[0], inverse.at[1], rest, low)
    blocks.write(written, w)
    if keeps:
      plgpu.copy_smem_to_gmem(written, w_ref.at[row, time, columns])
    # Later elements subtract it again, so that it is not rounded either.
    blocks.split(decayed(Facts.LEAVE, w), rest, low)
    if not channels:
      gram = product(q, k.transpose((1, 0))) * _outer_gpu.decays(facts)
      # The outputs of the previous chunk have left.
      plgpu.wait_smem_to_gmem(2 if keeps else 0)
      blocks.write(scores, gram)
    o = decayed(Facts.ENTER, product(q, narrow))
    o += product(scores, written)
    o = jnp.where(along(facts, Facts.DOUBT, 0, (C, V)) > 1, jnp.nan, o)
    # Outputs reuse the memory of the scores.
    blocks.write(scores, o)
    plgpu.copy_smem_to_gmem(scores, o_ref.at[row, time, columns])

    def leaves(sums):
      for tile in (rest, low):
        plgpu.wgmma(sums, k.transpose((1, 0)), tile)
      return sums[...]

    added = pl.run_scoped(leaves, plgpu.ACC(state.shape, jnp.float32))
    return kept(facts, through, state) + added

  fetch(jnp.int32(0))
  state = plgpu.load(
    init_ref.at[row, :, columns], layout=_outer_gpu.LAYOUT, optimized=False
  )
  # The product has the type of the loop's results inside `jax.shard_map`.
  state = lax.fori_loop(0, chunks, body, state * 1.0)
  final_ref[row, :, columns] = state
  plgpu.wait_smem_to_gmem(0)


@_calls.in_32_bits
def scan(
  form: support.Form,
  x: Blocks,
  inverse: jax.Array,
  init: jax.Array,
  keeps: bool,
) -> tuple[jax.Array, ...]:
  """Returns outputs like v, the last state, and residuals if requested."""
  rows, keys, values = init.shape
  chunks = x.facts.shape[2]
  like_v = _hopper.bfloat16(x.v.shape)
  states = _hopper.bfloat16((rows, chunks, keys, values))
  wide = [] if x.channels else [tile(CHUNK, COLUMNS)]
  tiles = tiles_of(x, keys)
  return _hopper.call(
    "delta_forward",
    form,
    functools.partial(_scan_kernel, keeps, x.channels),
    {"row": rows, "column": values // COLUMNS},
    [
      *(like_v, _hopper.float32(init.shape)),
      *([states, like_v] if keeps else []),
    ],
    [
      *(*tiles, *wide),
      *[tile(CHUNK, COLUMNS)] * 3,
      *[tile(keys, COLUMNS)] * 2,
      plgpu.Barrier(num_arrivals=len(tiles), num_barriers=_STAGES),
    ],
    (*(y for y in x if y is not None), inverse, init),
    x.v,
    **_hopper.APPROXIMATE,
  )
