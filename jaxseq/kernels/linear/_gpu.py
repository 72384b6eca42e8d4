"""Diagonal linear recurrences on Hopper: one thread per channel."""

from typing import NamedTuple

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
import jax.numpy as jnp

from jaxseq.kernels import _calls
from jaxseq.kernels import _hopper
from jaxseq.kernels.linear import _parts

CHANNELS = 128
# Elements whose inputs are loaded together: a tile is a multiple.
_GROUP = 8
Parts = _parts.Parts
Walk = _parts.Walk
_add, _times, _conj = _parts.add, _parts.times, _parts.conj


def states(walk: Walk, a: Parts, b: Parts, init: Parts, keep) -> Parts:
  """Returns the states h of h_t = a_t h_{t-1} + b_t."""

  def step(x, carry):
    h = _add(x.kept(_times(x.a, carry)), x.b)
    return h, h

  return _along_time(step, walk, a, b, (), init, (), keep, len(b), False)


def summary(
  walk: Walk, a: Parts, b: Parts, keep, adjoint: bool
) -> tuple[Parts, Parts]:
  """Returns a row's factor and addend [B, n] for a state or adjoint carry."""
  rows, arrays = b[0].shape[0], len(b)

  def step(x, carry):
    half = len(carry) // 2
    factor, addend = carry[:half], carry[half:]
    a = _conj(x.a) if adjoint else x.a
    factor = x.kept(_times(a, factor))
    if adjoint:
      addend = x.kept(_times(a, _add(addend, x.b)))
    else:
      addend = _add(x.kept(_times(a, addend)), x.b)
    return factor + addend, ()

  zero = jnp.zeros_like(b[0], shape=(rows, b[0].shape[-1]))
  half = zero.shape[-1] // (2 if walk.joined else 1)
  # The number 1, by parts.
  one = (zero.at[:, :half].set(1), *(zero,) * (arrays - 1))
  carry = one + (zero,) * arrays
  last = _along_time(step, walk, a, b, (), carry, (), keep, 0, True)
  return last[:arrays], last[arrays:]


def gradient(
  walk: Walk, a: Parts, g: Parts, h: Parts, g_final: Parts, init: Parts, keep
) -> tuple[Parts, Parts, Parts]:
  """Returns the cotangents of decays, and the adjoint states lam and mu."""
  arrays, fixed = len(g), a[0].shape[1] == 1

  def step(x, carry):
    parts = len(x.b)
    lam = _add(x.b, carry[:parts])
    mu = x.kept(_times(lam, _conj(x.a)))
    da = x.kept(_times(lam, _conj(x.h)))
    if fixed:
      return mu + _add(carry[parts:], da), lam
    return mu, da + lam

  carry = g_final + (tuple(map(jnp.zeros_like, g_final)) if fixed else ())
  moving = arrays if fixed else 2 * arrays
  out = _along_time(step, walk, a, g, h, carry, init, keep, moving, True)
  along, last = out[:moving], out[moving:]
  if fixed:
    return last[arrays:], along, last[:arrays]
  return along[:arrays], along[arrays:], last


class _Element(NamedTuple):
  """Arrays of one element in a step: vectors of 128 channels."""

  a: Parts
  b: Parts
  h: Parts
  flag: jax.Array | None

  def kept(self, x):
    """Sets x to zeros at resets."""
    return _parts.select(self.flag, x, 0.0)


@_calls.in_32_bits
def _along_time(step, walk, a, b, h, carry, init, keep, outputs, with_last):
  """Folds `step(element, carry) -> carry, outputs` over time."""
  rows, time, n = b[0].shape
  offsets = (0, n // 2) if walk.joined else (0,)
  tile, fixed = walk.tile, a[0].shape[1] == 1
  tiles, flags = time // tile, () if keep is None else (keep,)
  stages = min(walk.stages, tiles)
  # The adjoint of a recurrence runs the other way.
  backwards = walk.reverse != bool(h)
  along, still = (*(() if fixed else a), *b), (a if fixed else ())
  groups = (along, h, flags, still, carry, init)
  lasts = len(carry) if with_last else 0
  counts = [len(group) for group in groups] + [outputs, lasts]
  parts = len(b) * len(offsets)

  def body(*refs):
    refs = iter(refs)
    (
      along_refs,
      h_refs,
      flag_refs,
      still_refs,
      carry_refs,
      init_refs,
      out_refs,
      last_refs,
    ) = ([next(refs) for _ in range(count)] for count in counts)
    tiles_in, tiles_out, flag_tiles, barrier = refs
    row, column = lax.axis_index("row"), lax.axis_index("column")

    def views(refs):
      # Each part's array, and its channels there.
      return [
        (ref, pl.ds(offset + column * CHANNELS, CHANNELS))
        for ref in refs
        for offset in offsets
      ]

    still_now = [
      ref[_row(row, a[0]), 0, columns] for ref, columns in views(still_refs)
    ]
    init_now = [ref[row, columns] for ref, columns in views(init_refs)]
    # Only decays may be the same for all rows.
    along_views = [
      (ref, _row(row, x), columns)
      for each, x in zip(along_refs, along)
      for ref, columns in views([each])
    ]

    def begin(k):
      return (tiles - 1 - k if backwards else k) * tile

    def before(k):
      # One element earlier, but within the array.
      if walk.reverse:
        return lax.min(begin(k) + 1, time - tile)
      return lax.max(begin(k) - 1, 0)

    def fetch(k):
      slot = lax.rem(k, stages)
      places = [
        ref.at[segment, pl.ds(begin(k), tile), columns]
        for ref, segment, columns in along_views
      ]
      places += [
        ref.at[row, pl.ds(before(k), tile), columns]
        for ref, columns in views(h_refs)
      ]
      pairs = [*zip(places, tiles_in)]
      pairs += [
        (ref.at[row, pl.ds(begin(k), tile)], to)
        for ref, to in zip(flag_refs, flag_tiles)
      ]
      copies = ((place, to.at[slot]) for place, to in pairs)
      _hopper.fetch(copies, barrier.at[slot])

    def element(k, slot, i):
      current = [ref[slot, i] for ref in tiles_in[: len(along_views)]]
      h_now = ()
      if h:
        # The predecessor of the first element is in no tile.
        t = begin(k) + i
        local = t + (1 if walk.reverse else -1) - before(k)
        local = lax.clamp(0, local, tile - 1)
        first = _wide(t == (time - 1 if walk.reverse else 0))
        h_now = tuple(
          jnp.where(first > 0, x, ref[slot, local])
          for x, ref in zip(init_now, tiles_in[len(along_views) :])
        )
      flag = _wide(flag_tiles[0][slot, i]) if flags else None
      a_now = tuple(still_now if fixed else current[:parts])
      return _Element(a_now, tuple(current[-parts:]), h_now, flag)

    def one_tile(k, carry):
      slot, slot_out = lax.rem(k, stages), lax.rem(k, 2)
      plgpu.barrier_wait(barrier.at[slot])
      if outputs:
        plgpu.wait_smem_to_gmem(1, wait_read_only=True)

      def group(j, carry):
        # Loads come before all stores, because the compiler does not reorder
        # them.
        indices = [j * _GROUP + i for i in range(_GROUP)]
        if backwards:
          indices = [tile - 1 - i for i in indices]
        elements = [element(k, slot, i) for i in indices]
        results = []
        for x in elements:
          carry, result = step(x, carry)
          results.append(result)
        for i, result in zip(indices, results):
          for ref, x in zip(tiles_out, result):
            ref[slot_out, i] = x
        return carry

      carry = lax.fori_loop(0, tile // _GROUP, group, carry)
      # All threads have read this tile, and written their outputs.
      plgpu.commit_smem()
      for ref, (to, columns) in zip(tiles_out, views(out_refs)):
        place = to.at[row, pl.ds(begin(k), tile), columns]
        plgpu.copy_smem_to_gmem(ref.at[slot_out], place, commit_group=False)
      if outputs:
        plgpu.commit_smem_to_gmem_group()

      @pl.when(k + stages < tiles)
      def _():
        fetch(k + stages)

      return carry

    for k in range(stages):
      fetch(jnp.int32(k))
    # The product has the type of the loop's results inside `jax.shard_map`.
    carry_now = tuple(
      ref[row, columns] * 1.0 for ref, columns in views(carry_refs)
    )
    last = lax.fori_loop(0, tiles, one_tile, carry_now)
    for (ref, columns), x in zip(views(last_refs), last):
      ref[row, columns] = x
    plgpu.wait_smem_to_gmem(0)

  def buffers(count, slots):
    block = plgpu.SMEM((slots, tile, CHANNELS), jnp.float32)
    return [block for _ in range(count)]

  shapes = [_hopper.float32(b[0].shape)] * outputs
  shapes += [_hopper.float32((rows, n))] * lasts
  arriving = (len(along) + len(h)) * len(offsets) + len(flags)
  return _hopper.call(
    "linear_adjoint" if h else "linear_recurrence",
    walk.form,
    body,
    {"row": rows, "column": n // len(offsets) // CHANNELS},
    shapes,
    (
      buffers((len(along) + len(h)) * len(offsets), stages),
      buffers(outputs * len(offsets), 2),
      [plgpu.SMEM((stages, tile), jnp.int32) for _ in flags],
      plgpu.Barrier(num_arrivals=arriving, num_barriers=stages),
    ),
    [x for group in groups for x in group],
    b[0],
    # A tile is committed before the copy engine uses it again, and no other
    # memory is both read and written.
    unsafe_no_auto_barriers=True,
  )


def _row(row, x):
  """Returns the row index in an array of one row for all, or of all rows."""
  return row if x.shape[0] > 1 else 0


def _wide(flag):
  """Broadcasts a scalar to every channel."""
  return jnp.broadcast_to(flag.astype(jnp.float32), (CHANNELS,))
