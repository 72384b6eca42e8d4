"""Data sets: arrays of examples, their splits, and information on them."""

from collections.abc import Mapping
import dataclasses
from typing import Any
from typing import NamedTuple

import numpy as np


class MissingData(ValueError):
  """A package, program or file that holds the data is not there.

  The message is one sentence that names what to install or where to look.
  """


class ArrayDataset(NamedTuple):
  """Examples as arrays of the host.

  Attributes:
    inputs: (n, time, features) float32, or (n, time) tokens. Tokens are int32,
      or uint8 where a set is large.
    targets: (n,) int32 classes, (n, time) int32 tokens, (n, factors) int32
      levels of the factors that made a series, or float32 values (n, ...).
    lengths: (n,) int32, the number of elements in time that count, of sequences
      that were padded at their end; None if all are of full length.
    extras: further arrays with leading axis n, by name; None if there are none.
  """

  inputs: np.ndarray
  targets: np.ndarray
  lengths: np.ndarray | None = None
  extras: dict[str, np.ndarray] | None = None


@dataclasses.dataclass(frozen=True)
class Info:
  """What is known of a data set.

  Attributes:
    description: one sentence: what an input and what a target is.
    source: where the data come from.
    licence: terms of the data.
    num_classes: number of classes of the targets, if they are classes.
    vocab_size: number of tokens, if the inputs are tokens; padding included.
    details: whatever else belongs to the set: class names, scale, horizon.
  """

  description: str
  source: str
  licence: str
  num_classes: int | None = None
  vocab_size: int | None = None
  details: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Splits(NamedTuple):
  """A data set divided for training, validation and testing.

  Attributes:
    train: examples to learn from.
    valid: examples to choose options with, or None.
    test: examples to report.
    info: what is known of the set.
  """

  train: ArrayDataset
  valid: ArrayDataset | None
  test: ArrayDataset
  info: Info


def check(dataset: ArrayDataset, name: str = "dataset") -> ArrayDataset:
  """Checks that the arrays of a data set belong together.

  Args:
    dataset: the data set.
    name: what to call it in messages.

  Returns:
    The data set.

  Raises:
    ValueError: naming the array, what came and what is expected.
  """
  inputs, targets, lengths, extras = dataset
  tokens = np.issubdtype(inputs.dtype, np.integer)
  if inputs.ndim < 2 or (inputs.ndim == 2) != tokens:
    raise ValueError(
      f"{name}: inputs must be (n, time) of integers or (n, time, features) of "
      f"floats; got shape {inputs.shape} and dtype {inputs.dtype}."
    )
  if inputs.shape[1] == 0:
    raise ValueError(
      f"{name}: inputs must have at least one element in time; got shape "
      f"{inputs.shape}."
    )
  count = len(inputs)
  named = {"targets": targets, "lengths": lengths, **(extras or {})}
  for key, array in named.items():
    if array is not None and (array.ndim == 0 or len(array) != count):
      raise ValueError(
        f"{name}: {key} must have one entry for each of the {count} inputs; "
        f"got shape {array.shape}."
      )
  if lengths is not None:
    if lengths.shape != (count,) or lengths.dtype != np.int32:
      raise ValueError(
        f"{name}: lengths must be ({count},) of int32; got shape "
        f"{lengths.shape} and dtype {lengths.dtype}."
      )
    if count and not (lengths.min() >= 0 and lengths.max() <= inputs.shape[1]):
      raise ValueError(
        f"{name}: lengths must lie in 0 .. {inputs.shape[1]}, the time axis of "
        f"inputs; got {lengths.min()} .. {lengths.max()}."
      )
  return dataset


def take(dataset: ArrayDataset, rows: np.ndarray) -> ArrayDataset:
  """Returns the rows of a data set, in the order given.

  Args:
    dataset: the data set.
    rows: indices, or a boolean mask, of the first axis.

  Returns:
    The data set of these rows, copied.
  """
  inputs, targets, lengths, extras = dataset
  return ArrayDataset(
    inputs[rows],
    targets[rows],
    None if lengths is None else lengths[rows],
    None if extras is None else {k: v[rows] for k, v in extras.items()},
  )


def stratified_split(
  labels: np.ndarray, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """Divides rows in two parts with the same share of every class.

  Args:
    labels: (n,) integer classes.
    fraction: share of each class in the second part, in 0 .. 1; rounded to
      whole rows per class.
    seed: seed of the choice.

  Returns:
    The sorted row indices of the first and of the second part.

  Raises:
    ValueError: if fraction is not in 0 .. 1.
  """
  if not 0 <= fraction <= 1:
    raise ValueError(f"fraction must lie in 0 .. 1; got {fraction}.")
  rng = np.random.default_rng(seed)
  second = np.zeros(len(labels), bool)
  for label in np.unique(labels):
    rows = np.flatnonzero(labels == label)
    second[rng.permutation(rows)[: round(fraction * len(rows))]] = True
  return np.flatnonzero(~second), np.flatnonzero(second)


def carve_valid(splits: Splits, fraction: float, seed: int = 0) -> Splits:
  """Takes validation examples out of the training examples.

  Args:
    splits: a set with classes (n,) as targets.
    fraction: share of every class that goes over; nothing happens at 0.
    seed: seed of the choice.

  Returns:
    The splits with `valid` in place of whatever it was.

  Raises:
    ValueError: if the targets are no classes or the fraction is out of range.
  """
  if not fraction:
    return splits
  labels = splits.train.targets
  if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
    raise ValueError(
      "carve_valid needs integer targets of shape (n,); got shape "
      f"{labels.shape} and dtype {labels.dtype}."
    )
  train, valid = stratified_split(labels, fraction, seed)
  return splits._replace(
    train=take(splits.train, train), valid=take(splits.train, valid)
  )
