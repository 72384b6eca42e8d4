"""Clusters of blocks for the loops of a gated recurrence."""

from typing import NamedTuple

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from jaxseq.kernels.gated import _gpu_parts as parts
from jaxseq.recurrence.platform import support

ROWS = parts.ROWS
# Features of a block and of each of its warpgroups, and of a head: 16 blocks
# are the largest cluster of an H100. Other chips guarantee 8.
FEATURES = 32
GROUPS = 2
COLUMNS = FEATURES // GROUPS
WIDEST = 16 * FEATURES
# Features in a tile of a tensor core's input.
TILE = 64
# Shared memory per block in bytes, with 3 KiB left for barriers.
_SHARED = 224 * 1024


def width(features: int) -> int:
  """Returns the padded features per head: those of 2, 4, 8 or 16 blocks."""
  blocks = max(2, -(-features // FEATURES))
  return FEATURES * 2 ** (blocks - 1).bit_length()


def in_parts(features: int) -> tuple[int, int]:
  """Returns the number of chunks of a head's features, and their size."""
  size = max(TILE, features // 4)
  return features // size, size


class Here(NamedTuple):
  """Place of a warpgroup, and its block."""

  place: parts.Place  # rows and features of this warpgroup
  group: jax.Array  # number of the warpgroup in its block
  columns: pl.Slice  # its features among the block's
  start: jax.Array  # start of its head's features
  block: jax.Array  # number of its block in the cluster

  @classmethod
  def of(cls, heads: int, features: int):
    """Returns the place from the indices in grid, cluster and block."""
    group, block = lax.axis_index("group"), lax.axis_index("block")
    rows = pl.ds(lax.axis_index("rows") * ROWS, ROWS)
    start = lax.axis_index("head") * features
    columns = pl.ds(start + block * FEATURES + group * COLUMNS, COLUMNS)
    return cls(
      parts.Place(rows, columns, heads * features),
      group,
      pl.ds(group * COLUMNS, COLUMNS),
      start,
      block,
    )

  def owned(self, *time, part: int = 0):
    """Returns the index of the block's rows and features in an array."""
    return self._at(time, part, self.block * FEATURES, FEATURES)

  def others(self, time, first, count: int, part: int = 0):
    """Returns the index of some features of the head, of all blocks."""
    return self._at((time,), part, first, count)

  def _at(self, time, part, first, count):
    start = self.start + part * self.place.width + first
    return *time, self.place.rows, pl.ds(start, count)

  @property
  def first(self):
    """True if this warpgroup copies for its block."""
    return self.group == 0

  def fetch(self, kernel, to, loaded):
    """Copies the weights of both warpgroups to shared memory."""

    @pl.when(self.first)
    def _():
      for group in range(GROUPS):
        place = lax.axis_index("head"), self.block * GROUPS + group
        plgpu.copy_gmem_to_smem(kernel.at[place], to.at[group], loaded)

    plgpu.barrier_wait(loaded)


def check(features: int, gates: int, columns: int):
  """Raises NotImplementedError if the weights of a block do not fit."""
  taken = 2 * (FEATURES * gates * features + ROWS * columns)
  if features > WIDEST or taken > _SHARED:
    got = f"{features} features a head in {gates} gates"
    expected = (
      f"at most {WIDEST} features, and {_SHARED} bytes for {FEATURES} of them"
    )
    support.refuse("gated", got, expected)


def kernel(body, out, scratch, shape: tuple[int, int, int], interpret):
  """Returns `plgpu.kernel` on clusters."""
  heads, rows, features = shape
  return plgpu.kernel(
    body,
    out_type=tuple(out),
    scratch_types=(
      *scratch,
      plgpu.Barrier(num_arrivals=GROUPS),
      plgpu.ClusterBarrier(collective_axes=("block",)),
    ),
    grid=(heads, rows // ROWS),
    grid_names=("head", "rows"),
    cluster=(features // FEATURES,),
    cluster_names=("block",),
    num_threads=GROUPS,
    thread_name="group",
    interpret=interpret,
  )
