"""Windows of the series of a panel, each series on a scale of its own.

Each series is divided by time: its training span, then its validation and test
spans, as `forecast_windows` divides one long series.
"""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxseq import _validate
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
  """Makes the windows of the three spans of all series.

  Args:
    panel: the series.
    columns: of the table.
    ends: times behind the last of the training, validation and test spans of a
      series.
    input_length: times of an input.
    horizon: times of a target.
    normalize: whether each channel of each series is shifted and scaled to mean
      0 and deviation 1 over its training span.
    with_calendar: see `forecast_windows.make_splits`.
    missing: see `forecast_windows.make_splits`; of each series by itself.
    categories: columns known ahead, or static ones, that hold words even if all
      of them are numbers.
    source: where the series come from.
    license: its terms.

  Returns:
    The splits: extras.series numbers the series of each window, extras.known
    has what is known ahead of its input and target, and extras.scale its mean
    and deviation.

  Raises:
    ValueError: if a series is too short, a number is out of range, or a value
      is missing and to be refused.
  """
  _validate.all_positive(input_length=input_length, horizon=horizon)
  members, total = panel.members, input_length + horizon
  spans = [ends(member) for member in members]
  _check_room(source, members, spans, input_length, horizon)
  _check_steps(source, panel, columns)
  encoding = _learn(panel, columns, spans, categories)
  pieces: tuple[list, list, list] = ([], [], [])
  constants, filled = [], {}
  lacks = any(np.isnan(member.values).any() for member in members)
  for number, (member, cut) in enumerate(zip(members, spans), 1):
    title = f"{source}: series {member.name!r}" if columns.series else source
    series = window_sources.Series(member.values, panel.channels, member.times)
    values = forecast_windows.treat(series, missing, cut[0], title)
    observed = ~np.isnan(member.values)
    filled[member.name] = observed.mean()
    own = scales.Scale.of(member.values[: cut[0]])
    if not normalize:
      own = scales.Scale((0.0,) * values.shape[1], (1.0,) * values.shape[1])
    constants.append(own)
    values = scales.apply(values, *own)
    stamps = None
    if with_calendar and member.times is not None:
      stamps = forecast_windows.calendar_of(member.times[: len(values)])
    known = _along(panel, member, columns, encoding)
    for part, start, end in zip(pieces, (0, *cut), cut):
      if start == end:
        continue
      windows = forecast_windows.windows(
        *(values, start, end, input_length, horizon, stamps),
        observed if lacks else None,
        member.times if part is pieces[2] else None,
      )
      count, first = len(windows.inputs), max(start - input_length, 0)
      extras = windows.extras._replace(
        known=datasets.sliding_windows(known[first:end], total),
        series=np.full(count, number, np.int32),
        scale=np.broadcast_to(own, (count, *np.shape(own))),
      )
      if not encoding.names:
        extras = extras._replace(known=None)
      if columns.series is None:
        extras = extras._replace(series=None)
      part.append(windows._replace(extras=extras))
  forecast_windows.tell_filled(source, missing, filled)
  flat = [np.array(constants)[:, i].reshape(-1).tolist() for i in (0, 1)]
  times = [m.times for m in members if m.times is not None]
  fields: dict[str, Any] = {
    "channels": panel.channels,
    "mean": tuple(flat[0]) if normalize else None,
    "deviation": tuple(flat[1]) if normalize else None,
    "missing": missing,
    "length": input_length,
    "horizon": horizon,
    "step": _time_stamps.usual_gap(times) if times else None,
    "time": columns.time,
    "delimiter": columns.delimiter,
    "steps": columns.steps,
    "dates": times[0].dtype.kind == "M" if times else None,
    "calendar": panel.calendar,
    "series": columns.series,
    "names": tuple(member.name for member in members),
    "known": columns.known,
    "static": columns.static,
    "words": encoding.words,
    "features": encoding.names,
    "feature_mean": encoding.mean,
    "feature_deviation": encoding.deviation,
  }
  info = datasets.Info(
    description=f"{input_length} times of a series; the next {horizon}?",
    source=source,
    license=license,
    channels=panel.channels,
    preparation=panel_sources.PanelSource(reader="forecast_table", **fields),
  )
  parts = [_joined(part) for part in pieces]
  return datasets.Splits(*parts, info)


def _joined(parts):
  """The windows of all series, one behind the other."""
  if not parts:
    return None
  return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def _check_room(source, members, spans, input_length, horizon):
  """Refuses series with a part that has no room for a window."""
  wrong = {}
  for member, (train, valid, test) in zip(members, spans):
    counts = (train, valid - train, test - valid)
    needs = [horizon if count else 0 for count in counts]
    needs[0] = input_length + horizon
    for part, count, need in zip(_PARTS, counts, needs):
      if count < need:
        wrong.setdefault(member.name, (part, count, need))
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
  """Refuses series of different steps in time."""
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
  """The features of the columns that go along, from training rows."""
  names = (*columns.known, *columns.static)
  for name in categories:
    _validate.choice("categories", name, names)
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


def _along(panel, member, columns, encoding):
  """The features (time, features) of a series up to its last value."""
  count = len(member.values)
  if not encoding.names:
    return np.zeros((count, 0), np.float32)
  return encoding.encode(
    {name: words[:count] for name, words in member.words.items()},
    lambda row, name: panel.table.place(int(member.rows[row]), name),
  )
