"""Text files line by line, and those with as many numbers in every line."""

from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
import csv
import io
import os

import numpy as np
from numpy import typing as npt

_LARGEST = float(np.finfo(np.float32).max)


@contextlib.contextmanager
def lines(
  source: str | os.PathLike,
  content: str | None = None,
  newline: str | None = None,
) -> Iterator[Iterator[str]]:
  """Opens a text for a block of which every ValueError names its line.

  Args:
    source: the file, or what to call the content in messages.
    content: the text, if it is not that of a file.
    newline: what ends a line, see `open`.

  Yields:
    The lines that are not blank.

  Raises:
    ValueError: what the block raised, behind the place of the line.
  """
  number = 0

  def numbered(text):
    nonlocal number
    for line in text:
      number += 1
      if line.strip():
        yield line

  if content is not None:
    text = io.StringIO(content)
  else:
    text = open(source, encoding="utf-8", errors="replace", newline=newline)
  with text:
    try:
      yield numbered(text)
    except (ValueError, OverflowError, csv.Error) as error:
      place, said = max(number, 1), str(error).rstrip(".")
      raise ValueError(f"{source}, line {place}: {said}.") from error


def read(
  path: str | os.PathLike, width: int, dtype: npt.DTypeLike
) -> np.ndarray:
  """Reads numbers separated by blanks; empty lines do no harm.

  Args:
    path: the file.
    width: numbers in a line.
    dtype: of the result.

  Returns:
    (lines, width) of the dtype, finite.

  Raises:
    ValueError: naming the line that is not as it should be.
  """
  rows = []
  with lines(path) as found:
    for line in found:
      words = line.split()
      if len(words) != width:
        raise ValueError(f"{width} numbers are expected; got {len(words)}.")
      # What is too large for a float becomes an infinity, which is refused.
      with np.errstate(over="ignore"):
        row = np.array(words, dtype)
      if not np.isfinite(row).all():
        wrong = int(np.argmin(np.isfinite(row)))
        raise ValueError(
          f"number {wrong + 1} is {words[wrong][:20]}; finite ones are expected"
        )
      rows.append(row)
  return np.array(rows, dtype).reshape(-1, width)


def numbers(words: Iterable[str | float], what: str = "values") -> list[float]:
  """Reads finite numbers that float32 can hold.

  Raises:
    ValueError: naming the word that is not one.
  """
  found = [float(word) for word in words]
  for number in found:
    if not abs(number) <= _LARGEST:
      raise ValueError(f"{what}: got {number}, expected finite numbers")
  return found
