"""Loops of S5's core along time on Hopper, tile by tile.

A block computes one row, 64 elements at a time: tensor cores project and read
out, each thread has a channel, and 32 columns of the matrices are loaded at a
time.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
import jax.numpy as jnp

from jaxseq.kernels import _calls
from jaxseq.kernels import _hopper
from jaxseq.kernels.linear import _parts as _linear_parts
from jaxseq.kernels.lti import _gpu_parts

TILE, CHANNELS, DEPTH = _gpu_parts.TILE, _gpu_parts.CHANNELS, _gpu_parts.DEPTH
_STAGES = 3
# Elements whose inputs are loaded together.
_GROUP = 8
# Extra columns of a tile, so that rows start in different banks.
_APART = 8
# Columns of outputs that wait for their inputs together.
_OUT = 32
_LAYOUT = plgpu.Layout.WGMMA


class Element(NamedTuple):
  """Arrays of one element in a step: vectors of 128 channels, by parts."""

  a: _linear_parts.Parts
  b: _linear_parts.Parts
  h: _linear_parts.Parts
  flag: jax.Array | None

  def kept(self, x):
    """Sets x to zeros at resets."""
    return _linear_parts.select(self.flag, x, 0.0)

  def passing(self, carry, x):
    """Returns the carry in padding, else x."""
    if self.flag is None:
      return x
    padding = self.flag > 1.5
    return tuple(jnp.where(padding, *each) for each in zip(carry, x))


@_calls.in_32_bits
def along_time(
  step: Callable,
  walk: _gpu_parts.Walk,
  a: jax.Array,
  w_in: jax.Array,
  read_out: tuple[jax.Array | None, ...],
  x: jax.Array,
  carry: tuple[jax.Array, ...],
  flags: jax.Array | None,
  h: jax.Array | None = None,
  before: jax.Array | None = None,
) -> tuple[jax.Array, ...]:
  """Folds `step(element, carry) -> carry, state` over time, in each row."""
  rows, time, H = x.shape
  S, tiles = a.shape[0], time // TILE
  read_out = tuple(each for each in read_out if each is not None)
  flags = () if flags is None else (flags,)
  past = () if h is None else (h, before)
  # The factors in order: all columns of w_in, and then of w_out.
  chunks = [(0, c) for c in range(H // DEPTH)]
  chunks += [(1, c) for c in range(S // DEPTH) if read_out]
  groups = S // walk.parts // CHANNELS

  def body(*refs):
    refs = iter(refs)
    x_ref, a_ref, w_in_ref = (next(refs) for _ in range(3))
    w_refs = [w_in_ref, *(next(refs) for _ in read_out)]
    flag_refs, past_refs, carry_refs = (
      [next(refs) for _ in each] for each in (flags, past, carry)
    )
    out_refs = [next(refs) for _ in range(2 if read_out else 0)]
    last_refs = [next(refs) for _ in carry]
    operand, columns, states, arrived, loaded = refs
    row = lax.axis_index("row")

    def of(group):
      # The channels of each part.
      return [
        pl.ds(group * CHANNELS + part * groups * CHANNELS, CHANNELS)
        for part in range(walk.parts)
      ]

    def begin(k):
      return (tiles - 1 - k if walk.backwards else k) * TILE

    def fetch(k):
      times = pl.ds(begin(k), TILE)
      for c in range(H // DEPTH):
        place = x_ref.at[row, times, pl.ds(c * DEPTH, DEPTH)]
        plgpu.copy_gmem_to_smem(place, operand.at[c], arrived)

    def fetch_columns(k, number):
      """Fetches the next columns of a matrix, for this tile or the next."""
      which, c = chunks[number % len(chunks)]
      place = w_refs[which].at[:, pl.ds(c * DEPTH, DEPTH)]
      slot = lax.rem(k * len(chunks) + number, _STAGES)
      target = columns.at[slot, pl.ds(0, place.shape[0])]

      @pl.when(k + number // len(chunks) < tiles)
      def _():
        plgpu.copy_gmem_to_smem(place, target, loaded.at[slot])

    def product(k, which):
      """Multiplies the operand's tile by a matrix."""
      numbers = [i for i, chunk in enumerate(chunks) if chunk[0] == which]
      width = w_refs[which].shape[0]

      def run(sums):
        for number in numbers:
          slot = lax.rem(k * len(chunks) + number, _STAGES)
          plgpu.barrier_wait(loaded.at[slot])
          matrix = columns.at[slot, pl.ds(0, width)].transpose((1, 0))
          plgpu.wgmma(sums, operand.at[chunks[number][1]], matrix)
          # The previous product is done, and its columns are free.
          if number > numbers[0]:
            plgpu.wgmma_wait(1)
            plgpu.commit_smem()
            fetch_columns(k, number - 1 + _STAGES)
        plgpu.wgmma_wait(0)
        plgpu.commit_smem()
        fetch_columns(k, numbers[-1] + _STAGES)
        return sums[...]

      return pl.run_scoped(run, plgpu.ACC((TILE, width), jnp.float32))

    a_now = [
      tuple(_vector(a_ref.at[numbers]) for numbers in of(group))
      for group in range(groups)
    ]

    def element(t, i, group):
      b = tuple(_vector(states.at[i, numbers]) for numbers in of(group))
      h_now = ()
      if past:
        later = 1 if walk.backwards else -1
        # The previous element, which is the next one if `backwards`.
        edge = 0 if walk.backwards else time - 1
        at = lax.clamp(0, t - later, time - 1)
        h_now = tuple(
          jnp.where(_wide(t == edge) > 0, first, other)
          for first, other in (
            (
              _vector(past_refs[1].at[row, numbers]),
              _vector(past_refs[0].at[row, at, numbers]),
            )
            for numbers in of(group)
          )
        )
      flag = _wide(flag_refs[0][row, t]) if flags else None
      return Element(a_now[group], b, h_now, flag)

    def scanned(k, carry):
      """Replaces a tile's increments by its states."""

      def some(j, carry):
        indices = [j * _GROUP + i for i in range(_GROUP)]
        if walk.backwards:
          indices = [TILE - 1 - i for i in indices]
        carry = list(carry)
        for group in range(groups):
          # Loads come before all stores, because the compiler does not reorder
          # them.
          elements = [element(begin(k) + i, i, group) for i in indices]
          outs = []
          for each in elements:
            carry[group], result = step(each, carry[group])
            outs.append(result)
          for i, result in zip(indices, outs):
            for numbers, part in zip(of(group), result):
              states[i, numbers] = part
              if read_out:
                out_refs[0][row, begin(k) + i, numbers] = part
        return tuple(carry)

      return lax.fori_loop(0, TILE // _GROUP, some, carry)

    def read_off(k):
      # Converts rows of scanning threads to the layout of operands.
      for c in range(S // DEPTH):
        place = states.at[:, pl.ds(c * DEPTH, DEPTH)]
        operand.at[c][...] = plgpu.load(place, layout=_LAYOUT, optimized=False)
      plgpu.commit_smem()
      y = product(k, 1)
      for start in range(0, y.shape[1], _OUT):
        numbers = pl.ds(start, min(_OUT, y.shape[1] - start))
        at = row, pl.ds(begin(k), TILE), numbers
        part = lax.slice(y, (0, start), (TILE, start + numbers.size))
        for D in w_refs[2:]:
          through = plgpu.load(x_ref.at[at], layout=_LAYOUT, optimized=False)
          D = plgpu.load(
            D.at[numbers], layout=_LAYOUT.reduce(0), optimized=False
          )
          part += lax.broadcast_in_dim(D, part.shape, [1]) * through
        out_refs[1][at] = part

    def tile(k, carry):
      plgpu.barrier_wait(arrived)
      states[:, pl.ds(0, S)] = product(k, 0)
      plgpu.commit_smem()
      carry = scanned(k, carry)
      plgpu.commit_smem()
      if read_out:
        read_off(k)

      @pl.when(k + 1 < tiles)
      def _():
        fetch(k + 1)

      return carry

    fetch(jnp.int32(0))
    for number in range(_STAGES):
      fetch_columns(jnp.int32(0), number)
    # The product has the type of the loop's results inside `jax.shard_map`.
    carry_now = tuple(
      tuple(
        _vector(ref.at[row, numbers]) * 1.0
        for ref in carry_refs
        for numbers in of(group)
      )
      for group in range(groups)
    )
    last = lax.fori_loop(0, tiles, tile, carry_now)
    for group, outs in enumerate(last):
      places = [(ref, numbers) for ref in last_refs for numbers in of(group)]
      for (ref, numbers), part in zip(places, outs):
        ref[row, numbers] = part

  arrays = (x, a, w_in, *read_out, *flags, *past, *carry)
  M = read_out[0].shape[0] if read_out else 0
  shapes = [(rows, time, S), (rows, time, M)] if read_out else []
  shapes += [(rows, S)] * len(carry)
  depth = max(H, S if read_out else 0) // DEPTH
  name = "lti_adjoint" if past else "lti_states" if read_out else "lti_summary"
  return _hopper.call(
    name,
    walk.form,
    body,
    {"row": rows},
    map(_hopper.float32, shapes),
    (
      _tile(depth, TILE),
      _tile(_STAGES, max(S, M)),
      plgpu.SMEM((TILE, S + _APART), jnp.float32),
      plgpu.Barrier(num_arrivals=H // DEPTH),
      plgpu.Barrier(num_arrivals=1, num_barriers=_STAGES),
    ),
    arrays,
    x,
    # Every read of another thread's writes has a barrier above.
    unsafe_no_auto_barriers=True,
    lowering_semantics=plgpu.LoweringSemantics.Lane,
  )


def _tile(count, height):
  """Returns shared memory for operands of products."""
  transforms = plgpu.TilingTransform((8, DEPTH)), plgpu.SwizzleTransform(128)
  return plgpu.SMEM((count, height, DEPTH), jnp.float32, transforms=transforms)


def _vector(ref):
  """Loads one number per thread."""
  layout = plgpu.Layout.WG_STRIDED((CHANNELS,), vec_size=1)
  return plgpu.load(ref, layout=layout, optimized=False)


def _wide(flag):
  """Broadcasts a scalar to every channel."""
  return jnp.broadcast_to(flag.astype(jnp.float32), (CHANNELS,))
