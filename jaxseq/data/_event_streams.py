"""Event streams in tables: a row per event, with its stream, time and mark."""

from collections.abc import Callable
from collections.abc import Sequence
import itertools
from typing import Literal
from typing import NamedTuple
from typing import get_args

from absl import logging
import numpy as np

from jaxseq import limits
from jaxseq import validate
from jaxseq.data import _row_groups
from jaxseq.data import _time_stamps
from jaxseq.data.files import table_files
from jaxseq.data.files import text_forms

Ties = Literal["refuse", "spread"]
Unit = Literal["second", "minute", "hour", "day"]
SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_ONE_MARK = "event"
# Joins the words of several mark columns to one mark.
BETWEEN = " | "
# If the first event comes after more than so many median gaps, its times do
# not count from the start of observation.
_LATE = 1000


class Streams(NamedTuple):
  """Streams of events.

  Attributes:
    ids: name of each stream.
    times: arrays (events_i,) float64 since the start, increasing, from 0 on.
    marks: lists of as many words.
    words: entry of each stream, by column.
    rows: arrays (events_i,), the table's row of each event.
    table: table that they were read from.
    start: start of observation, a date if times were dates; 0 if None.
    unit: unit of the times, if they were dates.
  """

  ids: tuple[str, ...]
  times: list[np.ndarray]
  marks: list[list[str]]
  words: dict[str, list[str]]
  rows: list[np.ndarray]
  table: table_files.Table
  start: str | None = None
  unit: Unit | None = None

  def place(self, number: int, column: str | None, event: int = 0) -> str:
    """Returns the location of an event in its file, for messages."""
    return self.table.place(int(self.rows[number][event]), column)


def read(
  path: table_files.Path,
  *,
  time: str,
  stream: str | None = None,
  mark: str | None = None,
  form: text_forms.Form = text_forms.OPEN,
  start: str | float | None = None,
  unit: Unit | None = None,
  ties: Ties = "refuse",
  words: Sequence[str] = (),
  learn: bool = False,
) -> Streams:
  """Reads streams of events, by first rows.

  Args:
    path: see `sources.events.load`, as for the other options.
    time: column of the times.
    stream: column of the streams.
    mark: column or columns of the marks.
    form: format of the tables.
    start: start of observation.
    unit: unit of dates.
    ties: handling of simultaneous events.
    words: further columns with one entry for each stream.
    learn: whether to start numbers that count from long before the first event
      at this event; otherwise they are rejected.
  """
  validate.choice("unit", unit, (*SECONDS, None))
  validate.choice("ties", ties, get_args(Ties))
  files = table_files.find(path)
  kinds = mark_columns(mark, table_files.header(files[0], form))
  named = [name for name in (time, stream, *kinds) if name is not None]
  table = table_files.read(
    files,
    words=list(dict.fromkeys([*named, *words])),
    numbers=(),
    form=form,
  )
  if stream:
    table_files.check_named(table, stream, "a stream")
  names = table.words[stream] if stream else [_ONE_MARK] * len(table.line)
  stamps = _time_stamps.parse(
    table.words[time], lambda row: table.place(row, time), form=form
  )
  ids, rows = _row_groups.group(names, stamps)
  _row_groups.tell_moved(table_files.describe(path), rows, stamps, "its stream")
  gaps = [np.diff(_time_stamps.seconds(stamps[one])) for one in rows]
  dated = _time_stamps.are_dates(stamps)
  if dated and unit is None:
    unit = usual_unit(gaps)
  zoned = dated and _time_stamps.has_zone(table.words[time][0])
  if dated and not zoned and _time_stamps.has_zone(str(start)):
    raise ValueError(
      f"{table.place(0, time)}: got {table.words[time][0]!r}, expected a time "
      f"with an offset from UTC, as the start of observation, {start}, has one."
    )
  begin, at = _since(table, time, stamps, start, unit if dated else None)
  if start is None and not dated:
    since = [at[one] for one in rows]
    late = _late_start(since) if learn else None
    if late is None:
      check_start(since, lambda n: table.place(int(rows[n][0]), time))
    else:
      start, at = late.start, at - late.start
      logging.warning(
        "%s: times count from long before the first event: the observation of"
        " all streams begins at %.15g; if it began earlier, give the option"
        " start.",
        *(table_files.describe(path), start),
      )
  streams = Streams(
    ids,
    [at[one] for one in rows],
    _marks(table, kinds, rows),
    {name: table_files.constant(table, name, rows, ids) for name in words},
    rows,
    table,
    # Mark UTC starts: times without offsets are not comparable with them.
    f"{begin}{'Z' * zoned}" if dated else None if start is None else str(start),
    unit if dated else None,
  )
  return apart(streams, time, ties)


def usual_unit(gaps: Sequence[np.ndarray]) -> Unit:
  """Returns the largest unit that is not longer than the median gap."""
  gaps = np.concatenate([np.zeros(0), *gaps])
  gaps = gaps[gaps > 0]
  usual = np.median(gaps) if len(gaps) else 0.0
  fitting = [unit for unit, size in SECONDS.items() if size <= usual]
  return fitting[-1] if fitting else "second"


def begin_of(at: np.ndarray, unit: Unit) -> np.datetime64:
  """Returns the last whole unit before the first date, `at` in seconds."""
  size = SECONDS[unit]
  whole = int(np.ceil(at.min() / size) - 1) * size
  return np.datetime64(whole, "s")


def check_start(
  times: Sequence[np.ndarray], place: Callable[[int], str]
) -> None:
  """Rejects times that count from long before the start of observation.

  For instance seconds since 1970, which would give the first event the longest
  gap.

  Args:
    times: increasing times (events_i,) per stream; one has events.
    place: maps a stream's number to its first event's location in the file.

  Raises:
    ValueError: if the first event is further from 0 than from the last one, and
      by far more than the median gap.
  """
  late = _late_start(times)
  if late is not None:
    first = times[late.number][0]
    raise ValueError(
      f"{place(late.number)}: got the first event of all at {first:.15g}, "
      f"where the usual gap is {late.usual:g}, expected times since the "
      f"observation began. Pass start={late.start:.15g}, or when it began; "
      "start=0 keeps the times as they are."
    )


class _Late(NamedTuple):
  """A start of times that count from long before the first event.

  Attributes:
    number: number of the stream that has the first event.
    start: last whole number that is not after that event.
    usual: median gap.
  """

  number: int
  start: float
  usual: float


def _late_start(times):
  """A start if times count from long before the first event, or None."""
  number = min(
    (n for n, row in enumerate(times) if len(row)), key=lambda n: times[n][0]
  )
  first = times[number][0]
  span = max(row[-1] for row in times if len(row)) - first
  gaps = np.concatenate([np.diff(row) for row in times])
  usual = np.median(gaps[gaps > 0]) if (gaps > 0).any() else span
  if usual > 0 and first > max(span, _LATE * usual):
    return _Late(number, float(np.floor(first)), float(usual))
  return None


def _since(table, time, stamps, start, unit):
  """The start of observation, and the times since then as numbers."""
  at = _time_stamps.seconds(stamps)
  size = 1 if unit is None else SECONDS[unit]
  try:
    if unit is None:
      begin = 0.0 if start is None else float(start)
      first = begin
    else:
      begin = begin_of(at, unit)
      if start is not None:
        begin = _time_stamps.parse_date(str(start))
      first = _time_stamps.seconds(np.array(begin))
  except ValueError as error:
    kind = "a number" if unit is None else "a date"
    expected = f"{kind}, as the times in {table.place(0, time)} are"
    raise validate.error("start", start, expected) from error
  at = (at - first) / size
  if at.min() < 0:
    row = int(np.argmin(at))
    raise ValueError(
      f"{table.place(row, time)}: got {stamps[row]}, expected a time after the "
      f"start of observation, which is {begin if unit else f'{begin:g}'}; the "
      "option start says another one, before training."
    )
  return begin, at


def mark_columns(mark: str | None, names: Sequence[str]) -> tuple[str, ...]:
  """Returns the columns of marks: one, or several with commas between them."""
  if mark is None or mark in names:
    return () if mark is None else (mark,)
  return tuple(word.strip() for word in mark.split(","))


def _marks(table, columns, rows):
  """The marks of each stream: the words of all columns together."""
  for name in columns:
    words = table.words[name]
    for row, word in enumerate(words):
      if not word or (len(columns) > 1 and BETWEEN in word):
        raise ValueError(
          f"{table.place(row, name)}: got {word or 'nothing'}, expected the "
          f"kind of event{f', without {BETWEEN!r}' if word else ''}."
        )
  if not columns:
    return [[_ONE_MARK] * len(one) for one in rows]
  words = list(map(BETWEEN.join, zip(*(table.words[c] for c in columns))))
  return [[words[row] for row in one] for one in rows]


def known(
  times: Sequence[np.ndarray],
  marks: Sequence[Sequence[str]],
  names: Sequence[str],
  place: Callable[[int], str],
) -> tuple[list[np.ndarray], list[list[str]]]:
  """Returns times and marks without events of unknown marks, with a warning.

  Args:
    times: arrays (events_i,) of each stream.
    marks: lists of as many words.
    names: the marks of the training.
    place: location of an event, numbered through all streams, for messages.

  Raises:
    ValueError: if there are events, and none has a known mark.
  """
  words = [word for row in marks for word in row]
  noun = "a kind of event of the training"
  found = _row_groups.known(words, set(names), place, noun)
  parts = np.split(found, np.cumsum([*map(len, times)])[:-1])
  return (
    [row[kept] for row, kept in zip(times, parts)],
    [list(itertools.compress(row, kept)) for row, kept in zip(marks, parts)],
  )


def apart(streams: Streams, time: str, ties: Ties) -> Streams:
  """Returns the streams with distinct event times."""
  gaps = [np.diff(times) for times in streams.times]
  if all((gap > 0).all() for gap in gaps):
    return streams
  if ties == "refuse":
    number = next(i for i, gap in enumerate(gaps) if not (gap > 0).all())
    event = int(np.argmin(gaps[number] > 0)) + 1
    raise ValueError(
      f"{streams.place(number, time, event)}: got the time of another event of "
      f"{streams.ids[number]!r}, expected one at a time, or the option ties = "
      "'spread'."
    )
  later = [gap[gap > 0] for gap in gaps]
  least = min((gap.min() for gap in later if len(gap)), default=1.0)
  moved = []
  for times in streams.times:
    # The first of simultaneous events stays; the others are moved after it.
    _, first, counts = np.unique(times, return_index=True, return_counts=True)
    inside = np.arange(len(times)) - np.repeat(first, counts)
    moved.append(times + least * inside / np.repeat(counts, counts))
  return streams._replace(times=moved)


def windows(
  streams: Streams, horizon: float, window: float, source: str
) -> tuple[list[np.ndarray], list[list[str]], np.ndarray, np.ndarray]:
  """Returns windows of streams: times, marks, stream numbers and starts."""
  # The rounding error of the division must not add a window.
  count = max(1, int(np.ceil(horizon / window - 1e-9)))
  held = sum(times.nbytes for times in streams.times)
  size = 2 * limits.OBJECT * count * len(streams.ids)
  limits.check_growth(source, size, held)
  times, marks = [], []
  for one, words in zip(streams.times, streams.marks):
    # An event at the very end of a window belongs to it.
    place = np.clip(np.ceil(one / window).astype(int) - 1, 0, count - 1)
    ends = np.searchsorted(place, np.arange(count + 1))
    for number, (low, high) in enumerate(zip(ends, ends[1:])):
      times.append(one[low:high] - number * window)
      marks.append(words[low:high])
  numbers = np.repeat(np.arange(len(streams.ids)), count)
  begin = np.tile(np.arange(count) * float(window), len(streams.ids))
  return times, marks, numbers, begin


def observed(streams: Streams, horizon: float | None, time: str) -> float:
  """Returns the end of observation, by default the last event of any stream."""
  last = max(float(times[-1]) for times in streams.times)
  if horizon is None:
    return last
  if last > validate.above_zero("horizon", horizon):
    number = int(np.argmax([times[-1] for times in streams.times]))
    raise ValueError(
      f"{streams.place(number, time, -1)}: got an event {last:g} after the "
      f"start, expected all before the horizon of {horizon:g}."
    )
  return horizon
