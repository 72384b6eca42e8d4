"""Splits of examples into training, validation and test parts.

By a column that names the part; by share, with the same share of every class
or with whole groups; or by time, the latest for testing.
"""

from collections.abc import Callable
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxseq import validate
from jaxseq.data import datasets

WORDS = {
  **dict.fromkeys(("train", "training"), 0),
  **dict.fromkeys(("valid", "validation", "val", "dev"), 1),
  **dict.fromkeys(("test", "testing"), 2),
}


class Parts(NamedTuple):
  """Rows of the three parts, sorted; `valid` may be empty."""

  train: np.ndarray
  valid: np.ndarray
  test: np.ndarray


def by_words(words: Sequence[str], place: Callable[[int], str]) -> Parts:
  """Splits by the words of a column: train, valid or test."""
  for row, word in enumerate(words):
    if word.lower() not in WORDS:
      raise ValueError(
        f"{place(row)}: got {word[:40]!r}, expected train, valid or test."
      )
  part = np.array([WORDS[word.lower()] for word in words])
  return _checked(*(np.flatnonzero(part == i) for i in range(3)))


def by_share(
  count: int,
  valid: float,
  test: float,
  seed: int,
  *,
  classes: np.ndarray | None = None,
  groups: Sequence[str] | None = None,
) -> Parts:
  """Splits at random, with equal shares of classes, or with whole groups."""
  check_shares(valid, test)
  if groups is not None:
    return _checked(*_whole_groups(groups, valid, test, seed), share=valid)
  labels = np.zeros(count, int) if classes is None else classes
  rest, chosen = datasets.stratified_split(labels, test, seed)
  train, later = datasets.stratified_split(
    labels[rest], valid / (1 - test), seed
  )
  return _checked(rest[train], rest[later], chosen, share=valid)


def by_time(starts: np.ndarray, valid: float, test: float) -> Parts:
  """Splits by time: the latest for testing, earlier ones for validation."""
  check_shares(valid, test)
  order = np.argsort(starts, kind="stable")
  second = len(order) - round(test * len(order))
  first = second - round(valid * len(order))
  return _checked(
    *map(np.sort, (order[:first], order[first:second], order[second:])),
    share=valid,
  )


def sizes(
  count: int, valid: float, test: float, kind: str
) -> tuple[int, int, int]:
  """Returns the sizes of the parts of `count` examples, by share.

  Raises:
    ValueError: naming their kind, such as "sequences", if a part is empty.
  """
  held_out = round(valid * count), round(test * count)
  result = count - sum(held_out), *held_out
  if min(result) < 1:
    expected = f"shares that leave {kind} of {count} to each part"
    name = "valid_fraction, test_fraction"
    raise validate.error(name, f"{valid} and {test}", expected)
  return result


def moved(sizes: Sequence[int], ends: Sequence[int]) -> tuple[int, ...]:
  """Returns sizes moved to the nearest ends, if that leaves no part empty."""
  ends = np.asarray(ends)
  borders = [ends[np.argmin(abs(ends - x))] for x in np.cumsum(sizes)]
  result = np.diff(borders, prepend=0)
  return tuple(result.tolist() if result.min() > 0 else sizes)


def of_groups(parts: Parts, groups: np.ndarray) -> Parts:
  """Returns the rows by the parts of their groups; `own`: group of each row."""
  return Parts(*(np.flatnonzero(np.isin(groups, rows)) for rows in parts))


def check_shares(valid: float, test: float) -> None:
  """Raises ValueError if the training or the test part would be empty."""
  validate.number("valid_fraction", valid, 0, 1)
  validate.fraction("test_fraction", test)
  if valid + test >= 1:
    expected = f"less than 1 with the valid_fraction of {valid}"
    raise validate.error("test_fraction", test, expected)


def _whole_groups(groups, valid, test, seed):
  """Assigns groups in random order until the shares of examples are reached."""
  names = sorted(set(groups))
  order = np.random.default_rng(seed).permutation(len(names))
  places = {names[number]: place for place, number in enumerate(order)}
  numbers = np.array([places[name] for name in groups])
  counts = np.cumsum(np.bincount(numbers, minlength=len(names)))
  # A group belongs to the part that contains its middle.
  middle = (counts - np.bincount(numbers) / 2) / len(groups)
  part = np.where(middle < test, 2, np.where(middle < test + valid, 1, 0))
  return (np.flatnonzero(part[numbers] == i) for i in range(3))


def _checked(train, valid, test, share=0.0):
  """Raises if a part has no examples."""
  count = len(train) + len(valid) + len(test)
  for name, rows in (("train", train), ("test", test)):
    if not len(rows):
      raise ValueError(
        f"{name}: got none of the {count} examples, expected at least one: "
        "other shares (test_fraction, valid_fraction), or a column that says "
        "what belongs where (split)."
      )
  if share and not len(valid):
    raise ValueError(
      f"valid_fraction: got {share}, which is none of the {count} examples, "
      "expected more, or 0 for no validation part."
    )
  return Parts(train, valid, test)
