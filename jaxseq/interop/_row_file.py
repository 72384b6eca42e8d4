"""Rows of arrays in a file, read by number or ahead of their use."""

import collections
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent import futures
import math
import os
from typing import NamedTuple
import weakref

import numpy as np

from jaxseq import limits
from jaxseq.interop import safetensors_file

# Number of runs of rows that are read at the same time: a single read does not
# fill the queue of a flash drive.
_THREADS = 8
# Bytes of a block of an array.
_BLOCK = 2**22


class RowFile:
  """A file from which rows of two-dimensional arrays are read.

  Attributes:
    descriptor: descriptor of the open file.
  """

  def __init__(self, path: str | os.PathLike):
    """Opens the file until the object is deleted."""
    self._path = path
    self.descriptor = limits.regular(path, os.O_RDONLY)
    weakref.finalize(self, os.close, self.descriptor)
    self._pool = futures.ThreadPoolExecutor(_THREADS)

  def blocks(self, region: safetensors_file.Region) -> Iterator[np.ndarray]:
    """Yields the elements of an array in blocks."""
    size, step = math.prod(region.shape), _BLOCK // region.dtype.itemsize
    flat = region._replace(shape=(size, 1))
    for first in range(0, size, step):
      block = np.empty((min(step, size - first), 1), region.dtype)
      self.read(flat, first, block)
      yield block

  def array(self, region: safetensors_file.Region) -> np.ndarray:
    """Reads a whole array."""
    array = np.empty(region.shape, region.dtype)
    flat = region._replace(shape=(array.size, 1))
    self.read(flat, 0, array.reshape(-1, 1))
    return array

  def read(
    self, region: safetensors_file.Region, first: int, out: np.ndarray
  ) -> None:
    """Reads consecutive rows.

    Args:
      region: region of the array in the file.
      first: number of the first row.
      out: (n, width), contiguous; receives n rows.

    Raises:
      OSError: if the file has become shorter, or cannot be read.
    """
    target = memoryview(out.reshape(-1).view(np.uint8))
    place = region.start + first * out.shape[1] * out.itemsize
    while target:
      count = os.preadv(self.descriptor, [target], place)
      if not count:
        raise OSError(f"{self._path} was cut short while it was in use.")
      target, place = target[count:], place + count

  def gather(
    self, region: safetensors_file.Region, rows: np.ndarray, out: np.ndarray
  ) -> None:
    """Reads rows by their numbers; adjacent rows are one read.

    Args:
      region: see `read`, also for errors.
      rows: (n,) integers, ascending.
      out: (n, width), contiguous; receives the rows in this order.
    """
    ends = np.append(np.flatnonzero(np.diff(rows) != 1) + 1, len(rows))
    runs = list(zip([0, *ends[:-1]], ends)) if len(rows) else []

    def read(share):
      for start, stop in share:
        self.read(region, int(rows[start]), out[start:stop])

    shares = [runs[i::_THREADS] for i in range(min(_THREADS, len(runs)))]
    # The list waits for all reads, and raises their errors.
    list(self._pool.map(read, shares))


class Block(NamedTuple):
  """Consecutive rows that are read together."""

  region: safetensors_file.Region
  first: int
  count: int


class ReadAhead:
  """Reads blocks of rows ahead of their use, always in the same order.

  After the last block it continues with the first one, for the next token.
  """

  def __init__(
    self, file: RowFile, blocks: Sequence[Block], buffers: Sequence[np.ndarray]
  ):
    """Prepares reading, without starting it.

    Args:
      file: file of the rows.
      blocks: blocks in the order of their use.
      buffers: byte buffers, at least two, each as large as the largest block.
    """
    self._file = file
    self._blocks = blocks
    self._free = list(buffers)
    self._pending: collections.deque = collections.deque()
    self._next = 0
    self._pool = futures.ThreadPoolExecutor(1)

  def rows(self, start: int, stop: int) -> Iterator[tuple[Block, np.ndarray]]:
    """Yields blocks by their numbers, with their rows (count, width).

    Rows are valid until the next block is requested.
    """
    for index in range(start, stop):
      if not self._pending or self._pending[0][0] != index:
        self._restart(index)
      _, buffer, future = self._pending.popleft()
      try:
        yield self._blocks[index], future.result()
      finally:
        self._submit(buffer)

  def _restart(self, index):
    """Discards what was read ahead, and restarts at a block."""
    futures.wait([future for *_, future in self._pending])
    self._free += [buffer for _, buffer, _ in self._pending]
    self._pending.clear()
    self._next = index
    while self._free:
      self._submit(self._free.pop())

  def _submit(self, buffer):
    """Starts to read the next block into a buffer."""
    future = self._pool.submit(self._read, self._blocks[self._next], buffer)
    self._pending.append((self._next, buffer, future))
    self._next = (self._next + 1) % len(self._blocks)

  def _read(self, block, buffer):
    """Reads a block; returns its rows, a view of the buffer."""
    region = block.region
    rows = buffer.view(region.dtype)[: block.count * region.shape[1]]
    rows = rows.reshape(block.count, -1)
    self._file.read(region, block.first, rows)
    return rows
