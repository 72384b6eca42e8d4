"""Helpers of a gated recurrence's loops on Hopper."""

from typing import NamedTuple

from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
import jax.numpy as jnp

# Rows of a block: those of one tensor core instruction.
ROWS = 64
_WGMMA = plgpu.Layout.WGMMA


class Place(NamedTuple):
  """Rows and features of a warpgroup."""

  rows: pl.Slice  # rows, in all arrays
  columns: pl.Slice  # features, counted over all heads
  width: int  # features of all heads, per gate

  def at(self, *time, part: int = 0):
    """Returns the index of these rows and features in an array."""
    start = self.columns.start + part * self.width
    return *time, self.rows, pl.ds(start, self.columns.size)

  def read(self, leaf, *time, part: int = 0):
    """Loads these rows and features in float32 directly from main memory."""
    return _computed(_load(leaf.at[self.at(*time, part=part)], _WGMMA))

  def write(self, leaf, value, *time, part: int = 0):
    """Writes these rows and features of an array in main memory."""
    leaf[self.at(*time, part=part)] = value.astype(leaf.dtype)

  def biases(self, leaf):
    """Returns biases of each part for all rows of a `leaf` (parts, width)."""
    layout = _WGMMA.reduce(0)
    loaded = (_load(leaf.at[i, self.columns], layout) for i in _range(leaf))
    return [lax.broadcast_in_dim(x, self._shape(), (1,)) for x in loaded]

  def flag(self, flags, t):
    """Returns the flags of a step, if any, for all features."""
    if not flags:
      return None
    flag = _load(flags[0].at[t, self.rows], _WGMMA.reduce(1))
    return lax.broadcast_in_dim(flag, self._shape(), (0,))

  def _shape(self):
    return self.rows.size, self.columns.size


def _range(leaf):
  return range(leaf.shape[0])


def _load(place, layout):
  return plgpu.load(place, layout=layout, optimized=False)


def _computed(leaf):
  """Casts to float32, with the type of a step's results."""
  return 1.0 * leaf.astype(jnp.float32)


def owners(slots: tuple[int, ...]) -> dict[int, int]:
  """Returns the last place of each slot: a product's if there is one."""
  # `slots` has the distinct sum of each input and then product of a cell.
  return {slot: place for place, slot in enumerate(slots)}


def with_biases(values, biases, slots: tuple[int, ...]):
  """Returns a cell's inputs and products, with each slot's bias added once."""
  values = list(values)
  for slot, place in owners(slots).items():
    values[place] = values[place] + biases[slot]
  return values


def from_sums(sums, slots: tuple[int, ...]):
  """Returns inputs and products of a cell with these sums."""
  values = [jnp.zeros_like(sums[0])] * len(slots)
  for slot, place in owners(slots).items():
    values[place] = sums[slot]
  return values


def smem(*shape: int, features: int):
  """Returns bfloat16 shared memory in tiles of up to 64 features."""
  tiles = plgpu.TilingTransform((8, features))
  transforms = tiles, plgpu.SwizzleTransform(2 * features)
  return plgpu.SMEM(shape, jnp.bfloat16, transforms=transforms)


def split(refs, *counts: int):
  """Splits references into groups of these sizes, and the rest."""
  groups = []
  for count in counts:
    groups.append(refs[:count])
    refs = refs[count:]
  return *groups, refs


def meet(barrier):
  """Waits for all warpgroups of the block."""
  plgpu.barrier_arrive(barrier)
  plgpu.barrier_wait(barrier)


def in_layout(leaf):
  """Casts to the layout of the loop's carry."""
  return plgpu.layout_cast(leaf, _WGMMA)


def forget(flag, state):
  """Sets the state to zeros at resets; a select, also for undefined states."""
  if flag is None:
    return state
  return tuple(jnp.where(flag != 0, 0.0, leaf) for leaf in state)
