"""Windows of the series of a panel, each series with its own scale.

Each series is split by time into its training, validation and test spans, as
`forecast_windows` splits one long series.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
from typing import NamedTuple

import jax
import numpy as np

from jaxseq import validate
from jaxseq.data import _time_stamps
from jaxseq.data import datasets
from jaxseq.data import forecast_windows
from jaxseq.data import known_columns
from jaxseq.data import panels
from jaxseq.data import scale as scales
from jaxseq.data.sources import panels as panel_sources
from jaxseq.data.sources import windows as window_sources

_PARTS = ("training", "validation", "test")
Ends = tuple[int, int, int]


def make_splits(
  panel: panels.Panel,
  columns: panels.Columns,
  ends: Callable[[panels.Member], Ends],
  input_length: int = 96,
  horizon: int = 96,
  *,
  normalize: bool = True,
  with_calendar: bool = False,
  missing: forecast_windows.Missing = "refuse",
  categories: Sequence[str] = (),
  source: str,
  license: str,
) -> datasets.Splits:
  """Cuts the windows of the three spans of all series.

  Args:
    panel: the series.
    columns: columns of the table.
    ends: returns the times after the last of a series' training, validation and
      test spans.
    input_length: number of times of an input.
    horizon: number of times of a target.
    normalize: whether each channel of each series is standardized to mean 0 and
      deviation 1 over its training span.
    with_calendar: see `forecast_windows.make_splits`.
    missing: see `forecast_windows.make_splits`; for each series by itself.
    categories: columns known ahead, or static ones, that hold words even if all
      of them are numbers.
    source: origin of the series.
    license: license of the series.

  Returns:
    The splits: extras.series numbers the series of each window, extras.known
    has the columns known ahead at the times of its input and target, and
    extras.scale its mean and deviation.

  Raises:
    ValueError: if a series is too short, a number is out of range, or values
      are missing and `missing` is "refuse".
  """
  validate.all_positive(input_length=input_length, horizon=horizon)
  members = panel.members
  spans = [ends(member) for member in members]
  _check_room(source, members, spans, input_length, horizon)
  _check_steps(source, panel, columns)
  titles = [
    f"{source}: series {m.name!r}" if m.name else source for m in members
  ]
  filled = [
    forecast_windows.treat(
      window_sources.Series(member.values, panel.channels, None),
      *(missing, cut[0], title),
    )
    for member, cut, title in zip(members, spans, titles)
  ]
  prepared = _source(
    panel,
    columns,
    spans,
    _learn(panel, columns, spans, categories),
    normalize,
    length=input_length,
    horizon=horizon,
    missing=missing,
  )
  pieces: tuple[list, list, list] = ([], [], [])
  lacks = any(np.isnan(member.values).any() for member in members)
  for number, (member, cut) in enumerate(zip(members, spans), 1):
    values, title = filled[number - 1], titles[number - 1]
    stamps = None
    if with_calendar and member.times is not None:
      stamps = forecast_windows.calendar_of(member.times[: len(values)])
    whole = _Whole(
      *(number, member, prepared.scale_of(title, number, values)),
      *(values, stamps, ~np.isnan(member.values) if lacks else None),
      prepared.along(member, panel.table, slice(0, len(values))),
    )
    for part, start, end in zip(pieces, (0, *cut), cut):
      if start < end:
        dated = part is pieces[2]
        part.append(_cut(prepared, whole, start, end, dated))
  measured = {m.name: (~np.isnan(m.values)).mean() for m in members}
  forecast_windows.tell_filled(source, missing, measured)
  info = datasets.Info(
    description=f"{input_length} times of a series; the next {horizon}?",
    source=source,
    license=license,
    channels=panel.channels,
    preparation=prepared,
  )
  return datasets.Splits(*map(_joined, pieces), info)


def without_short(
  panel: panels.Panel,
  ends: Callable[[panels.Member], Ends],
  input_length: int,
  horizon: int,
) -> tuple[panels.Panel, tuple[str, ...]]:
  """Leaves out series that are too short for a window in each of their parts.

  Args:
    panel: the series.
    ends: see `make_splits`.
    input_length: number of times of an input.
    horizon: number of times of a target.

  Returns:
    The others, and the names of those left out. If more than half are short
    the panel stays as it is, and `make_splits` rejects it.
  """
  spans = [ends(member) for member in panel.members]
  short = _without_room(panel.members, spans, input_length, horizon)
  if 2 * len(short) > len(panel.members):
    return panel, ()
  left = [one for one in panel.members if one.name not in short]
  return panel._replace(members=left), tuple(short)


def windows_of(
  prepared: panel_sources.PanelSource, panel: panels.Panel, source: str
) -> datasets.ArrayDataset:
  """Returns all windows of series, scaled as in training.

  Args:
    prepared: preparation of the training data.
    panel: the series, see `panels.read`.
    source: origin of the series.

  Raises:
    ValueError: if a series is too short, or lacks a value.
  """
  parts = []
  spans = [(len(member.values),) * 3 for member in panel.members]
  _check_room(source, panel.members, spans, prepared.length, prepared.horizon)
  for member in panel.members:
    title = f"{source}: series {member.name!r}"
    series = window_sources.Series(member.values, panel.channels, None)
    values = forecast_windows.treat(series, "refuse", 0, title)
    number = prepared.number_of(member.name)
    whole = _Whole(
      *(number, member, prepared.scale_of(title, number, values), values),
      *(None, None),
      prepared.along(member, panel.table, slice(0, len(values))),
    )
    parts.append(_cut(prepared, whole, 0, len(values), False))
  return _joined(parts)


class _Whole(NamedTuple):
  """A series with its number, scale and the further arrays of its windows."""

  number: int
  member: panels.Member
  scale: tuple[np.ndarray, np.ndarray]
  values: np.ndarray
  stamps: np.ndarray | None
  observed: np.ndarray | None
  known: np.ndarray | None


def _cut(prepared, whole, start, end, dated):
  """Cuts the windows of a series whose targets are in a span."""
  length, horizon = prepared.length, prepared.horizon
  windows = forecast_windows.windows(
    scales.apply(whole.values, *whole.scale),
    *(start, end, length, horizon, whole.stamps, whole.observed),
    whole.member.times if dated else None,
  )
  count, known = len(windows.inputs), whole.known
  if known is not None:
    first = max(start - length, 0)
    known = datasets.sliding_windows(known[first:end], length + horizon)
  numbers = np.full(count, whole.number, np.int32)
  extras = windows.extras._replace(
    known=known,
    series=None if prepared.series is None else numbers,
    scale=np.broadcast_to(whole.scale, (count, *np.shape(whole.scale))),
  )
  return windows._replace(extras=extras)


def _source(panel, columns, spans, encoding, normalize, **sizes):
  """Builds the preparation, with the scale of each series' training span."""
  mean, deviation = [], []
  for member, (end, *_) in zip(panel.members, spans):
    scale = scales.Scale.of(member.values[:end])
    mean += scale.mean
    deviation += scale.deviation
  times = [m.times for m in panel.members if m.times is not None]
  return panel_sources.PanelSource(
    reader="forecast_table",
    channels=panel.channels,
    mean=tuple(mean) if normalize else None,
    deviation=tuple(deviation) if normalize else None,
    step=_time_stamps.usual_gap(times) if times else None,
    time=columns.time,
    **dataclasses.asdict(columns.form) | {"date_format": panel.date_format},
    steps=columns.steps,
    dates=_time_stamps.are_dates(times[0]) if times else None,
    calendar=panel.calendar,
    series=columns.series,
    names=tuple(member.name for member in panel.members),
    known=columns.known,
    static=columns.static,
    words=encoding.words,
    features=encoding.names,
    feature_mean=encoding.mean,
    feature_deviation=encoding.deviation,
    **sizes,
  )


def _joined(parts):
  """Concatenates the windows of all series; None without any."""
  if not parts:
    return None
  return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def _without_room(members, spans, input_length, horizon):
  """By name, the first part that is too short for a window, and its lengths."""
  wrong = {}
  for member, (train, valid, test) in zip(members, spans):
    counts = (train, valid - train, test - valid)
    needs = [horizon if count else 0 for count in counts]
    needs[0] = input_length + horizon
    for part, count, need in zip(_PARTS, counts, needs):
      if count < need:
        wrong.setdefault(member.name, (part, count, need))
  return wrong


def _check_room(source, members, spans, input_length, horizon):
  """Rejects series with a part that is too short for a window."""
  wrong = _without_room(members, spans, input_length, horizon)
  if wrong:
    name, (part, count, need) = next(iter(wrong.items()))
    title = f"series {name!r}: " if name else ""
    more = f" As short: {len(wrong) - 1} more series." if len(wrong) > 1 else ""
    raise ValueError(
      f"{source}: {title}got {count} times in the {part} span, expected at "
      f"least {need} for input_length {input_length} and horizon {horizon}. "
      f"Lower them, choose other parts, or leave the series out.{more}"
    )


def _check_steps(source, panel, columns):
  """Rejects series with different time steps."""
  if columns.time is None or columns.steps == "ignore" or panel.calendar:
    return
  times = [member.times for member in panel.members]
  step = _time_stamps.usual_gap(times)
  for member in panel.members:
    if not _time_stamps.is_regular(member.times, step):
      got = _time_stamps.usual_gap([member.times])
      raise ValueError(
        f"{source}: series {member.name!r}: got a step in time of {got:g}, "
        f"expected {step:g}, as in the other series (of dates in seconds). "
        "Resample it, or forecast it by itself."
      )


def _learn(panel, columns, spans, categories):
  """Fits the features of known and static columns to training rows."""
  names = (*columns.known, *columns.static)
  for name in categories:
    validate.choice("categories", name, names)
  if not names:
    return known_columns.Features()
  words, rows = {}, []
  for member, (end, *_) in zip(panel.members, spans):
    rows.append(member.rows[:end])
    for name in names:
      words.setdefault(name, []).append(member.words[name][:end])
  together = np.concatenate(rows)
  return known_columns.learn(
    {name: np.concatenate(entries) for name, entries in words.items()},
    categories,
    lambda row, name: panel.table.place(int(together[row]), name),
  )
