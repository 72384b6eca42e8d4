"""Event streams in continuous time: each event has a time and a mark.

    splits = data.load(
      "event_table", path="shop.csv", stream="user", time="at", mark="kind"
    )

A row of a CSV or Parquet table is an event; the rows of a stream are sorted by
time. Files with a row for each stream are read by `load_lists`:

    splits = data.load("event_lists", path="taxi")  # train.json, dev.json, ...
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import itertools
from typing import Any
from typing import ClassVar
from typing import Literal
from typing import Self

import numpy as np

from jaxseq import validate
from jaxseq.data import _event_lists
from jaxseq.data import _event_streams
from jaxseq.data import _part_splits
from jaxseq.data import _raw_arrays
from jaxseq.data import _series_targets
from jaxseq.data import _time_stamps
from jaxseq.data import datasets
from jaxseq.data import padding
from jaxseq.data import summaries
from jaxseq.data.files import table_files
from jaxseq.data.files import text_forms
from jaxseq.data.sources import base

# Most combinations of the words of several mark columns.
_MOST = 4096


@dataclasses.dataclass(frozen=True)
class EventSource(base.TableSource):
  """Event streams, padded at their ends.

  `prepare` takes the marks of each stream, by name or number, and `times`: for
  each stream an array (events_i,) of numbers since the start of observation,
  from 0 on and increasing, or of dates if the training data had dates. An event
  at 0 starts the observation: its time is not predicted.

  Attributes:
    classes: names of the marks.
    horizon: end of observation of the training streams; prepared streams may be
      longer.
    length: events of the longest training stream, to which others are padded.
    start: start of observation, a date or a number; 0 if None.
    unit: unit in which dates become numbers; None if times are numbers.
    stream: column of a table that names the stream of an event.
    time: column of the times.
    mark: column of the kind of event; for several, with commas between them, a
      mark has a word of each.
    sizes: number of words of each of several columns; the last changes fastest
      in `classes`.
    ties: handling of simultaneous events.
    ends: whether streams were observed until the horizon, or each until its
      last event; then only the events themselves are scored.
  """

  kind: ClassVar[str] = "events"
  forms: ClassVar[tuple[str, ...]] = ("event_table", "event_lists")

  _: dataclasses.KW_ONLY
  classes: tuple[str, ...] | None = None
  horizon: base.Positive | None = None
  length: base.Count | None = None
  start: str | None = None
  unit: _event_streams.Unit | None = None
  stream: str | None = None
  time: str = "time"
  mark: str | None = None
  sizes: tuple[int, ...] | None = None
  ties: _event_streams.Ties = "refuse"
  ends: Literal["horizon", "last"] = "horizon"

  @classmethod
  def of_json(cls, fields: Mapping[str, Any]) -> Self:
    """See `Source.of_json`; a start may be a number."""
    start = fields.get("start")
    if isinstance(start, int | float):
      fields = {**fields, "start": str(start)}
    return super().of_json(fields)

  @classmethod
  def of_arrays(
    cls,
    times: Sequence[Any],
    classes: Sequence[str],
    until: Any = None,
    **fields: Any,
  ) -> Self:
    """Returns the source for training on streams in memory.

    Args:
      times: times of each stream's events, numbers or dates; the start and the
        unit of dates are found as in tables.
      classes: names of the marks.
      until: see `ends_of`.
      **fields: further fields of the class.

    Raises:
      ValueError: if there is no event, or one after the end.
    """
    stamps = [_time_stamps.as_array(row) for row in times]
    if not sum(map(len, stamps)):
      raise ValueError("times: got no events, expected streams with some.")
    together = np.concatenate([row for row in stamps if len(row)])
    if _time_stamps.are_dates(together):
      at = _time_stamps.seconds(together)
      gaps = [np.diff(_time_stamps.seconds(row)) for row in stamps]
      unit = fields.setdefault("unit", _event_streams.usual_unit(gaps))
      fields.setdefault("start", str(_event_streams.begin_of(at, unit)))
    source = cls(classes=tuple(classes), length=max(map(len, stamps)), **fields)
    horizon = float(source.ends_of(stamps, until).max())
    return dataclasses.replace(source, horizon=horizon)

  def ends_of(self, times: Sequence[Any], until: Any = None) -> np.ndarray:
    """Returns the ends of observation of streams, (n,) float64 since the start.

    Args:
      times: times of each stream's events, numbers or dates.
      until: a number or a date, or one for each stream; the last event of all
        if None.

    Raises:
      ValueError: if an event comes after the end of its stream.
    """
    last = np.array(
      [max(self.numbers("times", row), default=0.0) for row in times]
    )
    if until is None:
      return np.full(len(last), last.max())
    single = np.ndim(until) == 0
    given = np.asarray([until] if single else until)
    if given.dtype.kind == "U":
      given = _time_stamps.parse(given.tolist(), lambda _: "observed_until")
    if self.unit is not None and not _time_stamps.are_dates(
      _time_stamps.as_array(given)
    ):
      raise validate.error("observed_until", until, "a date, as the times are")
    ends = self.numbers("observed_until", given)
    if not single and ends.shape != last.shape:
      expected = f"one end, or {len(last)}, one for each sequence"
      raise validate.error("observed_until", f"shape {ends.shape}", expected)
    ends = np.broadcast_to(ends, last.shape)
    early = ~(ends >= last)
    if early.any():
      row = int(np.argmax(early))
      expected = f"the last event of sequence {row}, {last[row]:g}, or later"
      raise validate.error("observed_until", float(ends[row]), expected)
    return ends

  def numbers(self, name: str, stamps: Any) -> np.ndarray:
    """Converts times (events,), numbers or dates, to numbers since the start.

    Raises:
      ValueError: if they are dates and the training data had numbers.
    """
    array = _time_stamps.as_array(stamps)
    if not _time_stamps.are_dates(array):
      return array.astype(np.float64)
    if self.start is None or self.unit is None:
      raise validate.error(name, "dates", "numbers, as in training")
    begin = _time_stamps.seconds(np.array(_time_stamps.parse_date(self.start)))
    return (_time_stamps.seconds(array) - begin) / _event_streams.SECONDS[
      self.unit
    ]

  def _prepare(self, values, lengths, times, targets):
    if targets is not None:
      raise validate.error("targets", type(targets).__name__, "None")
    marks = [
      _raw_arrays.class_numbers(
        row, self.classes, f"marks of sequence {number}"
      )
      for number, row in enumerate(_raw_arrays.rows(values, lengths))
    ]
    if times is None or len(times) != len(marks):
      got = None if times is None else f"{len(times)} arrays"
      expected = f"the times of each of the {len(marks)} sequences"
      raise validate.error("times", got, expected)
    stamps, gaps = [], []
    for number, row in enumerate(times):
      name = f"times of sequence {number}"
      at = _raw_arrays.times(name, self.numbers(name, row), len(marks[number]))
      stamps.append(at)
      gaps.append(np.diff(at, prepend=0.0))
      wrong = gaps[-1] <= 0
      wrong[:1] = gaps[-1][:1] < 0
      if wrong.any():
        place = int(np.argmax(wrong))
        raise ValueError(
          f"{name}: got {at[place]:g} for event {place}, expected times since "
          "the start of observation, from 0 on, that increase. Sort the events "
          "by time, move those at one time apart, or pass an earlier start."
        )
    length = max(max(map(len, marks), default=0), self.length or 1)
    padded, lengths = padding.pad_sequences(
      [row.astype(np.float32)[:, None] for row in gaps], length
    )
    stamps, _ = padding.pad_sequences(
      [row.astype(np.float32) for row in stamps], length
    )
    marks, _ = padding.pad_sequences(marks, length)
    # Stamps are 0 in the padding.
    until = stamps.max(axis=1) if self.ends == "last" else None
    extras = datasets.Extras(times=stamps, until=until)
    return datasets.ArrayDataset(padded, marks, lengths, extras)

  def _read(self, path: Any) -> base.Examples:
    # Each example is a whole stream, even if training streams were cut into
    # windows.
    columns: dict[str, Any] = {
      name: getattr(self, name) for name in ("time", "mark", "stream", "ties")
    }
    if self.reader == "event_lists":
      streams = _event_lists.read(path, **columns).streams
    else:
      others = ("form", "start", "unit")
      columns |= {name: getattr(self, name) for name in others}
      streams = _event_streams.read(path, **columns)
    if streams.unit is not None and self.unit is None:
      place = streams.place(0, self.time)
      raise ValueError(
        f"{place}: got a date, expected numbers, as in training."
      )
    rows = np.concatenate([*streams.rows, np.zeros(0, int)]).astype(int)
    times, marks = _event_streams.known(
      *(streams.times, streams.marks, self.classes or ()),
      lambda event: streams.table.place(int(rows[event]), self.mark),
    )
    dataset = self.prepare(marks, times=times)
    return base.Examples(streams.ids, dataset, labeled=True)


def load(
  path: table_files.Path,
  *,
  time: str = "time",
  stream: str | None = None,
  mark: str | None = None,
  delimiter: str | None = None,
  encoding: str | None = None,
  decimal: str | None = None,
  date_format: str | None = None,
  start: str | float | None = None,
  unit: _event_streams.Unit | None = None,
  ties: _event_streams.Ties = "refuse",
  horizon: float | None = None,
  window: float | None = None,
  split: str | None = None,
  by_time: bool = False,
  valid_fraction: float = 0.1,
  test_fraction: float = 0.2,
  seed: int = 0,
) -> datasets.Splits:
  """Loads event sequences.

  Args:
    path: a file, a folder or a pattern of files, or several.
    time: column of the times, dates or numbers.
    stream: column that names the stream of an event; one stream if None.
    mark: column of the kind of event; all are of one kind if None. Each of
      several columns, with commas between them, has its own head: given the
      past and the time they are independent.
    delimiter: between columns; if None a comma, or a tab in a .tsv file.
    encoding: of texts, such as "cp1252"; detected per file if None.
    decimal: decimal sign, "." or ","; detected per file if None.
    date_format: of dates, such as "%d.%m.%Y"; detected if None.
    start: start of observation of all streams. If None it is 0, or for dates
      the last whole unit before the first event of the file; for numbers from
      long before that event, such as seconds since 1970, it is that event.
    unit: unit in which dates become numbers; if None the largest that is not
      longer than the median gap between two events of a stream.
    ties: handling of simultaneous events of a stream: "refuse", or "spread",
      which moves them apart, evenly over the smallest time between any other
      events.
    horizon: end of observation of all streams, since the start; the time of
      the last event of all if None.
    window: duration of the chunks that every stream is cut into. Each is a
      sequence that begins at 0; extras.until holds the ends if the last ones
      are shorter. Whole streams are the sequences if None.
    split: column with train, valid or test for each stream.
    by_time: whether the sequences that begin last are for testing; always so
      if there is only one stream.
    valid_fraction: share of the streams for validation.
    test_fraction: share of the streams for testing.
    seed: seed of the random split by share.

  Returns:
    The splits, as from `point_processes.load`, without the true likelihood;
    info has the names of the marks.

  Raises:
    ValueError: naming the file, line and column with an invalid value, or the
      wrong option.
    MissingData: if a file, or for Parquet the package pyarrow, is missing.
  """
  options: dict[str, Any] = {"time": time, "stream": stream}
  options |= {"mark": mark, "ties": ties}
  form = text_forms.fields(delimiter, encoding, decimal, date_format)
  streams = _event_streams.read(
    path,
    start=start,
    unit=unit,
    words=() if split is None else (split,),
    form=text_forms.Form(**form),
    learn=True,
    **options,
  )
  if unit is not None and streams.unit is None:
    place = streams.place(0, time)
    expected = f"None: times are numbers in {place}, and stay as they are"
    raise validate.error("unit", unit, expected)
  horizon = _event_streams.observed(streams, horizon, time)
  source = table_files.describe(path)
  times, marks = streams.times, streams.marks
  numbers, begin, until = np.arange(len(times)), None, None
  if window is not None:
    validate.above_zero("window", window)
    times, marks, numbers, begin = _event_streams.windows(
      streams, horizon, window, source
    )
    # Nothing was observed after the end of the last windows.
    until = np.minimum(horizon - begin, window).astype(np.float32)
    horizon = window
  form["date_format"] = _time_stamps.date_format(
    streams.table.words[time], str, date_format
  )
  shares = valid_fraction, test_fraction
  if split is not None:
    parts = _part_splits.by_words(
      streams.words[split], lambda number: streams.place(number, split)
    )
    parts = _part_splits.of_groups(parts, numbers)
  elif by_time or len(streams.ids) == 1:
    parts = _part_splits.by_time(_first(times, begin), *shares)
  else:
    parts = _part_splits.by_share(len(streams.ids), *shares, seed)
    parts = _part_splits.of_groups(parts, numbers)
  trained = [word for i in parts.train for word in marks[i]]
  if not trained:
    raise ValueError(f"{source}: got no event in the training part.")
  classes, sizes = _classes(trained, mark)
  times, marks = _event_streams.known(
    times, marks, classes, lambda _: f"{source}: column {mark!r}"
  )
  prepared = EventSource(
    classes=classes,
    horizon=float(horizon),
    length=max(map(len, times)),
    start=streams.start,
    unit=streams.unit,
    sizes=sizes,
    reader="event_table",
    **form,
    **options,
  )
  splits = _prepared(prepared, parts, times, marks, source, until)
  summary = _summary(streams, begin, times, parts)
  return splits._replace(info=dataclasses.replace(splits.info, summary=summary))


def _first(times, begin):
  """The times at which sequences begin, or of their first events."""
  if begin is not None:
    return begin
  return np.array([one[0] if len(one) else 0.0 for one in times])


def _summary(streams, begin, times, parts):
  """The times of the events of each part, in the form of the file."""
  begin = np.zeros(len(times)) if begin is None else begin
  stamps = [one + first for one, first in zip(times, begin)]
  part = np.zeros(len(times), int)
  for number, rows in enumerate(parts):
    part[rows] = number
  at = np.concatenate(stamps)
  if streams.unit is not None:
    since = at * _event_streams.SECONDS[streams.unit] * 1e6
    start = _time_stamps.parse_date(streams.start)
    at = start + np.rint(since).astype("timedelta64[us]")
  part_of_event = np.repeat(part, [len(one) for one in times])
  summary = summaries.of_rows(at, part_of_event, streams=len(streams.ids))
  if streams.unit is not None:
    summary["unit"] = streams.unit
  return summary


def load_lists(
  path: str,
  *,
  time: str | None = None,
  mark: str | None = None,
  stream: str | None = None,
  ties: _event_streams.Ties = "refuse",
  horizon: float | None = None,
  valid_fraction: float = 0.1,
  test_fraction: float = 0.2,
  seed: int = 0,
) -> datasets.Splits:
  """Loads sequences from EasyTPP or HoTPP files with a row for each.

  A sequence begins with its first event, at 0, whose time is not predicted.

  Args:
    path: a .pkl, .json, .jsonl or .parquet file, or a folder of some. If the
      names of files begin with train, valid, val, dev or test, or the parts of
      a pickle have these names, these are the parts.
    time: column with lists of times; if None EasyTPP's "time_since_start" or
      HoTPP's "timestamps".
    mark: column with lists of marks, whole numbers; if None "type_event" or
      "labels".
    stream: column with the name of each sequence; its number if None.
    ties: see `load`.
    horizon: end of observation of all, since their first event; if None the
      last event of each, so that no time after it is scored.
    valid_fraction: share for validation, if no names give the parts.
    test_fraction: share for testing.
    seed: seed of the random split by share.

  Returns:
    The splits, see `load`; the number of marks is "dim_process", if given.

  Raises:
    ValueError: naming the file, row and column with an invalid value.
    MissingData: if a file, or for Parquet the package pyarrow, is missing.
  """
  streams, num_marks, time, mark = _event_lists.read(
    path, time=time, mark=mark, stream=stream, ties=ties
  )
  words = streams.words["split"]
  if any(words):
    parts = _part_splits.by_words(
      words, lambda number: streams.place(number, None)
    )
  else:
    parts = _part_splits.by_share(
      len(words), valid_fraction, test_fraction, seed
    )
  prepared = EventSource(
    classes=tuple(map(str, range(num_marks))),
    horizon=_event_streams.observed(streams, horizon, time),
    length=max(map(len, streams.times)),
    stream=stream,
    time=time,
    mark=mark,
    ties=ties,
    ends="last" if horizon is None else "horizon",
    reader="event_lists",
  )
  return _prepared(prepared, parts, streams.times, streams.marks, str(path))


def _prepared(source, parts, times, marks, path, until=None):
  """Prepares the parts of streams that have been split."""

  def part(rows):
    if not len(rows):
      return None
    dataset = source.prepare(
      [marks[i] for i in rows], times=[times[i] for i in rows]
    )
    if until is None or np.all(until == np.float32(source.horizon)):
      return dataset
    return dataset._replace(extras=dataset.extras._replace(until=until[rows]))

  sets = [part(rows) for rows in parts]
  info = datasets.Info(
    f"Events of {len(source.classes)} kinds; when and what is the next event?",
    path,
    "that of the files",
    num_classes=len(source.classes),
    classes=source.classes,
    horizon=source.horizon,
    preparation=source,
  )
  return datasets.Splits(sets[0], sets[1], sets[2], info)


def _classes(trained, mark):
  """The marks, and for several columns the number of words of each."""
  rows = [word.split(_event_streams.BETWEEN) for word in set(trained)]
  if len(rows[0]) == 1 or mark is None or "," not in mark:
    return _series_targets.in_order(trained), None
  words = [_series_targets.in_order(column) for column in zip(*rows)]
  sizes = tuple(map(len, words))
  if np.prod(sizes) > _MOST:
    expected = f"columns with at most {_MOST} combinations"
    raise validate.error("mark", f"{mark}: {sizes} words", expected)
  joined = map(_event_streams.BETWEEN.join, itertools.product(*words))
  return tuple(joined), sizes
