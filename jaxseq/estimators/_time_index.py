"""Time indices of series, which sort their rows."""

from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np

from jaxseq import validate
from jaxseq.data import _calendars
from jaxseq.data import _row_groups
from jaxseq.data import _time_stamps
from jaxseq.data import series_frames


class Order(NamedTuple):
  """The order of the rows of a series.

  Attributes:
    rows: (n,) row numbers, sorted by time.
    stamps: (n,) float64 or datetime64, increasing times.
  """

  rows: np.ndarray
  stamps: np.ndarray


def of_rows(names: Sequence[str], items: Sequence[Any]) -> list[Order] | None:
  """Sorts series by their time indices; logs the number of moved rows.

  Args:
    names: names of the series, for messages.
    items: frames, or pandas series, or values without an index.

  Returns:
    An order for each; None if no item has a time index.

  Raises:
    ValueError: if only some have a time index, or one has duplicate times.
  """
  indices = [index_of(item) for item in items]
  times = [
    None if index is None else series_frames.times_of(name, index)
    for name, index in zip(names, indices)
  ]
  known = [one for one in times if one is not None]
  if not known:
    return None
  if len(known) < len(times):
    name = names[next(i for i, one in enumerate(times) if one is None)]
    expected = "one of times, as other series have"
    raise validate.error(f"{name}: index", "no times", expected)
  orders = []
  for name, one in zip(names, known):
    rows = np.argsort(one, kind="stable")
    series_frames.refuse_twice(name, one[rows])
    orders.append(Order(rows, one[rows]))
  begins = np.cumsum([0, *map(len, known)])
  moved = [order.rows + begin for order, begin in zip(orders, begins)]
  where = names[0] if len(names) == 1 else "X"
  _row_groups.tell_moved(where, moved, np.concatenate(known), "its series")
  return orders


def index_of(item: object) -> Any:
  """Returns the index of a pandas frame or series; None for other values."""
  index = getattr(item, "index", None)
  # A list's `index` is a method.
  return None if callable(index) else index


def refuse_several(name: str, item: object) -> None:
  """Raises ValueError if a frame's index has several series."""
  levels = getattr(index_of(item), "nlevels", 1)
  if levels > 1:
    raise ValueError(
      f"{name}: got an index of {levels} levels, expected one series. Take one "
      f"by {name}.xs(NAME), give each a column by {name}.unstack(0), or name "
      "the levels in the options series and time."
    )


def following(
  name: str, item: object, order: Order, count: int
) -> np.ndarray | None:
  """Returns the times (count,) after a series with equal steps.

  They are days, weeks, or those of a calendar, such as months and working days.

  Args:
    name: name of the series, for messages.
    item: the frame or series.
    order: order of its rows.
    count: number of times.

  Returns:
    The times; None for a single row.

  Raises:
    ValueError: if the steps are not equal, for instance if rows are missing.
  """
  stamps = order.stamps
  if len(stamps) < 2:
    return None
  if _time_stamps.is_regular(stamps):
    return _calendars.following(stamps, count, "steps")
  index = index_of(item)
  if hasattr(index, "to_timestamp"):
    index = index.to_timestamp()
  if hasattr(index, "tz"):
    index = index[order.rows]
    offset = type(index)(index, freq="infer").freq if len(index) > 2 else None
    if offset is not None:
      ahead = [index[-1] + k * offset for k in range(1, count + 1)]
      return series_frames.times_of(name, type(index)(ahead))
  gaps = np.diff(_time_stamps.seconds(stamps))
  step = float(np.median(gaps))
  wrong = int(np.argmax(np.abs(gaps - step) > _time_stamps.TOLERANCE * step))
  unit = " seconds" if _time_stamps.are_dates(stamps) else ""
  raise ValueError(
    f"{name}: got {stamps[wrong + 1]}, {gaps[wrong]:g}{unit} after the time "
    f"before, expected the usual step of {step:g}{unit}. Add the missing rows, "
    f"such as by {name}.reindex(times).interpolate(), or pass "
    f"{name}.to_numpy() if one row is one step, such as a working day."
  )
