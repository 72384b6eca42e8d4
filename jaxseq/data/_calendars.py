"""Calendars: times that follow weekdays, months or equal steps."""

from typing import Literal

import numpy as np

from jaxseq.data import _time_stamps

Calendar = Literal["steps", "weekdays", "months", "month ends", "irregular"]


def find(*series: np.ndarray) -> Calendar:
  """Returns the calendar that the times (n,) of all series follow.

  Returns:
    "steps" of one length; all "weekdays", without weekends and without a gap;
    the same day of "months" at equal distances, or "month ends"; "irregular"
    if no calendar fits, or several do.
  """
  # A single time follows any calendar.
  each = [_continuations(times, 1) for times in series if len(times) > 1]
  fitting = [x for x in (*each, {})[0] if all(x in one for one in each)]
  return fitting[0] if len(fitting) == 1 else "irregular"


def follows(times: np.ndarray, calendar: Calendar) -> bool:
  """Returns whether all times (n,) follow a calendar."""
  return calendar in _continuations(times, 1)


def following(
  times: np.ndarray, count: int, calendar: Calendar | None = None
) -> np.ndarray | None:
  """Returns the times after the last; None if they cannot be known.

  Args:
    times: (n,) increasing numbers or dates, at least two.
    count: how many times.
    calendar: calendar of the training data; if None, all calendars that the
      times follow, which have to agree on the later times.
  """
  fitting = _continuations(times, count)
  if calendar is not None:
    return fitting.get(calendar)
  first, *others = [*fitting.values()] or [None]
  return first if all(np.array_equal(first, x) for x in others) else None


def _continuations(times, count) -> dict[Calendar, np.ndarray]:
  """The times after the last by each calendar that all times follow."""
  ahead = np.arange(1, count + 1)
  fitting: dict[Calendar, np.ndarray] = {}
  if _time_stamps.is_regular(times):
    # The median of whole microseconds, exactly.
    step = np.sort(np.diff(times))[(len(times) - 1) // 2]
    fitting["steps"] = times[-1] + ahead * step
  if not _time_stamps.are_dates(times):
    return fitting
  days = times.astype("datetime64[D]")
  clock = times - days
  if not np.all(clock == clock[0]):
    return fitting
  if np.is_busday(days).all() and np.array_equal(
    np.busday_offset(days[:-1], 1), days[1:]
  ):
    fitting["weekdays"] = np.busday_offset(days[-1], ahead)
  months = days.astype("datetime64[M]")
  steps = np.diff(months).astype(int)
  if steps[0] > 0 and np.all(steps == steps[0]):
    later = months[-1] + (ahead * steps[0]).astype("timedelta64[M]")
    inside = days - months.astype("datetime64[D]")
    same = later.astype("datetime64[D]") + inside[0]
    # Not every month has a 31st.
    if np.all(inside == inside[0]) and np.all(
      same.astype("datetime64[M]") == later
    ):
      fitting["months"] = same
    if np.array_equal(_last_days(months), days):
      fitting["month ends"] = _last_days(later)
  return {
    name: found if name == "steps" else found.astype(times.dtype) + clock[0]
    for name, found in fitting.items()
  }


def _last_days(months):
  """The last day of each month."""
  following = months + np.timedelta64(1, "M")
  return following.astype("datetime64[D]") - np.timedelta64(1, "D")
