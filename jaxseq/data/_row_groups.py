"""Rows of tables, put together by what they belong to."""

from collections.abc import Hashable
from collections.abc import Iterable

import numpy as np


def group(
  ids: Iterable[Hashable], times: np.ndarray | None = None
) -> tuple[tuple, list[np.ndarray]]:
  """Returns the rows of each id, in the order of time.

  Args:
    ids: what each row belongs to.
    times: (rows,) by which the rows of an id are put in order; they stay in
      that of the table if None.

  Returns:
    The ids, each once, in the order of their first rows; and the numbers of the
    rows of each.
  """
  places: dict = {}
  numbers = np.array([places.setdefault(one, len(places)) for one in ids])
  if times is None:
    order = np.argsort(numbers, kind="stable")
  else:
    order = np.lexsort((times, numbers))
  ends = np.searchsorted(numbers[order], np.arange(len(places) + 1))
  return tuple(places), [order[a:b] for a, b in zip(ends, ends[1:])]
