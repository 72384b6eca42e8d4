"""Parts that the loops of a gated recurrence for Hopper share.

Arrays are (time, heads, rows, features), states (heads, rows, features), with
rows in multiples of 64. A warpgroup works on 64 rows of some features of one
head, in the layout of the sums of tensor cores.
"""

from typing import NamedTuple

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
import jax.numpy as jnp

# Rows of a block: those of one instruction of the tensor cores.
ROWS = 64
_WGMMA = plgpu.Layout.WGMMA


class Place(NamedTuple):
  """What a warpgroup works on: rows and features of a head."""

  head: jax.Array
  rows: pl.Slice
  columns: pl.Slice

  def read(self, leaves, *time):
    """These rows and features of arrays, right from main memory."""
    places = (leaf.at[(*time, *self)] for leaf in leaves)
    return tuple(_load(place, _WGMMA) for place in places)

  def write(self, leaves, values, *time):
    """Writes to these rows and features of arrays in main memory."""
    for leaf, value in zip(leaves, values):
      leaf[(*time, *self)] = value.astype(leaf.dtype)

  def bias(self, leaf):
    """A (features,) array over all rows."""
    bias = _load(leaf.at[self.columns], _WGMMA.reduce(0))
    return lax.broadcast_in_dim(bias, self._shape(), (1,))

  def flag(self, flags, t):
    """The flags of a step, if there are any, over all features."""
    if not flags:
      return None
    flag = _load(flags[0].at[t, self.rows], _WGMMA.reduce(1))
    return lax.broadcast_in_dim(flag, self._shape(), (0,))

  def _shape(self):
    return self.rows.size, self.columns.size


def _load(place, layout):
  return plgpu.load(place, layout=layout, optimized=False)


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


def as_computed(state):
  """With the types of what a step returns.

  What is read in a kernel varies over the devices of `jax.shard_map` as the
  argument does, by its type, and what is computed does not.
  """
  return tuple(1.0 * leaf for leaf in state)


def in_layout(leaf):
  """In the layout that a loop carries."""
  return plgpu.layout_cast(leaf, _WGMMA)


def forget(flag, state):
  """Zeros where there is a reset: a select, whatever is forgotten."""
  if flag is None:
    return state
  return tuple(jnp.where(flag != 0, 0.0, leaf) for leaf in state)
