"""Columns known ahead, such as prices and holidays, as numbers for a network.

A column of numbers is one feature, standardized. A column of words, or one that
is declared so, has a feature for each word of the training, 1 where it stands:
"holiday=Easter". Nothing is a word as well, which ordinary days may have.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import NamedTuple

from absl import logging
import numpy as np

from jaxseq.data import scale
from jaxseq.data.files import _columns

# Words of a column that each have a feature, at most.
_WORDS = 100

Words = Mapping[str, np.ndarray]
# What a row of a column is called in messages.
Place = Callable[[int, str], str]


class Features(NamedTuple):
  """The features of columns.

  Attributes:
    columns: names of the columns.
    names: of the features, column by column: the column's own, or
      "COLUMN=WORD".
    words: those of the columns that hold words.
    mean: of each feature, which is subtracted; 0 of words.
    deviation: of each feature, which then divides; 1 of words.
  """

  columns: tuple[str, ...] = ()
  names: tuple[str, ...] = ()
  words: tuple[str, ...] = ()
  mean: tuple[float, ...] = ()
  deviation: tuple[float, ...] = ()

  def levels(self, column: str) -> list[str] | None:
    """Returns the words of a column that have features; None of numbers."""
    if column not in self.words:
      return None
    start = f"{column}="
    return [x.removeprefix(start) for x in self.names if x.startswith(start)]

  def encode(self, words: Words, place: Place) -> np.ndarray:
    """Returns the features (rows, features) float32 of rows.

    Args:
      words: arrays (rows,) of words by column.
      place: of a row and column, for messages.

    Raises:
      ValueError: if an entry of a column of numbers is no number.
    """
    parts = []
    for column in self.columns:
      levels = self.levels(column)
      if levels is None:
        parts.append(_numbers(words[column], column, place)[:, None])
        continue
      found = _level_of(words[column])
      unknown = ~np.isin(found, levels)
      if unknown.any():
        row = int(np.argmax(unknown))
        logging.warning(
          "%s: got %r, which no row of the training has: it is read as an"
          " unknown word.",
          *(place(row, column), str(found[row])),
        )
      parts.append(found[:, None] == np.array(levels, object))
    together = np.concatenate(parts, axis=1).astype(np.float64)
    return scale.apply(together, self.mean, self.deviation)


def learn(words: Words, declared: Sequence[str], place: Place) -> Features:
  """Returns the features of columns.

  Args:
    words: arrays (rows,) of words by column, of training rows.
    declared: columns that hold words even if all of them are numbers.
    place: of a row and column, for messages.

  Raises:
    ValueError: if a column has too many different words.
  """
  names, worded, mean, deviation = [], [], [], []
  for column, entries in words.items():
    given = [word for word in entries if word not in _columns.MISSING]
    if column not in declared and given and all(map(_is_number, given)):
      constants = scale.Scale.of(_numbers(entries, column, place)[:, None])
      names.append(column)
      mean += constants.mean
      deviation += constants.deviation
      continue
    levels = sorted(set(_level_of(entries)))
    if len(levels) > _WORDS:
      raise ValueError(
        f"{place(0, column)}: got {len(levels)} different words in the column, "
        f"expected at most {_WORDS}, or numbers in every row. Put rare words "
        "together, or ignore the column."
      )
    names += [f"{column}={level}" for level in levels]
    worded.append(column)
    mean += [0.0] * len(levels)
    deviation += [1.0] * len(levels)
  return Features(
    tuple(words), tuple(names), tuple(worded), tuple(mean), tuple(deviation)
  )


def _level_of(words):
  """Words as they are compared: 1 and 1.0 are the same, as NA and nothing."""
  names = {}
  for word in set(words):
    name = "" if word in _columns.MISSING else word
    names[word] = f"{float(name):.15g}" if _is_number(name) else name
  return np.array([names[word] for word in words], object)


def _is_number(word):
  try:
    return bool(np.isfinite(float(word)))
  except ValueError:
    return False


def _numbers(words, column, place):
  """The numbers (rows,) of a column."""
  for row, word in enumerate(words):
    if not _is_number(word):
      raise ValueError(
        f"{place(row, column)}: got {word[:40]!r}, expected a number, as the "
        "column is known ahead and has numbers. Fill it, or name it in the "
        "option categories."
      )
  return np.array(words, np.float64)
