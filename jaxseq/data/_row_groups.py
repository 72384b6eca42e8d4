"""Rows of tables, put together by what they belong to."""

from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Sequence

from absl import logging
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


def tell_moved(
  where: str, rows: Sequence[np.ndarray], times: np.ndarray, unit: str
) -> None:
  """Logs how many rows came before the row above them; none, nothing.

  Args:
    where: the rows are from.
    rows: numbers of the rows of each id, in whatever order.
    times: (rows,) of all.
    unit: in which they should follow each other, for the message.
  """
  moved = 0
  for one in rows:
    written = times[np.sort(one)]
    moved += int((written[1:] < written[:-1]).sum())
  if moved:
    logging.warning(
      "%s: %d of %d rows have an earlier time than the row before in %s; they "
      "are put in the order of time",
      where,
      moved,
      len(times),
      unit,
    )
