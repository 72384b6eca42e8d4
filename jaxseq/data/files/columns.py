"""Text files line by line, and those with as many numbers in every line."""

from collections.abc import Iterator
import contextlib
import io
import os

import numpy as np
from numpy import typing as npt


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
    except ValueError as error:
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
    (lines, width) of the dtype.

  Raises:
    ValueError: naming the line that is not as it should be.
  """
  rows = []
  with lines(path) as found:
    for line in found:
      words = line.split()
      if len(words) != width:
        raise ValueError(f"{width} numbers are expected; got {len(words)}.")
      rows.append(np.array(words, dtype))
  return np.array(rows, dtype).reshape(-1, width)
