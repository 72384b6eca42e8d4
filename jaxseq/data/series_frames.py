"""Series in memory, in the formats of common libraries.

Arrays; lists of arrays; nested pandas frames with a series in every cell, as in
sktime; frames with an index of instance and time; lists of frames. pandas is
not imported.
"""

from collections.abc import Mapping
import datetime
from typing import Any
from typing import NamedTuple

import numpy as np

from jaxseq import validate
from jaxseq.data import _row_groups
from jaxseq.data import _time_stamps
from jaxseq.data import packages
from jaxseq.data import padding

_ARROW = "__arrow_c_stream__"
# Usual names of time indices.
TIMES = ("time", "timestamp", "date", "datetime")


class FrameSeries(NamedTuple):
  """Series from one of these formats.

  Attributes:
    ids: name of each series.
    values: arrays (time_i, channels) float64, NaN where a value is missing.
    channels: names of the channels, or None.
    times: arrays (time_i,) of the time index, if it has numbers or dates;
      otherwise None.
  """

  ids: tuple[str, ...]
  values: list[np.ndarray]
  channels: tuple[str, ...] | None
  times: list[np.ndarray] | None = None


def is_frame(value: object) -> bool:
  """Returns whether a value is a data frame; pandas is not imported."""
  return hasattr(value, "columns") and (
    hasattr(value, "index") or hasattr(value, _ARROW)
  )


def of_pandas(value: object) -> Any:
  """Converts frames that Arrow can read, such as polars', to pandas.

  Any other value, such as a pandas frame, is returned unchanged.

  Raises:
    MissingData: if pyarrow is not installed.
  """
  if not is_frame(value) or hasattr(value, "index"):
    return value
  why = f"{type(value).__module__} frames are read by pyarrow and pandas"
  packages.imported("pandas", "jaxseq[table] pandas", why)
  arrow = packages.imported("pyarrow", "jaxseq[table] pandas", why)
  return arrow.table(value).to_pandas()


def stamps(index: Any) -> np.ndarray:
  """Returns a frame's index as an array (n,); times with a zone in UTC."""
  if getattr(index, "tz", None) is not None:
    index = index.tz_convert(None)
  return np.asarray(index)


def times_of(
  name: str, index: object, declared: bool = False
) -> np.ndarray | None:
  """Returns the times (n,) of an index, float64 or datetime64 in UTC.

  Args:
    name: name of the frame, for messages.
    index: dates, periods, time spans, or texts of dates; or numbers with a name
      such as "time".
    declared: whether it holds times, whatever its name.

  Returns:
    The times; None if the index only numbers or names the rows.

  Raises:
    ValueError: if an entry is not a time.
  """
  if hasattr(index, "to_timestamp"):
    index = index.to_timestamp()
  array = stamps(index)
  declared = declared or str(getattr(index, "name", "")).lower() in TIMES
  kind, words = array.dtype.kind, array[:1].tolist()
  if kind == "m":
    array = array / np.timedelta64(1, "s")
  elif kind in "iuf" and not declared:
    return None
  elif kind not in "iufM":
    texts = bool(words) and isinstance(words[0], str)
    if texts and (declared or _is_date(words[0])):
      return _time_stamps.parse(
        list(map(str, array)), lambda row: f"{name}: index, row {row}"
      )
    if texts or not words or not isinstance(words[0], datetime.date):
      return None
  times = _time_stamps.as_array(array)
  lacks = ~np.isfinite(times)
  if lacks.any():
    row = int(np.argmax(lacks))
    raise validate.error(f"{name}: index, row {row}", str(times[row]), "a time")
  return times


def _is_date(word):
  try:
    _time_stamps.parse_date(word)
  except ValueError:
    return False
  return True


def series_of(collection: Any, *, channels_first: bool = False) -> FrameSeries:
  """Reads series from any of the formats above.

  Args:
    collection: an array (n, time, channels) or (n, time); a sequence, or a dict
      by name, of arrays (time_i, channels) or (time_i,) or of frames; a frame
      of pandas with an index of two levels, instance and time; or one with a
      row for each series and a series or array in every cell.
    channels_first: whether arrays are (n, channels, time) and (channels,
      time_i), as in aeon.

  Raises:
    ValueError: naming the invalid part.
  """
  collection = of_pandas(collection)
  if is_frame(collection):
    if getattr(collection.index, "nlevels", 1) > 1:
      return _indexed(collection)
    return _nested(collection)
  if isinstance(collection, Mapping):
    names, items = tuple(map(str, collection)), list(collection.values())
  else:
    items = list(collection)
    names = tuple(map(str, range(len(items))))
  items = list(map(of_pandas, items))
  if not items:
    raise ValueError("series: got none, expected at least one.")
  channels = None
  if all(hasattr(item, "columns") for item in items):
    channels = tuple(map(str, items[0].columns))
    for name, item in zip(names, items):
      if tuple(map(str, item.columns)) != channels:
        columns = list(map(str, item.columns))
        raise validate.error(f"series {name}: columns", columns, f"{channels}")
    channels_first = False
  values = [
    _values(item, f"series {name}", channels_first)
    for name, item in zip(names, items)
  ]
  widths = {value.shape[1] for value in values}
  if len(widths) > 1:
    raise validate.error("series: channels", sorted(widths), "one number")
  return FrameSeries(names, values, channels)


def _values(item, name, channels_first):
  """Converts one series to numbers (time, channels)."""
  try:
    array = np.asarray(item, np.float64)
  except (TypeError, ValueError) as error:
    raise ValueError(f"{name}: got {error}, expected numbers.") from error
  if array.ndim == 1:
    array = array[:, None]
  elif channels_first and array.ndim == 2:
    array = array.T
  if array.ndim and not len(array):
    expected = "at least one. Leave out series that are empty"
    raise validate.error(name, "no elements", expected)
  validate.shape(name, array, ("time", "channels"))
  return array


def _indexed(frame):
  """Reads series from a frame with an index of instance and time."""
  if frame.index.nlevels != 2:
    received = f"{frame.index.nlevels} levels"
    raise validate.error("index", received, "two: instance and time")
  names = np.asarray(frame.index.get_level_values(0)).astype(str)
  at = times_of("frame", frame.index.get_level_values(1), declared=True)
  values = _values(frame, "frame", False)
  ids, cut = _row_groups.group(names, at)
  times = None
  if at is not None:
    times = [at[rows] for rows in cut]
    for one, stamps_of_one in zip(ids, times):
      refuse_twice(f"frame: series {str(one)!r}", stamps_of_one)
    _row_groups.tell_moved("frame", cut, at, "its series")
  return FrameSeries(
    ids,
    [values[rows] for rows in cut],
    tuple(map(str, frame.columns)),
    times,
  )


def refuse_twice(name: str, times: np.ndarray) -> None:
  """Raises ValueError if non-decreasing times (n,) have duplicates."""
  twice = times[1:] == times[:-1]
  if twice.any():
    raise ValueError(
      f"{name}: got the time {times[1:][np.argmax(twice)]} twice, expected "
      "each once. Keep one row for each time, or give each series a name or a "
      "column of its own."
    )


def _nested(frame):
  """Reads series from a frame with a series in every cell."""
  channels = tuple(map(str, frame.columns))
  if not len(frame) or not channels:
    arrays = f"shape {tuple(frame.shape)}"
    raise validate.error("frame", arrays, "at least one row and column")
  values = []
  for row in range(len(frame)):
    cells = []
    for column, channel in enumerate(channels):
      cell, name = frame.iloc[row, column], f"row {row}, column {channel!r}"
      if np.ndim(cell) != 1:
        expected = "a series in every cell, or an index of instance and time"
        raise validate.error(name, type(cell).__name__, expected)
      cells.append(_values(cell, name, False)[:, 0])
    values.append(padding.pad_sequences(cells, value=np.nan)[0].T)
  return FrameSeries(tuple(map(str, frame.index)), values, channels)
