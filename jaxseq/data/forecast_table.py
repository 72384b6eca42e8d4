"""Your own long series to forecast, in a CSV or Parquet table.

    splits = data.load("forecast_table", path="load.csv", time="date")

A row is a time; a column may hold its date or number, all others are channels.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any
from typing import Literal
from typing import Unpack
from typing import get_args

import numpy as np

from jaxseq import _limits
from jaxseq import _validate
from jaxseq.data import _part_splits
from jaxseq.data import _time_stamps
from jaxseq.data import datasets
from jaxseq.data import forecast_windows
from jaxseq.data import table_layouts
from jaxseq.data.files import table_files
from jaxseq.data.sources import windows as window_sources

Steps = Literal["refuse", "insert", "ignore"]
# A number of the row is a time, too.
_ROLES = {**table_layouts.TIMES, "id": "time", "index": "time"}


def read(
  path: table_files.Path,
  time: str | None = None,
  channels: Sequence[str] = (),
  ignore: Sequence[str] = (),
  delimiter: str | None = None,
  steps: Steps = "refuse",
) -> forecast_windows.Series:
  """Reads a series.

  Args:
    path: a file, or several whose rows follow each other, see
      `table_files.find`.
    time: column of dates or numbers, by which the rows are put in order; None
      if there is none, and the rows are in order.
    channels: columns of values; all others if empty.
    ignore: columns that are left out.
    delimiter: see `table_files.read`.
    steps: what becomes of times that are not one step apart: "refuse", "insert"
      rows of missing values where whole steps are missing, or "ignore".

  Returns:
    The series.

  Raises:
    ValueError: naming the file, line and column that is not as expected.
    MissingData: if there is no such file.
  """
  _validate.choice("steps", steps, get_args(Steps))
  files = table_files.find(path)
  others = {time, *ignore}
  if not channels:
    names = table_files.header(files[0], delimiter)
    channels = tuple(name for name in names if name not in others)
    table_layouts.check_roles(files[0], channels, _ROLES)
  if not channels:
    raise ValueError(f"{files[0]}: got no column of values, expected some.")
  table = table_files.read(
    files,
    words=() if time is None else (time,),
    numbers=channels,
    delimiter=delimiter,
  )
  values = np.stack([table.numbers[name] for name in channels], axis=1)
  if time is None:
    return forecast_windows.Series(values, tuple(channels), None)
  times = _time_stamps.parse(
    table.words[time], lambda row: table.place(row, time)
  )
  order = np.argsort(times, kind="stable")
  values, times = values[order], times[order]
  twice = times[1:] == times[:-1]
  if twice.any():
    row = int(order[1:][np.argmax(twice)])
    raise ValueError(
      f"{table.place(row, time)}: got {times[1:][np.argmax(twice)]} twice, "
      "expected one row for each time. Several series in one table are one "
      "column each."
    )
  if steps == "ignore" or _time_stamps.is_regular(times):
    return forecast_windows.Series(values, tuple(channels), times)

  def place(number):
    return table.place(int(order[number]), time)

  return forecast_windows.Series(
    *_on_steps(values, times, steps, place, channels)
  )


def _on_steps(values, times, steps, place, channels):
  """The series with a row at every step; refuses what lies between."""
  at = _time_stamps.seconds(times)
  gaps = np.diff(at)
  step = float(np.median(gaps))
  counts = np.round(gaps / step)
  between = np.abs(gaps - counts * step) > _time_stamps.TOLERANCE * step
  wrong = between if steps == "insert" else between | (counts != 1)
  if wrong.any():
    first = int(np.argmax(wrong))
    unit = " seconds" if times.dtype.kind == "M" else ""
    raise ValueError(
      f"{place(first + 1)}: got {times[first + 1]}, {gaps[first]:g}{unit} "
      f"after the time before, expected the usual step of {step:g}{unit}; or "
      "the option steps = 'insert' (rows that are missing, by whole steps) or "
      "'ignore' (one row is one step, such as a working day)."
    )
  rows = np.concatenate([[0], np.cumsum(counts).astype(int)])
  size = 8 * (rows[-1] + 1) * values.shape[1]
  _limits.check_growth(place(0), int(size), values.nbytes)
  filled = np.full((rows[-1] + 1, values.shape[1]), np.nan)
  filled[rows] = values
  if times.dtype.kind == "M":
    wide = np.timedelta64(round(step * 1e6), "us")
    stamps = times[0] + np.arange(len(filled)) * wide
  else:
    stamps = times[0] + np.arange(len(filled)) * step
  return filled, tuple(channels), stamps


def load(
  path: table_files.Path,
  *,
  time: str | None = None,
  channels: str | Sequence[str] | None = None,
  ignore: str | Sequence[str] | None = None,
  delimiter: str | None = None,
  steps: Steps = "refuse",
  valid_fraction: float = 0.1,
  test_fraction: float = 0.2,
  valid_from: str | float | None = None,
  test_from: str | float | None = None,
  **options: Unpack[forecast_windows.Options],
) -> datasets.Splits:
  """Loads a series and lays windows over its three spans.

  Args:
    path: see `read`, as the next five.
    time: column of dates or numbers; None if there is none.
    channels: columns of values; all others if None.
    ignore: columns that are left out.
    delimiter: what stands between values.
    steps: what becomes of times that are not one step apart.
    valid_fraction: share of the series that is for validation, behind the
      training span; there is no such part at 0.
    test_fraction: share of the series that is for testing, at its end.
    valid_from: time of the first validation target, in place of shares.
    test_from: time of the first test target, in place of shares.
    **options: see `forecast_windows.make_splits`: input_length and horizon,
      normalize, with_calendar and missing.

  Returns:
    The splits, see `forecast_windows.windows`.

  Raises:
    ValueError: naming the file, line and column that is not as expected, or the
      option that is wrong.
    MissingData: if a file, or for Parquet the package pyarrow, is not there.
  """
  names = table_layouts.as_names("channels", channels)
  left_out = table_layouts.as_names("ignore", ignore)
  series = read(path, time, names, left_out, delimiter, steps)
  count = len(series.values)
  if valid_from is None and test_from is None:
    ends = _by_share(count, valid_fraction, test_fraction)
  elif series.times is None or valid_from is None or test_from is None:
    raise ValueError(
      f"valid_from and test_from: got {valid_from!r} and {test_from!r}, "
      f"expected both, and a column of time (got {time!r})."
    )
  else:
    ends = _by_time(series.times, valid_from, test_from)
  if options.get("with_calendar") and (
    series.times is None or series.times.dtype.kind != "M"
  ):
    raise _validate.error("with_calendar", True, "False without dates")
  stamps = series.times if series.times is not None else np.arange(count)
  splits = forecast_windows.make_splits(
    series._replace(times=stamps),
    ends,
    source=table_files.describe(path),
    license="that of the files",
    **options,
  )
  return with_reader(
    splits,
    time=time,
    delimiter=delimiter,
    steps=steps,
    step=None if series.times is None else splits.info.preparation.step,
  )


def with_reader(splits: datasets.Splits, **fields: Any) -> datasets.Splits:
  """Returns a set whose source reads tables.

  Args:
    splits: the set.
    **fields: of the source: what `read` has to know of the tables.
  """
  info = splits.info
  source = dataclasses.replace(
    info.preparation, reader="forecast_table", **fields
  )
  return splits._replace(info=dataclasses.replace(info, preparation=source))


def read_again(
  path: table_files.Path, source: window_sources.WindowSource
) -> forecast_windows.Series:
  """Reads a series that a forecast goes on from.

  Raises:
    ValueError: see `load`; or if the steps are not those of the training.
    MissingData: see `load`.
  """
  series = read(
    path,
    source.time,
    source.channels or (),
    delimiter=source.delimiter,
    steps=source.steps,
  )
  name = table_files.describe(path)
  least = max(source.length, 2)
  if len(series.values) < least:
    raise ValueError(
      f"{name}: got {len(series.values)} times, expected at least {least}, "
      "those of an input."
    )
  if series.times is not None:
    source.check_step(f"{name}: column {source.time!r}", series.times)
  return series


def _by_share(count, valid, test):
  """Ends of the three spans."""
  _part_splits.check_shares(valid, test)
  second = count - int(count * test)
  return int(count * (1 - valid - test) + 1e-9), second, count


def _by_time(times, valid_from, test_from):
  """Ends of the three spans, by the times at which the later ones begin."""
  starts = []
  for name, word in (("valid_from", valid_from), ("test_from", test_from)):
    try:
      if times.dtype.kind == "M":
        start = _time_stamps.parse_date(str(word))
      else:
        start = float(word)
    except ValueError as error:
      raise ValueError(f"{name}: {str(error).rstrip('.')}.") from error
    starts.append(int(np.searchsorted(times, start)))
  first, second = starts
  if not 0 < first < second < len(times):
    raise ValueError(
      f"valid_from and test_from: got {valid_from} and {test_from}, expected "
      f"times in this order between {times[0]} and {times[-1]}."
    )
  return first, second, len(times)
