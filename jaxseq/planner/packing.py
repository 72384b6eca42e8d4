"""Documents into rows: best fit, longest first."""

import bisect
from collections.abc import Sequence

import numpy as np

from jaxseq import _validate


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
  """Packs documents into few rows.

  Each document, longest first, goes into the row that it fills most; into an
  empty one if it fits into none. At most 11/9 of the fewest rows possible, and
  one more (Johnson et al., SIAM J. Comput. 3, 1974).

  Args:
    lengths: (documents,) tokens of each document.
    capacity: tokens that a row has room for.

  Returns:
    For every row the indices of its documents.

  Raises:
    ValueError: if a document is longer than `capacity`.
  """
  lengths = np.asarray(lengths, np.int64)
  rows = []
  # (free tokens, row), by free tokens; the row that fills most is the first
  # with enough.
  free = []
  for index in np.argsort(-lengths, kind="stable").tolist():
    length = int(lengths[index])
    if length > capacity:
      expected = f"at most {capacity}, the length of a row"
      raise _validate.error(f"lengths[{index}]", length, expected)
    place = bisect.bisect_left(free, (length, -1))
    if place == len(free):
      left, row = capacity, len(rows)
      rows.append([])
    else:
      left, row = free.pop(place)
    rows[row].append(index)
    bisect.insort(free, (left - length, row))
  return rows
