"""Time stamps of tables: dates and times, or numbers."""

from collections.abc import Callable
from collections.abc import Sequence
import datetime
import functools
import re
from typing import Any

from absl import logging
import numpy as np

from jaxseq.data.files import columns
from jaxseq.data.files import text_forms

# A lone year could be any number.
_DATE = re.compile(
  r"[0-9]{4}-[0-9]{2}(-[0-9]{2}"
  r"(T[0-9]{2}(:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?)?)?)?"
)
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ]|$)")
# A date without separators, also in a column that became floats.
_COMPACT = re.compile(r"((?:18|19|20|21)[0-9]{2})([0-9]{2})([0-9]{2})(?:\.0*)?")
_QUARTER = re.compile(r"([0-9]{4})-?Q([1-4])")
# A time zone after the minutes or seconds.
_ZONE = re.compile(r"(?:Z|([+-])([0-9]{2})(?::?([0-9]{2}))?)$")
# Dates with other separators: day, month, year, or year, month, day.
_SIGNED = re.compile(
  r"([0-9]{1,2})([./-])([0-9]{1,2})\2([0-9]{4})(?![0-9])|"
  r"[0-9]{4}([./])[0-9]{1,2}\5[0-9]{1,2}(?![0-9])"
)
_CLOCK = re.compile(r"[T ][0-9]{2}(?::[0-9]{2}.*)?$")
# Time steps within this fraction of the usual one count as equal.
TOLERANCE = 1e-3
# A usual step that differs from the training's by this factor is probably in
# another unit.
_FAR = 100


def parse_date(word: str) -> np.datetime64:
  """Reads a date and time such as 2024-01-31 23:59, in UTC if it has a zone.

  A month such as 2024-01, or a quarter such as 2024Q1, is its first day.
  """
  text = word.strip().replace(" ", "T")
  compact = _COMPACT.fullmatch(text)
  text = "-".join(compact.groups()) if compact else text
  if quarter := _QUARTER.fullmatch(text):
    text = f"{quarter[1]}-{3 * int(quarter[2]) - 2:02d}"
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
  """Returns whether a date and time has an offset from UTC."""
  return _zone(word.strip()) is not None


def repeated(word: str) -> str:
  """Returns the remedy for a repeated local time; "" for other times."""
  if ":" not in word or has_zone(word):
    return ""
  return (
    " The end of summer time repeats an hour of local times: write them with "
    "their offset from UTC, as in 2024-10-27T02:30+01:00."
  )


def _zone(text):
  """Matches the offset from UTC at the end of a time, or returns None."""
  return _ZONE.search(text) if ":" in text else None


def date_format(
  words: Sequence[str],
  place: Callable[[int], str],
  given: str | None = None,
  option: bool = True,
) -> str | None:
  """Returns the format of dates, such as "%d/%m/%Y"; None for other times.

  The day comes before the month in 31.01.2024; with slashes or dashes a day
  above 12 shows the order.

  Args:
    words: the time stamps.
    place: location of each in its file, for messages.
    given: the format, if it is known.
    option: whether the caller has the option `date_format`, for messages.

  Raises:
    ValueError: if days and months cannot be distinguished.
  """
  first = None if given or not len(words) else _SIGNED.match(words[0].strip())
  if first is None:
    return given
  if first[5]:
    return first[5].join(("%Y", "%m", "%d"))
  sign = first[2]
  by_day = sign.join(("%d", "%m", "%Y"))
  by_month = sign.join(("%m", "%d", "%Y"))
  if sign == ".":
    return by_day
  matches = [_SIGNED.match(word.strip()) for word in words]
  days, months = (
    max(int(match[group] or 0) for match in matches if match)
    for group in (1, 3)
  )
  if (days > 12) == (months > 12):
    remedy = (
      f"Give the option date_format = {by_day!r} or {by_month!r}."
      if option
      else "Write dates as 2024-01-31."
    )
    raise ValueError(
      f"{place(0)}: got {words[0][:40]!r}, expected dates whose day and month "
      f"cannot be mistaken for each other. {remedy}"
    )
  return by_day if days > 12 else by_month


@functools.lru_cache(2**16)
def _of_format(word, date_format):
  """Converts a date to ISO 8601, with its time of day."""
  text, clock = word.strip(), ""
  if "%H" not in date_format and "%I" not in date_format:
    match = _CLOCK.search(text)
    if match is not None:
      text, clock = text[: match.start()], match[0]
  at = datetime.datetime.strptime(text, date_format)
  if clock or at.time() == datetime.time():
    return f"{at.date().isoformat()}{clock}"
  return at.isoformat()


def _formatted(words, place, form):
  """Time stamps as numbers or in ISO 8601."""
  given = None if form is None else form.date_format
  found = date_format(words, place, given, form is not None)
  if found is None or (given and _is_dated(words, given)):
    return words
  if given is None:
    remedy = "write dates as 2024-01-31"
    if form is not None:
      remedy = "give the option date_format"
    logging.warning(
      "%s: dates such as %s are read as %s; if they are others, %s.",
      *(place(0), words[0], found, remedy),
    )
  written = []
  for row, word in enumerate(words):
    try:
      written.append(_of_format(word, found))
    except ValueError:
      raise ValueError(
        f"{place(row)}: got {word[:40]!r}, expected a date of the form "
        f"{found!r}."
      ) from None
  return written


def _is_dated(words, date_format):
  """True for dates in ISO 8601 that a format cannot be mistaken for."""
  # Frames have such dates even if the training's file had others.
  if not words or date_format.startswith("%Y"):
    return False
  return _ISO.match(words[0].strip()) is not None


def parse(
  words: Sequence[str],
  place: Callable[[int], str],
  dates: bool | None = None,
  form: text_forms.Form | None = None,
) -> np.ndarray:
  """Reads time stamps, which are all dates or all numbers.

  Numbers of eight digits that are all calendar dates, such as 20240131, are
  dates, and so are 31.01.2024 and other forms of `date_format`.

  Args:
    words: the time stamps.
    place: location of each in its file, for messages.
    dates: whether they are dates, as in training; if None, as the first is.
    form: form of the table, with the format of dates; None without a table.

  Returns:
    (n,) datetime64, or float64.

  Raises:
    ValueError: naming the first that is not a time, or of the other kind.
  """
  words = _formatted(words, place, form)
  numeric = bool(len(words)) and _is_number(words[0])
  if numeric and dates is not False:
    numeric = not all(map(_is_compact_date, words))
  if len(words) and dates is not None and numeric == dates:
    kinds = ("a date", "a number") if numeric else ("a number", "a date")
    raise ValueError(
      f"{place(0)}: got {kinds[1]}, {words[0][:40]!r}, expected {kinds[0]}, as "
      "in training. Write times in the form of the training file."
    )
  stamps = []
  zoned = bool(len(words)) and has_zone(words[0])
  for row, word in enumerate(words):
    try:
      stamps.append(_number(word) if numeric else parse_date(word))
    except ValueError as error:
      hint = ""
      if not numeric and form is not None:
        hint = " For another form give the option date_format, as '%d.%m.%y'."
      raise ValueError(f"{place(row)}: {error}{hint}") from error
    if not numeric and zoned != has_zone(word):
      expected = "an offset from UTC" if zoned else "no offset from UTC"
      raise ValueError(
        f"{place(row)}: got {word[:40]!r}, expected {expected}, as the first "
        "time."
      )
  return np.array(stamps, np.float64 if numeric else "datetime64[us]")


def are_dates(times: np.ndarray) -> bool:
  """Returns whether time stamps are dates, and not numbers."""
  return times.dtype.kind == "M"


def seconds(times: np.ndarray) -> np.ndarray:
  """Returns time stamps as float64: dates in seconds since 1970."""
  if are_dates(times):
    return (times - np.datetime64(0, "us")) / np.timedelta64(1, "s")
  return times


def as_array(stamps: Sequence[Any] | np.ndarray) -> np.ndarray:
  """Converts times (n,), also date objects, to float64 or datetime64."""
  array = np.asarray(stamps)
  if array.dtype.kind in "OM":
    return array.astype("datetime64[us]")
  return array.astype(np.float64)


def usual_step(gaps: Sequence[np.ndarray]) -> float | None:
  """Returns the median of all gaps; None without gaps."""
  together = np.concatenate([np.zeros(0), *gaps])
  return float(np.median(together)) if len(together) else None


def steps_of(
  stamps: Sequence[np.ndarray], train: Sequence[int] | np.ndarray
) -> tuple[float | None, bool]:
  """Returns the median step of training series, and whether all steps equal it.

  Args:
    stamps: times (time_i,) of all series.
    train: numbers of the training series.
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
  """Raises if the steps between times (n,) differ from the training's."""
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


def usual_gap(times: Sequence[np.ndarray]) -> float | None:
  """Returns the median time between two neighbors in arrays of times."""
  return usual_step([np.diff(seconds(one)) for one in times])


def tell_unit(usual: float | None, step: float | None) -> None:
  """Warns if the usual step is far from the training's."""
  if step and usual and not 1 / _FAR < usual / step < _FAR:
    logging.warning(
      "times: the usual step is %g times that of the training; give times in"
      " the unit of the training's.",
      usual / step,
    )


def is_regular(times: np.ndarray, step: float | None = None) -> bool:
  """Returns whether all time steps equal `step`, by default the median."""
  gaps = np.diff(seconds(times))
  if not len(gaps):
    return True
  step = float(np.median(gaps)) if step is None else step
  return bool(np.all(np.abs(gaps - step) <= TOLERANCE * abs(step)))


def _is_number(word):
  try:
    _number(word)
  except ValueError:
    return False
  return True


def _is_compact_date(word):
  """True for a date without separators, such as 20240131."""
  if not _COMPACT.fullmatch(word.strip()):
    return False
  try:
    parse_date(word)
  except ValueError:
    return False
  return True


def _number(word):
  """Parses a finite number."""
  try:
    value = float(word)
    columns.numbers([value])
  except ValueError:
    raise ValueError(
      f"got {word[:40]!r}, expected a finite number, as the time before is."
    ) from None
  return value
