"""Text files with the same number of numbers in every line."""

import os

import numpy as np
from numpy import typing as npt


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
  with open(path, encoding="ascii", errors="replace") as file:
    for number, line in enumerate(file, 1):
      words = line.split()
      if not words:
        continue
      try:
        if len(words) != width:
          raise ValueError(f"{width} numbers are expected; got {len(words)}")
        rows.append(np.array(words, dtype))
      except ValueError as error:
        raise ValueError(f"{path}, line {number}: {error}.") from error
  return np.array(rows, dtype).reshape(-1, width)
