"""Text files line by line, and tables of numbers with a fixed width."""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import csv
import io
import os
from typing import TextIO

import numpy as np
from numpy import typing as npt

from jaxseq import limits

MISSING = frozenset(
  ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null")
)
# Truth values as programs write them.
TRUTH = {"True": 1, "False": 0, "true": 1, "false": 0, "TRUE": 1, "FALSE": 0}
_LARGEST = float(np.finfo(np.float32).max)


class Lines(Iterator[str]):
  """The lines of a text, without blank ones unless requested.

  Attributes:
    number: number of the last line, from 1 on; blank lines count as well.
  """

  def __init__(self, text: Iterable[str], blank: bool = False):
    self.number = 0
    self._text, self._blank = iter(text), blank

  def __next__(self) -> str:
    while True:
      line = next(self._text)
      self.number += 1
      if self._blank or line.strip():
        return line


@contextlib.contextmanager
def lines(
  source: str | os.PathLike,
  content: str | None = None,
  newline: str | None = None,
  text: TextIO | None = None,
  blank: bool = False,
) -> Iterator[Lines]:
  """Opens a text; each ValueError in the block names the current line."""
  if content is not None:
    text = io.StringIO(content.removeprefix("\ufeff"))
  elif text is None:
    # Files of spreadsheet programs begin with a byte order mark.
    text = open(
      source,
      encoding="utf-8-sig",
      errors="replace",
      newline=newline,
      opener=limits.regular,
    )
  with text:
    numbered = Lines(text, blank)
    try:
      yield numbered
    except (ValueError, OverflowError, csv.Error) as error:
      place, said = max(numbered.number, 1), str(error).rstrip(".")
      raise ValueError(f"{source}, line {place}: {said}.") from error


def decoded(content: bytes, name: str | os.PathLike) -> str:
  """Decodes a file in UTF-8, without its byte order mark."""
  try:
    return content.decode("utf-8-sig")
  except UnicodeDecodeError as error:
    line = error.object[: error.start].count(b"\n") + 1
    raise ValueError(
      f"{name}, line {line}: got the byte {error.object[error.start]:#04x}, "
      "expected UTF-8."
    ) from error


def read(
  path: str | os.PathLike, width: int, dtype: npt.DTypeLike
) -> np.ndarray:
  """Reads numbers separated by blanks; empty lines are skipped."""
  rows = []
  with lines(path) as content:
    for line in content:
      words = plain(line).split()
      if len(words) != width:
        raise ValueError(f"{width} numbers are expected; got {len(words)}.")
      # Numbers too large for a float become infinite, and are rejected.
      with np.errstate(over="ignore"):
        row = np.array(words, dtype)
      if not np.isfinite(row).all():
        wrong = int(np.argmin(np.isfinite(row)))
        raise ValueError(
          f"number {wrong + 1} is {words[wrong][:20]}; finite ones are expected"
        )
      rows.append(row)
  return np.array(rows, dtype).reshape(-1, width)


def plain(text: str) -> str:
  """Returns a text after a check that its numbers are plain ASCII.

  Python also accepts 1_000, and the digits of other scripts.
  """
  if "_" in text or not text.isascii():
    raise ValueError(f"got {text[:40]!r}, expected numbers as 1000 or 1e3.")
  return text


def numbers(words: Iterable[str | float], what: str = "values") -> list[float]:
  """Reads finite numbers that float32 can hold."""
  words = [plain(x) if isinstance(x, str) else x for x in words]
  values = [float(word) for word in words]
  for number in values:
    if not holds(abs(number)):
      raise ValueError(f"{what}: got {number}, expected finite numbers")
  return values


def holds(sizes: npt.ArrayLike) -> npt.ArrayLike:
  """Returns whether numbers of these absolute values fit in float32."""
  return sizes <= _LARGEST


def number(word: str, name: str) -> float:
  """Parses an entry of a column of numbers; NaN if it is missing."""
  text = word.strip()
  try:
    value = float("nan" if text in MISSING else TRUTH.get(text, text))
    # Python also accepts 1_000 and "-nan".
    if (value != value and text not in MISSING) or "_" in text:
      raise ValueError(text)
    numbers([] if value != value else [value])
  except ValueError as error:
    raise ValueError(
      f"column {name!r}: got {word[:40]!r}, expected a finite number, or "
      "nothing for a missing value."
    ) from error
  return value


def finite(
  path: object, rows: Sequence[int], values: np.ndarray, name: str
) -> np.ndarray:
  """Returns a column's values after a check that they fit in float32."""
  wrong = ~(np.isnan(values) | holds(np.abs(values)))
  if wrong.any():
    place = int(np.argmax(wrong))
    raise ValueError(
      f"{path}, row {rows[place]}: column {name!r}: got {values[place]}, "
      "expected a finite number, or nothing for a missing value."
    )
  return values
