"""Columns known ahead, such as prices and holidays, as numbers for a network.

A column of numbers is one standardized feature. A column of words, or one that
is declared so, has a 0-1 feature for each word of the training part, such as
"holiday=Easter". An empty entry is a word as well, for example on ordinary
days.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import NamedTuple

from absl import logging
import numpy as np

from jaxseq.data import scale
from jaxseq.data.files import columns

# Most words of a column; each has a feature.
_WORDS = 100

Words = Mapping[str, np.ndarray]
# Location of a row and column, for messages.
Place = Callable[[int, str], str]


class Features(NamedTuple):
  """The features of known columns.

  Attributes:
    columns: names of the columns.
    names: of the features, column by column: the column's own, or
      "COLUMN=WORD".
    words: names of the columns that hold words.
    mean: subtracted mean of each feature; 0 for words.
    deviation: deviation that then divides each feature; 1 for words.
  """

  columns: tuple[str, ...] = ()
  names: tuple[str, ...] = ()
  words: tuple[str, ...] = ()
  mean: tuple[float, ...] = ()
  deviation: tuple[float, ...] = ()

  def levels(self, column: str) -> list[str] | None:
    """Returns the words of a column with a feature; None for numbers."""
    if column not in self.words:
      return None
    start = f"{column}="
    return [x.removeprefix(start) for x in self.names if x.startswith(start)]

  def encode(self, words: Words, place: Place) -> np.ndarray:
    """Returns the features (rows, features) float32 of rows.

    Args:
      words: arrays (rows,) of words by column.
      place: location of a row and column, for messages.

    Raises:
      ValueError: if an entry of a column of numbers is not a number.
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
  """Fits the features of columns to training rows.

  Args:
    words: arrays (rows,) of words by column, of training rows.
    declared: columns that hold words even if all of them are numbers.
    place: location of a row and column, for messages.

  Raises:
    ValueError: if a column has too many different words.
  """
  names, worded, mean, deviation = [], [], [], []
  for column, entries in words.items():
    given = [word for word in entries if word not in columns.MISSING]
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
  """Normalizes words: 1.0 becomes 1, NA and similar become empty."""
  names = {}
  for word in set(words):
    name = "" if word in columns.MISSING else word
    names[word] = f"{float(name):.15g}" if _is_number(name) else name
  return np.array([names[word] for word in words], object)


def _is_number(word):
  try:
    return bool(np.isfinite(float(word)))
  except ValueError:
    return False


def _numbers(words, column, place):
  """Parses the numbers (rows,) of a column."""
  for row, word in enumerate(words):
    if not _is_number(word):
      raise ValueError(
        f"{place(row, column)}: got {word[:40]!r}, expected a number, as the "
        "column is known ahead and has numbers. Fill it, or name it in the "
        "option categories."
      )
  return np.array(words, np.float64)
