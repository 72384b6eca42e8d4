"""Events of one's own in a CSV or Parquet table: stream, time and mark.

    splits = data.load(
      "event_table", path="shop.csv", stream="user", time="at", mark="kind"
    )

A row is an event; the rows of a stream are put in the order of their times.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any
from typing import Literal
from typing import NamedTuple
from typing import get_args

import numpy as np

from jaxseq import _limits
from jaxseq import _validate
from jaxseq.data import datasets
from jaxseq.data import part_splits
from jaxseq.data import preparation
from jaxseq.data import raw_arrays
from jaxseq.data import series_targets
from jaxseq.data import time_stamps
from jaxseq.data.files import table_files

Ties = Literal["refuse", "spread"]
Unit = Literal["second", "minute", "hour", "day"]
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_ONE_MARK = "event"


class Streams(NamedTuple):
  """Streams of events.

  Attributes:
    ids: what each stream is called.
    times: arrays (events_i,) float64, increasing, above 0.
    marks: lists of as many words.
    words: by column, the entry of each stream.
    rows: arrays (events_i,), the table's row of each event.
    table: what they were read from.
  """

  ids: tuple[str, ...]
  times: list[np.ndarray]
  marks: list[list[str]]
  words: dict[str, list[str]]
  rows: list[np.ndarray]
  table: table_files.Table

  def place(self, number: int, column: str | None, event: int = 0) -> str:
    """Returns where an event stands, for messages."""
    return self.table.place(int(self.rows[number][event]), column)


def read(
  path: table_files.Path,
  *,
  time: str,
  stream: str | None = None,
  mark: str | None = None,
  delimiter: str | None = None,
  start: str | float | None = None,
  unit: Unit = "second",
  ties: Ties = "refuse",
  words: Sequence[str] = (),
) -> Streams:
  """Reads streams of events.

  Args:
    path: see `table_files.find`.
    time: column of the times, dates or numbers.
    stream: column that names the stream of an event; one stream if None.
    mark: column of the kind of event; all are of one kind if None.
    delimiter: see `table_files.read`.
    start: time at which all streams begin to be observed. If None it is 0, or
      of dates the last whole unit before the first event of the file.
    unit: in which dates become numbers.
    ties: what becomes of events of a stream at the same time: "refuse", or
      "spread": they are moved apart, evenly over the smallest time that lies
      between any others.
    words: further columns with one entry for each stream.

  Returns:
    The streams, in the order of their first rows.

  Raises:
    ValueError: naming the file, line and column that is not as expected.
    MissingData: if there is no such file.
  """
  _validate.choice("unit", unit, _SECONDS)
  _validate.choice("ties", ties, get_args(Ties))
  named = [name for name in (time, stream, mark) if name is not None]
  table = table_files.read(
    table_files.find(path),
    words=list(dict.fromkeys([*named, *words])),
    numbers=(),
    delimiter=delimiter,
  )
  at = _numbers(table, time, start, unit)
  names = table.words[stream] if stream else [_ONE_MARK] * len(at)
  places: dict[str, int] = {}
  own = np.array([places.setdefault(name, len(places)) for name in names])
  order = np.lexsort((at, own))
  ends = np.searchsorted(own[order], np.arange(len(places) + 1))
  cut = [order[start:end] for start, end in zip(ends, ends[1:])]
  found = Streams(
    tuple(places),
    [at[rows] for rows in cut],
    [[table.words[mark][row] if mark else _ONE_MARK for row in r] for r in cut],
    {
      name: table_files.constant(table, name, cut, tuple(places))
      for name in words
    },
    cut,
    table,
  )
  _check_marks(found, mark)
  return _apart(found, time, ties)


def _numbers(table, time, start, unit):
  """Times as numbers since the start."""
  stamps = time_stamps.parse(
    table.words[time], lambda row: table.place(row, time)
  )
  dates = stamps.dtype.kind == "M"
  at = time_stamps.seconds(stamps)
  size = _SECONDS[unit] if dates else 1
  if start is None:
    begin = (np.ceil(at.min() / size) - 1) * size if dates else 0.0
  else:
    try:
      begin = (
        time_stamps.seconds(np.array(time_stamps.parse_date(str(start))))
        if dates
        else float(start)
      )
    except ValueError as error:
      raise ValueError(f"start: {str(error).rstrip('.')}.") from error
  at = (at - begin) / size
  if at.min() <= 0:
    row = int(np.argmin(at))
    raise ValueError(
      f"{table.place(row, time)}: got {stamps[row]}, expected a time after the "
      f"start of observation, which is {'0' if start is None else start}; the "
      "option start says another one."
    )
  return at


def _check_marks(found, mark):
  """Refuses events of no kind."""
  for number, words in enumerate(found.marks):
    if "" in words:
      place = found.place(number, mark, words.index(""))
      raise ValueError(f"{place}: got nothing, expected the kind of event.")


def _apart(found, time, ties):
  """The streams with every event at a time of its own."""
  gaps = [np.diff(times) for times in found.times]
  if all((gap > 0).all() for gap in gaps):
    return found
  if ties == "refuse":
    number = next(i for i, gap in enumerate(gaps) if not (gap > 0).all())
    event = int(np.argmin(gaps[number] > 0)) + 1
    raise ValueError(
      f"{found.place(number, time, event)}: got the time of another event of "
      f"{found.ids[number]!r}, expected one at a time, or the option ties = "
      "'spread'."
    )
  later = [gap[gap > 0] for gap in gaps]
  least = min((gap.min() for gap in later if len(gap)), default=1.0)
  moved = []
  for times in found.times:
    # Of several at one time the first stays, and the others lie behind it.
    _, first, counts = np.unique(times, return_index=True, return_counts=True)
    inside = np.arange(len(times)) - np.repeat(first, counts)
    moved.append(times + least * inside / np.repeat(counts, counts))
  return found._replace(times=moved)


def load(
  path: table_files.Path,
  *,
  time: str = "time",
  stream: str | None = None,
  mark: str | None = None,
  delimiter: str | None = None,
  start: str | float | None = None,
  unit: Unit = "second",
  ties: Ties = "refuse",
  horizon: float | None = None,
  window: float | None = None,
  split: str | None = None,
  by_time: bool = False,
  valid_fraction: float = 0.1,
  test_fraction: float = 0.2,
  seed: int = 0,
) -> datasets.Splits:
  """Loads sequences of events.

  Args:
    path: see `read`, as the next seven.
    time: column of the times.
    stream: column that names the stream of an event.
    mark: column of the kind of event.
    delimiter: what stands between values.
    start: time at which all streams begin to be observed.
    unit: in which dates become numbers.
    ties: what becomes of events at the same time.
    horizon: until when all streams were observed, since the start; the time of
      the last event of all if None.
    window: time into which every stream is cut, each piece a sequence that
      begins at 0; whole streams are the sequences if None.
    split: column that says train, valid or test for each stream.
    by_time: whether the sequences that begin last are for testing; so they are
      if there is one stream only.
    valid_fraction: share of the streams that is for validation.
    test_fraction: share of the streams that is for testing.
    seed: of the division by share.

  Returns:
    The splits, as of `point_processes.load`, without the true likelihood; info
    has the names of the marks.

  Raises:
    ValueError: naming the file, line and column that is not as expected, or the
      option that is wrong.
    MissingData: if a file, or for Parquet the package pyarrow, is not there.
  """
  options = {
    "time": time,
    "stream": stream,
    "mark": mark,
    "delimiter": delimiter,
    "start": start,
    "unit": unit,
    "ties": ties,
  }
  found = read(path, **options, words=() if split is None else (split,))
  last = max(float(times[-1]) for times in found.times)
  if horizon is None:
    horizon = last
  elif last > _validate.above_zero("horizon", horizon):
    number = int(np.argmax([times[-1] for times in found.times]))
    raise ValueError(
      f"{found.place(number, time, -1)}: got an event {last:g} after the "
      f"start, expected all before the horizon of {horizon:g}."
    )
  source = table_files.describe(path)
  times, marks, own, begin = found.times, found.marks, None, None
  if window is not None:
    _validate.above_zero("window", window)
    times, marks, own, begin = _windows(found, horizon, window, source)
    horizon = window
  if split is not None:
    whole = part_splits.by_words(
      found.words[split], lambda number: found.place(number, split)
    )
    parts = whole if own is None else part_splits.of_groups(whole, own)
  elif by_time or len(found.ids) == 1:
    first = np.array([one[0] if len(one) else 0.0 for one in times])
    parts = part_splits.by_time(
      first if begin is None else begin, valid_fraction, test_fraction
    )
  else:
    whole = part_splits.by_share(
      len(found.ids), valid_fraction, test_fraction, seed
    )
    parts = whole if own is None else part_splits.of_groups(whole, own)
  trained = [word for i in parts.train for word in marks[i]]
  if not trained:
    raise ValueError(f"{source}: got no event in the training part.")
  classes = series_targets.in_order(trained)
  _check_known(found, parts, marks, classes, mark)
  prepared = preparation.Preparation(
    "events",
    classes=classes,
    horizon=float(horizon),
    length=max(map(len, times)),
    reader="event_table",
    reader_options={k: v for k, v in options.items() if v is not None},
  )
  made = [
    prepared.prepare([marks[i] for i in rows], times=[times[i] for i in rows])
    if len(rows)
    else None
    for rows in parts
  ]
  info = datasets.Info(
    f"Events of {len(classes)} kinds; when and what is the next event?",
    source,
    "that of the files",
    num_classes=len(classes),
    classes=classes,
    horizon=float(horizon),
    preparation=prepared,
  )
  return datasets.Splits(made[0], made[1], made[2], info)


def _windows(found, horizon, window, source):
  """Pieces of streams: times, marks, the stream of each, and its begin."""
  count = max(1, int(np.ceil(horizon / window)))
  held = sum(times.nbytes for times in found.times)
  size = 2 * _limits.OBJECT * count * len(found.ids)
  _limits.check_growth(source, size, held)
  times, marks = [], []
  for one, words in zip(found.times, found.marks):
    # An event at the very end of a window belongs to it.
    place = np.ceil(one / window).astype(int) - 1
    ends = np.searchsorted(place, np.arange(count + 1))
    for number, (low, high) in enumerate(zip(ends, ends[1:])):
      times.append(one[low:high] - number * window)
      marks.append(words[low:high])
  own = np.repeat(np.arange(len(found.ids)), count)
  begin = np.tile(np.arange(count) * float(window), len(found.ids))
  return times, marks, own, begin


def _check_known(found, parts, marks, classes, mark):
  """Refuses marks that the training part has not."""
  known = set(classes)
  lacking = {
    word for rows in parts[1:] for i in rows for word in marks[i]
  } - known
  if lacking:
    word = min(lacking)
    number, words = next(
      (i, words) for i, words in enumerate(found.marks) if word in words
    )
    raise ValueError(
      f"{found.place(number, mark, words.index(word))}: got the mark {word!r}, "
      "of which no event is in the training part, expected at least one."
    )


def read_examples(
  path: table_files.Path, prepared: preparation.Preparation
) -> preparation.Examples:
  """Reads streams as `load` reads those of its training files.

  Args:
    path: the files.
    prepared: the preparation of the training set.

  Returns:
    One example for each whole stream, also of those that were cut into windows
    for training.

  Raises:
    ValueError: see `load`.
    MissingData: see `load`.
  """
  options: dict[str, Any] = dict(prepared.reader_options)
  known = ("time", "stream", "mark", "delimiter", "start", "unit", "ties")
  for name, value in options.items():
    _validate.choice("reader_options", name, known)
    if not isinstance(value, str) and not (
      name == "start" and isinstance(value, int | float)
    ):
      raise _validate.error(f"reader_options: {name}", value, "a string")
  found = read(path, **options)
  for number, words in enumerate(found.marks):
    for event, word in enumerate(words):
      if word not in (prepared.classes or ()):
        where = found.place(number, options.get("mark"), event)
        raw_arrays.class_numbers([word], prepared.classes, where)
  whole = dataclasses.replace(prepared, horizon=None)
  dataset = whole.prepare(found.marks, times=found.times)
  return preparation.Examples(found.ids, dataset, labeled=True)
