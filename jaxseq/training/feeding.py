"""Batches that come from the host, for data larger than any memory.

A row of a batch is a pure function of its number: row r of update s has the
number s * batch_size + r. So every process computes the rows of its own devices
alone, and a run resumes with the same batches after a stop, with any number of
processes. A thread makes the batches of the next chunks
while the devices work.
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import numpy as np

from jaxseq.training import errors
from jaxseq.training import loop
from jaxseq.training import prefetch
from jaxseq.training.devices import device_mesh
from jaxseq.training.devices import placement
from jaxseq.types import PyTree

Digest = tuple[np.uint32, ...]


class Source(NamedTuple):
  """Rows that are computed when they are needed.

  Attributes:
    rows: from their numbers (n,) int64 to a pytree of arrays (n, ...); a pure
      function, which is called in another thread.
    batch_size: rows of an update.
    digest: of what the rows come from; it is the `carry` of the problem, and so
      lies in checkpoints.
  """

  rows: Callable[[np.ndarray], PyTree]
  batch_size: int
  digest: Digest


class Batches(NamedTuple):
  """The batches of a chunk of updates, on the devices.

  Attributes:
    first: updates made before the chunk, int32.
    rows: pytree of arrays (updates, batch, ...).
  """

  first: Any
  rows: PyTree

  def of(self, update: jax.Array) -> PyTree:
    """Returns the batch after so many updates, (batch, ...)."""
    at = update - self.first
    return jax.tree.map(
      lambda x: jax.lax.dynamic_index_in_dim(x, at, keepdims=False), self.rows
    )


def digest(text: str) -> Digest:
  """Returns a sha256 in hexadecimal digits as numbers that a state can hold."""
  return tuple(np.frombuffer(bytes.fromhex(text), np.uint32))


class Feed:
  """The batches of a run, chunk by chunk.

  Args:
    source: the rows.
    mesh: the devices that share a batch; without one all have all of it.
    num_runs: seeds that read the same batches.
    chunk_size: updates between two returns to the host.
    num_updates: of the whole run.
  """

  def __init__(
    self,
    source: Source,
    mesh: device_mesh.MeshConfig,
    num_runs: int,
    chunk_size: int,
    num_updates: int,
  ):
    self._source, self._mesh, self._num_runs = source, mesh, num_runs
    self._sizes = chunk_size, num_updates
    self._items: prefetch.Prefetch | None = None
    self._next: int | None = None

  def take(self, first: int, count: int) -> Batches:
    """Returns the batches of `count` updates after the first `first`.

    Raises:
      UserError: the source cannot make them.
    """
    if self._items is None or self._next != first:
      self.close()
      self._items = prefetch.Prefetch(self._make, self._chunks(first))
    batches = next(self._items)
    got = jax.tree.leaves(batches.rows)[0].shape[0]
    if got != count:
      self.close()
      return self._make((first, count))
    self._next = first + count
    return batches

  def check(self, carry: PyTree) -> None:
    """Checks that a state (with an axis of seeds) has learnt from this source.

    Raises:
      UserError: the state is of a run on other data.
    """
    saved = np.stack([np.asarray(x)[0] for x in carry])
    if not np.array_equal(saved, np.stack(self._source.digest)):
      texts = [
        np.stack(x).tobytes().hex() for x in (self._source.digest, saved)
      ]
      raise errors.UserError(
        f"the data: got a file with digest {texts[0]}, expected {texts[1]}, "
        "that of the checkpoint: go on with the file that it was trained on, "
        "or choose another workdir"
      )

  def close(self) -> None:
    """Ends the thread, if there is one."""
    if self._items is not None:
      self._items.close()
      self._items = None

  def _chunks(self, done):
    """The chunks from an update on, as the loop asks for them."""
    chunk_size, num_updates = self._sizes
    while done < num_updates:
      count = loop.next_count(done, chunk_size, num_updates)
      yield done, count
      done += count

  def _make(self, chunk):
    """The batches of a chunk, on the devices of this process."""
    first, count = chunk
    batch = self._source.batch_size
    numbers = (first + np.arange(count))[:, None] * batch + np.arange(batch)
    mesh = device_mesh.make(self._mesh)
    if mesh is None:
      batches = Batches(np.int32(first), self._rows(numbers))
      return placement.share(self._mesh, self._num_runs, batches)
    sharding = device_mesh.cut_examples(mesh, numbers, axis=1)
    columns = _columns(sharding, numbers.shape)
    everywhere = device_mesh.whole(mesh)

    def put(x):
      def part(index):
        wanted = np.arange(batch)[index[1]]
        return x[:, np.searchsorted(columns, wanted)]

      shape = *numbers.shape, *x.shape[2:]
      return jax.make_array_from_callback(shape, sharding, part)

    rows = jax.tree.map(put, self._rows(numbers[:, columns]))
    return Batches(device_mesh.put(np.int32(first), everywhere), rows)

  def _rows(self, numbers):
    """The rows (updates, batch, ...) of numbers (updates, batch)."""
    try:
      rows = self._source.rows(numbers.reshape(-1))
    except ValueError as error:
      raise errors.UserError(str(error)) from error
    return jax.tree.map(
      lambda x: np.reshape(x, (*numbers.shape, *x.shape[1:])), rows
    )


def _columns(sharding, shape):
  """The rows of a batch, rising, that the devices of this process need."""
  parts = sharding.addressable_devices_indices_map(shape).values()
  columns = np.arange(shape[1])
  return np.unique(np.concatenate([columns[rows] for _, rows in parts]))
