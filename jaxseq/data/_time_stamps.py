"""Time stamps of tables: dates and times, or numbers."""

from collections.abc import Callable
from collections.abc import Sequence
import re
from typing import Any

import numpy as np

from jaxseq.data.files import _columns

# A year alone would be any number.
_DATE = re.compile(
  r"[0-9]{4}-[0-9]{2}(-[0-9]{2}"
  r"(T[0-9]{2}(:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?)?)?)?"
)
# A time zone behind the minutes or seconds.
_ZONE = re.compile(r"(?:Z|([+-])([0-9]{2})(?::?([0-9]{2}))?)$")
# Steps in time that differ by less of the usual one count as equal.
TOLERANCE = 1e-3


def parse_date(word: str) -> np.datetime64:
  """Reads a date and time such as 2024-01-31 23:59, in UTC if it has a zone."""
  text = word.strip().replace(" ", "T")
  offset = np.timedelta64(0, "m")
  zone = _zone(text)
  if zone is not None:
    text = text[: zone.start()].removesuffix("T")
    sign, hours, minutes = zone.groups(default="0")
    offset += np.timedelta64(60 * int(hours) + int(minutes), "m")
    if int(minutes) > 59 or int(hours) > 23:
      text = ""
    offset = -offset if sign == "-" else offset
  # NumPy reads "now" as well, and leaves time zones out with a warning.
  if not _DATE.fullmatch(text):
    raise ValueError(
      f"got {word[:40]!r}, expected a date and time such as 2024-01-31 23:59, "
      "or 2024-01-31T23:59+02:00 with an offset from UTC."
    )
  return np.datetime64(text, "us") - offset


def has_zone(word: str) -> bool:
  """Returns whether a date and time tells its offset from UTC."""
  return _zone(word.strip()) is not None


def _zone(text):
  """The offset from UTC at the end of a time, or None."""
  return _ZONE.search(text) if ":" in text else None


def parse(
  words: Sequence[str], place: Callable[[int], str], dates: bool = False
) -> np.ndarray:
  """Reads time stamps, dates or numbers according to the first, or dates."""
  stamps = []
  numeric = not dates and bool(len(words)) and _is_number(words[0])
  zoned = bool(len(words)) and has_zone(words[0])
  for row, word in enumerate(words):
    try:
      stamps.append(_number(word) if numeric else parse_date(word))
    except ValueError as error:
      raise ValueError(f"{place(row)}: {error}") from error
    if not numeric and zoned != has_zone(word):
      expected = "an offset from UTC" if zoned else "no offset from UTC"
      raise ValueError(
        f"{place(row)}: got {word[:40]!r}, expected {expected}, as the first "
        "time."
      )
  return np.array(stamps, np.float64 if numeric else "datetime64[us]")


def seconds(times: np.ndarray) -> np.ndarray:
  """Returns time stamps as float64: dates in seconds since 1970."""
  if times.dtype.kind == "M":
    return (times - np.datetime64(0, "us")) / np.timedelta64(1, "s")
  return times


def as_array(stamps: Sequence[Any] | np.ndarray) -> np.ndarray:
  """Returns times (n,) as float64 or datetime64, also of objects of dates."""
  array = np.asarray(stamps)
  if array.dtype.kind in "OM":
    return array.astype("datetime64[us]")
  return array.astype(np.float64)


def usual_step(gaps: Sequence[np.ndarray]) -> float | None:
  """Returns the median of all gaps; None if there is none."""
  together = np.concatenate([np.zeros(0), *gaps])
  return float(np.median(together)) if len(together) else None


def steps_of(
  stamps: Sequence[np.ndarray], train: Sequence[int] | np.ndarray
) -> tuple[float | None, bool]:
  """Returns the usual step of training series, and whether it is that of all.

  Args:
    stamps: times (time_i,) of all series.
    train: numbers of those that are trained on.
  """
  step = usual_step([np.diff(seconds(stamps[i])) for i in train])
  return step, step is None or all(is_regular(one, step) for one in stamps)


def check_step(
  name: str,
  times: np.ndarray,
  step: float,
  usual: bool = False,
  within: float = TOLERANCE,
) -> None:
  """Refuses times (n,) that are not as far apart as those of the training."""
  gaps = np.diff(seconds(np.asarray(times)))
  if usual and len(gaps):
    gaps = np.median(gaps, keepdims=True)
  wrong = np.abs(gaps - step) > within * step
  if wrong.any():
    got = float(gaps[np.argmax(wrong)])
    raise ValueError(
      f"{name}: got a step in time of {got:g}, expected {step:g}, as in "
      "training (of dates in seconds). Resample it to that step."
    )


def is_regular(times: np.ndarray, step: float | None = None) -> bool:
  """Returns whether all times are one step apart; the usual one if None."""
  gaps = np.diff(seconds(times))
  if not len(gaps):
    return True
  step = float(np.median(gaps)) if step is None else step
  return bool(np.all(np.abs(gaps - step) <= TOLERANCE * abs(step)))


def following(times: np.ndarray, count: int) -> np.ndarray:
  """Returns the times after the last by the usual step, or by whole months."""
  ahead = np.arange(1, count + 1)
  if times.dtype.kind == "M" and not is_regular(times):
    months = times.astype("datetime64[M]")
    inside = times - months
    steps = np.diff(months).astype(int)
    if np.all(steps == steps[0]) and np.all(inside == inside[0]):
      later = months[-1] + ahead * steps[0]
      return later.astype(times.dtype) + inside[0]
  if times.dtype.kind == "M":
    # The median of whole microseconds, exactly.
    step = np.sort(np.diff(times))[(len(times) - 1) // 2]
    return times[-1] + ahead * step
  return times[-1] + ahead * float(np.median(np.diff(times)))


def _is_number(word):
  try:
    _number(word)
  except ValueError:
    return False
  # A year, or a date without signs between, is read as a number as well:
  # equal steps are equal steps.
  return True


def _number(word):
  """A finite number."""
  try:
    value = float(word)
    _columns.numbers([value])
  except ValueError:
    raise ValueError(
      f"got {word[:40]!r}, expected a finite number, as the time before is."
    ) from None
  return value
