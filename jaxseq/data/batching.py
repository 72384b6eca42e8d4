"""Batches of examples: shuffled, resumable, divided over hosts.

Everything is a function of (seed, epoch, step): a run that stops at a step and
starts again there sees the batches that it would have seen, and the batches of
all hosts together do not depend on how many hosts there are.
"""

from collections.abc import Iterator
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxseq.data import types


class Batch(NamedTuple):
  """A batch of static shape.

  Attributes:
    inputs: (batch, time, features) float32 or (batch, time) int32.
    targets: (batch, ...), int32 or float32.
    lengths: (batch,) int32, elements in time that count.
    mask: (batch, time) bool, True on the elements that count; all False in a
      row that only fills up the batch.
    valid: (batch,) bool, False in a row that only fills up the batch.
    extras: further arrays by name, (batch, ...).
  """

  inputs: np.ndarray
  targets: np.ndarray
  lengths: np.ndarray
  mask: np.ndarray
  valid: np.ndarray
  extras: dict[str, np.ndarray]


def permutation(seed: int, epoch: int, n: int) -> np.ndarray:
  """Returns the order of the examples in one epoch.

  Args:
    seed: seed of the run.
    epoch: number of the epoch, from 0.
    n: number of examples.

  Returns:
    (n,) int64, a permutation of 0 .. n - 1 that depends on nothing else.
  """
  return np.random.default_rng([seed, epoch]).permutation(n)


def steps_per_epoch(
  n: int, batch_size: int, drop_remainder: bool = True
) -> int:
  """Returns the number of batches in an epoch.

  Args:
    n: number of examples.
    batch_size: examples in a batch, over all hosts.
    drop_remainder: whether examples that fill no batch are left out.

  Returns:
    The number of batches.
  """
  return n // batch_size if drop_remainder else -(-n // batch_size)


def _narrow(array):
  """Small integers become int32, float64 becomes float32."""
  if np.issubdtype(array.dtype, np.integer):
    return array.astype(np.int32)
  if np.issubdtype(array.dtype, np.floating):
    return array.astype(np.float32)
  return array


def _check_hosts(batch_size, host_index, host_count):
  if batch_size < 1:
    raise ValueError(f"batch_size must be at least 1; got {batch_size}.")
  if host_count < 1 or not 0 <= host_index < host_count:
    raise ValueError(
      "host_index must lie in 0 .. host_count - 1; got host_index = "
      f"{host_index} and host_count = {host_count}."
    )
  if batch_size % host_count:
    raise ValueError(
      f"batch_size must be a multiple of host_count = {host_count}; got "
      f"{batch_size}."
    )
  return batch_size // host_count


def batches(
  dataset: types.ArrayDataset,
  batch_size: int,
  seed: int = 0,
  *,
  epochs: int | None = None,
  start_step: int = 0,
  shuffle: bool = True,
  drop_remainder: bool = True,
  host_index: int = 0,
  host_count: int = 1,
) -> Iterator[Batch]:
  """Iterates over a data set in batches.

  For training, leave `epochs` at None and count the steps; for evaluation, take
  `epochs=1, shuffle=False, drop_remainder=False` and weigh with `valid`.

  Args:
    dataset: the examples.
    batch_size: examples in a batch, over all hosts.
    seed: seed of the order.
    epochs: number of epochs; endless if None.
    start_step: number of batches to leave out, counted over epochs; they cost
      nothing.
    shuffle: whether each epoch has an order of its own.
    drop_remainder: whether examples that fill no batch are left out of the
      epoch; if not, the last batch is filled up with rows that are not valid.
    host_index: number of this host.
    host_count: number of hosts; this one gets its part of every batch.

  Returns:
    An iterator of batches with batch_size / host_count rows.

  Raises:
    ValueError: if an argument is out of range, before the first batch.
  """
  rows = _check_hosts(batch_size, host_index, host_count)
  types.check(dataset)
  count = len(dataset.inputs)
  steps = steps_per_epoch(count, batch_size, drop_remainder)
  if steps == 0:
    raise ValueError(
      f"batch_size must be at most the number of examples, {count}, for there "
      f"to be a batch; got {batch_size}."
    )
  if start_step < 0:
    raise ValueError(f"start_step must be at least 0; got {start_step}.")

  def iterate():
    epoch, step = divmod(start_step, steps)
    while epochs is None or epoch < epochs:
      if shuffle:
        order = permutation(seed, epoch, count)
      else:
        order = np.arange(count)
      for number in range(step, steps):
        start = number * batch_size + host_index * rows
        yield _batch(dataset, order[start : start + rows], rows)
      epoch, step = epoch + 1, 0

  return iterate()


def _batch(dataset, chosen, rows):
  """Gathers rows, and repeats row 0 where there are too few."""
  valid = np.arange(rows) < len(chosen)
  filled = np.zeros(rows, np.int64)
  filled[: len(chosen)] = chosen
  inputs, targets, lengths, extras = types.take(dataset, filled)
  time = inputs.shape[1]
  if lengths is None:
    lengths = np.full(rows, time, np.int32)
  mask = (np.arange(time) < lengths[:, None]) & valid[:, None]
  extras = {name: _narrow(array) for name, array in (extras or {}).items()}
  return Batch(_narrow(inputs), _narrow(targets), lengths, mask, valid, extras)


class StreamBatch(NamedTuple):
  """A batch of parallel streams, each going on from the batch before.

  Attributes:
    inputs: (batch, time) int32.
    targets: (batch, time) int32.
    reset: (batch, time) bool, True at the first element of a stream or of a
      document.
    mask: (batch, time) bool, False behind the end of a stream.
  """

  inputs: np.ndarray
  targets: np.ndarray
  reset: np.ndarray
  mask: np.ndarray


def streams(
  inputs: np.ndarray,
  targets: np.ndarray,
  batch_size: int,
  length: int,
  *,
  starts: np.ndarray | None = None,
  epochs: int | None = None,
  start_step: int = 0,
  host_index: int = 0,
  host_count: int = 1,
) -> Iterator[StreamBatch]:
  """Iterates over one long sequence, cut in parallel streams.

  Row r of every batch goes on where row r of the batch before ended, so a model
  can carry its state from batch to batch. With batch_size = 1 and epochs = 1
  every element is seen once with all that went before it.

  Args:
    inputs: (n,) integer tokens.
    targets: (n,) integer tokens, such as the inputs one later.
    batch_size: number of streams, over all hosts. They are equally long; the
      last one may be shorter, which the mask tells.
    length: elements of a stream in one batch.
    starts: (n,) bool, True where a document starts; only at stream starts if
      None.
    epochs: how often the sequence is read; endlessly if None.
    start_step: number of batches to leave out. The state that belongs there is
      the caller's to restore.
    host_index: number of this host.
    host_count: number of hosts; this one gets its part of the streams.

  Returns:
    An iterator of batches with batch_size / host_count rows.

  Raises:
    ValueError: if an argument is out of range, before the first batch.
  """
  rows = _check_hosts(batch_size, host_index, host_count)
  if inputs.ndim != 1 or inputs.shape != targets.shape:
    raise ValueError(
      "inputs and targets must be (n,) of equal length; got shapes "
      f"{inputs.shape} and {targets.shape}."
    )
  if starts is not None and starts.shape != inputs.shape:
    raise ValueError(
      f"starts must have the shape of inputs, {inputs.shape}; got "
      f"{starts.shape}."
    )
  if length < 1:
    raise ValueError(f"length must be at least 1; got {length}.")
  if len(inputs) < batch_size:
    raise ValueError(
      f"batch_size must be at most the number of elements, {len(inputs)}; got "
      f"{batch_size}."
    )
  if start_step < 0:
    raise ValueError(f"start_step must be at least 0; got {start_step}.")
  span = -(-len(inputs) // batch_size)
  steps = -(-span // length)
  first = (host_index * rows + np.arange(rows)) * span

  def iterate():
    epoch, step = divmod(start_step, steps)
    while epochs is None or epoch < epochs:
      for number in range(step, steps):
        within = number * length + np.arange(length)
        places = first[:, None] + within
        mask = (within < span) & (places < len(inputs))
        places = np.where(mask, places, 0)
        reset = np.tile(within == 0, (rows, 1))
        if starts is not None:
          reset |= starts[places] & mask
        yield StreamBatch(
          np.where(mask, inputs[places], 0).astype(np.int32),
          np.where(mask, targets[places], 0).astype(np.int32),
          reset,
          mask,
        )
      epoch, step = epoch + 1, 0

  return iterate()


def pad_sequences(
  sequences: Sequence[np.ndarray],
  length: int | None = None,
  *,
  multiple: int = 1,
  value: float = 0,
) -> tuple[np.ndarray, np.ndarray]:
  """Lays sequences of different lengths into one array.

  Args:
    sequences: arrays (length_i, ...) of one dtype and trailing shape.
    length: length of the time axis; the longest sequence's if None.
    multiple: the time axis is lengthened to a multiple of this.
    value: what stands behind the end of a sequence.

  Returns:
    The array (n, time, ...) and the lengths, (n,) int32.

  Raises:
    ValueError: if there is no sequence, one is longer than `length`, or they
      do not belong together.
  """
  if not len(sequences):
    raise ValueError("sequences must hold at least one sequence; got none.")
  lengths = np.array([len(sequence) for sequence in sequences], np.int32)
  longest = int(lengths.max())
  if length is None:
    length = longest
  if longest > length:
    raise ValueError(
      f"length must be at least that of the longest sequence, {longest}; got "
      f"{length}."
    )
  length = -(-length // multiple) * multiple
  trailing = {sequence.shape[1:] for sequence in sequences}
  if len(trailing) > 1:
    raise ValueError(
      "sequences must have one shape behind the time axis; got "
      f"{', '.join(map(str, sorted(trailing)))}."
    )
  dtype = np.result_type(*{sequence.dtype for sequence in sequences})
  padded = np.full((len(sequences), length, *trailing.pop()), value, dtype)
  for row, sequence in zip(padded, sequences):
    row[: len(sequence)] = sequence
  return padded, lengths
