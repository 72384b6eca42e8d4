"""Parts that the loops of a gated recurrence for Hopper share."""

from typing import NamedTuple

from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
import jax.numpy as jnp

# Rows of a block: those of one instruction of the tensor cores.
ROWS = 64
_WGMMA = plgpu.Layout.WGMMA


class Place(NamedTuple):
  """Rows and features that a warpgroup works on."""

  rows: pl.Slice  # of all arrays
  columns: pl.Slice  # features, counted over all heads
  width: int  # features of all heads, those of a part

  def at(self, *time, part: int = 0):
    """Index of these rows and features in an array."""
    start = self.columns.start + part * self.width
    return *time, self.rows, pl.ds(start, self.columns.size)

  def read(self, leaf, *time, part: int = 0):
    """These rows and features in float32, right from main memory."""
    return _computed(_load(leaf.at[self.at(*time, part=part)], _WGMMA))

  def write(self, leaf, value, *time, part: int = 0):
    """Writes to these rows and features of an array in main memory."""
    leaf[self.at(*time, part=part)] = value.astype(leaf.dtype)

  def biases(self, leaf):
    """Biases of each part over all rows, of a `leaf` (parts, width)."""
    layout = _WGMMA.reduce(0)
    loaded = (_load(leaf.at[i, self.columns], layout) for i in _range(leaf))
    return [lax.broadcast_in_dim(x, self._shape(), (1,)) for x in loaded]

  def flag(self, flags, t):
    """The flags of a step, if there are any, over all features."""
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
  """In float32, with the type of what a step returns."""
  return 1.0 * leaf.astype(jnp.float32)


def owners(slots: tuple[int, ...]) -> dict[int, int]:
  """Last of the places that share a slot: that of a state if there is one."""
  # `slots` has, for inputs and then products of a cell, their distinct sums.
  return {slot: place for place, slot in enumerate(slots)}


def with_biases(values, biases, slots: tuple[int, ...]):
  """Inputs and products of a cell, each bias added to one of its slot."""
  values = list(values)
  for slot, place in owners(slots).items():
    values[place] = values[place] + biases[slot]
  return values


def from_sums(sums, slots: tuple[int, ...]):
  """Inputs and products of a cell that have these sums."""
  values = [jnp.zeros_like(sums[0])] * len(slots)
  for slot, place in owners(slots).items():
    values[place] = sums[slot]
  return values


def smem(*shape: int, features: int):
  """Bfloat16 in shared memory, in tiles of so many features, up to 64."""
  tiles = plgpu.TilingTransform((8, features))
  transforms = tiles, plgpu.SwizzleTransform(2 * features)
  return plgpu.SMEM(shape, jnp.bfloat16, transforms=transforms)


def split(refs, *counts: int):
  """Groups of so many, and the rest."""
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
  """In the layout that a loop carries."""
  return plgpu.layout_cast(leaf, _WGMMA)


def forget(flag, state):
  """Zeros where there is a reset: a select, whatever is forgotten."""
  if flag is None:
    return state
  return tuple(jnp.where(flag != 0, 0.0, leaf) for leaf in state)
