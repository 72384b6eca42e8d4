"""Rows of tables, grouped by their ids."""

from collections.abc import Callable
from collections.abc import Container
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Sequence

from absl import logging
import numpy as np

from jaxseq import validate


def group(
  ids: Iterable[Hashable], times: np.ndarray | None = None
) -> tuple[tuple, list[np.ndarray]]:
  """Returns the rows of each id, in the order of time.

  Args:
    ids: id of each row.
    times: (rows,) times that sort the rows of an id; if None, the rows stay in
      the order of the table.

  Returns:
    The unique ids, in the order of their first rows; and the row numbers of
    each.
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
  place: str, rows: Sequence[np.ndarray], times: np.ndarray, unit: str
) -> None:
  """Logs the number of rows that are earlier than the row before, if any are.

  Args:
    place: the rows' file, for the message.
    rows: row numbers of each id, in any order.
    times: (rows,) times of all rows.
    unit: name of the group that should be in order, for the message.
  """
  moved = 0
  for one in rows:
    written = times[np.sort(one)]
    moved += int((written[1:] < written[:-1]).sum())
  if moved:
    logging.warning(
      "%s: %d of %d rows have an earlier time than the row before in %s; they "
      "are put in the order of time",
      place,
      moved,
      len(times),
      unit,
    )


def known(
  words: Sequence[str],
  names: Container[str],
  place: Callable[[int], str],
  noun: str,
) -> np.ndarray:
  """Returns which rows (rows,) have a name of the training; warns of others.

  Args:
    words: the name in each row.
    names: names of the training.
    place: location of a row, for messages.
    noun: the named thing, such as "an item of the training".

  Raises:
    ValueError: if there are rows, and none has such a name.
  """
  found = np.array([word in names for word in words], bool)
  if not len(found) or found.all():
    return found
  first = int(np.argmin(found))
  if not found.any():
    raise validate.error(place(first), words[first][:40], noun)
  logging.warning(
    "%s: got %r, expected %s; %d of %d rows are such and are left out.",
    *(place(first), words[first][:40], noun),
    *(np.count_nonzero(~found), len(found)),
  )
  return found
