"""Windows of one long series: an input, and what comes next, to forecast."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
from typing import Any
from typing import ClassVar
from typing import Literal
from typing import NamedTuple
from typing import get_args

from absl import logging
import numpy as np

from jaxseq import _limits
from jaxseq import _validate
from jaxseq.data import _calendars
from jaxseq.data import _raw_arrays
from jaxseq.data import _time_stamps
from jaxseq.data import datasets
from jaxseq.data import missing as missing_values
from jaxseq.data import scale
from jaxseq.data import series_frames
from jaxseq.data import table_layouts
from jaxseq.data.files import table_files
from jaxseq.data.files import text_forms
from jaxseq.data.sources import base

Steps = Literal["refuse", "insert", "ignore"]
# A number of the row is a time, too.
ROLES = {**table_layouts.TIMES, "id": "time", "index": "time"}


class Series(NamedTuple):
  """A series of several channels.

  Attributes:
    values: (time, channels) float64, NaN where a value is missing.
    names: name of each channel.
    times: (time,) float64 or datetime64, increasing; None if there are none.
    calendar: of the times, where they are not all one step apart and follow
      one; None elsewhere.
    date_format: of a table's dates, see `text_forms.Form`.
  """

  values: np.ndarray
  names: tuple[str, ...]
  times: np.ndarray | None
  calendar: _calendars.Calendar | None = None
  date_format: str | None = None


@dataclasses.dataclass(frozen=True)
class WindowSource(base.TableSource):
  """One long series; a forecast resumes from the end of what is prepared.

  `prepare` takes one series (time, channels), or several, of as many times as
  an input has, or more; arrays, or frames whose columns are taken by name.

  Attributes:
    channels: names of the channels.
    mean: of each channel, which is subtracted; None leaves values as they are.
    deviation: of each channel, which then divides; above 0.
    missing: what becomes of missing values, see `forecast_windows.treat`.
    fill: of each channel, after mean and deviation: what stands for a value
      that is missing and has none before it.
    length: times of an input.
    horizon: times to forecast.
    step: the usual time from one row to the next, in seconds if the times are
      dates, which another series has to have, too.
    time: column of a table's times.
    steps: what becomes of rows that are not one step apart, see
      `read`.
    dates: whether times are dates; None if that is unknown.
    calendar: that the rows follow where they are not all one step apart; None
      of equal steps, or if that is unknown.
  """

  kind: ClassVar[str] = "forecast"
  forms: ClassVar[tuple[str, ...]] = ("forecast_table",)

  _: dataclasses.KW_ONLY
  channels: tuple[str, ...] | None = None
  mean: tuple[float, ...] | None = None
  deviation: tuple[float, ...] | None = None
  missing: missing_values.Missing = "refuse"
  fill: tuple[float, ...] | None = None
  length: base.Count = 1
  horizon: base.Count = 1
  step: base.Positive | None = None
  time: str | None = None
  steps: Steps = "refuse"
  dates: bool | None = None
  calendar: _calendars.Calendar | None = None

  def __post_init__(self):
    super().__post_init__()
    scale.check("deviation", self.mean, self.deviation)

  def _prepare(self, values, lengths, times, targets):
    del times
    if targets is not None:
      raise _validate.error("targets", type(targets).__name__, "None")
    one = series_frames.is_frame(values) or (
      isinstance(values, np.ndarray)
      and (values.ndim == 2 or values.dtype.names is not None)
    )
    windows = []
    items = [values] if one else _raw_arrays.rows(values, lengths)
    for number, item in enumerate(items):
      name = f"series {number}"
      row = _raw_arrays.series(name, item, self.channels)
      if len(row) < self.length:
        expected = f"at least {self.length} times, those of an input"
        raise ValueError(f"{name}: got {len(row)}, expected {expected}.")
      stamps = series_frames.stamps(getattr(item, "index", ()))
      if stamps.dtype.kind == "M":
        self.check_step(f"{name}: index", stamps)
      scaled = self.standardize(row)[None]
      if self.mean is not None:
        end = scaled[:, -self.length :]
        scale.tell_far(end, np.ones(end.shape[:2], bool), self.channels)
      # Filled before it is cut: the value before may lie further back.
      part = missing_values.fill(
        datasets.ArrayDataset(scaled, np.zeros(1)),
        self.missing,
        self.fill,
        name,
        self.channels,
        missing_values.OF_FORECASTS,
      )
      windows.append(part.inputs[0, -self.length :])
    inputs = np.stack(windows)
    shape = (len(inputs), self.horizon, inputs.shape[-1])
    return datasets.ArrayDataset(inputs, np.full(shape, np.nan, np.float32))

  def check_step(self, name: str, times: np.ndarray) -> None:
    """Refuses times (time,) of another usual step than the training's.

    Raises:
      ValueError: naming both.
    """
    if self.step is not None and len(times) > 1:
      # Working days, or months, are not all equally long.
      uneven = self.steps == "ignore" or self.calendar is not None
      loose = 0.25 if uneven else _time_stamps.TOLERANCE
      _time_stamps.check_step(name, times, self.step, usual=True, within=loose)

  def _read(self, path: Any) -> base.Examples:
    series = read(
      path,
      self.time,
      self.channels or (),
      form=self.form,
      steps=self.steps,
      dates=self.dates,
      calendar=self.calendar or "steps",
    )
    name = table_files.describe(path)
    least = max(self.length, 2)
    if len(series.values) < least:
      raise ValueError(
        f"{name}: got {len(series.values)} times, expected at least {least}, "
        "those of an input."
      )
    dataset = self.prepare([series.values])
    if series.times is None:
      return base.Examples((str(len(series.values) - 1),), dataset)
    self.check_step(f"{name}: column {self.time!r}", series.times)
    ahead = self.ahead(name, [series.times])
    return base.Examples((str(series.times[-1]),), dataset, times=ahead)

  def ahead(self, name: str, series: Sequence[np.ndarray]) -> np.ndarray | None:
    """Returns the times (n, horizon) after series; None if one is unknown.

    Args:
      name: of the file, for a warning where a calendar is unknown.
      series: times (time_i,) of each, at least two.
    """
    calendar = self.calendar
    if self.steps != "ignore":
      calendar = calendar or "steps"
    found = []
    for times in series:
      later = _calendars.following(times, self.horizon, calendar)
      found += [] if later is None else [later]
    if len(found) < len(series):
      logging.warning(
        "%s: the times follow no calendar that is known (equal steps, all"
        " weekdays, days or ends of months), so that predictions have no column"
        " of times; join them with others by the number of their step.",
        name,
      )
      return None
    return np.stack(found)

  def standardize(self, values: np.ndarray) -> np.ndarray:
    """Subtracts the mean and divides by the deviation; float32."""
    return scale.apply(values, self.mean, self.deviation)

  def restore(
    self, values: np.ndarray, dataset: datasets.ArrayDataset | None = None
  ) -> np.ndarray:
    """Returns standardized values (..., channels) in the file's units.

    Args:
      values: of the examples.
      dataset: the examples, where each has a scale of its own.
    """
    del dataset
    return scale.undo(values, self.mean, self.deviation)


def read(
  path: table_files.Path,
  time: str | None = None,
  channels: Sequence[str] = (),
  ignore: Sequence[str] = (),
  form: text_forms.Form = text_forms.OPEN,
  steps: Steps = "refuse",
  dates: bool | None = None,
  calendar: _calendars.Calendar | None = None,
) -> Series:
  """Reads a series.

  Args:
    path: a file, or several whose rows follow each other, see
      `table_files.find`.
    time: column of dates or numbers, by which the rows are put in order; None
      if there is none, and the rows are in order.
    channels: columns of values; all others if empty.
    ignore: columns that are left out.
    form: how texts are written.
    steps: what becomes of times that are not one step apart: "refuse", "insert"
      rows of missing values where whole steps are missing, or "ignore". Those
      of a calendar, such as working days or months, are not refused.
    dates: whether times have to be dates, or numbers; either if None.
    calendar: that times have to follow which are not one step apart; any that
      is clear if None.

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
    names = table_files.header(files[0], form)
    channels = tuple(name for name in names if name not in others)
    table_layouts.check_roles(files[0], channels, ROLES)
  if not channels:
    raise ValueError(f"{files[0]}: got no column of values, expected some.")
  table = table_files.read(
    files,
    words=() if time is None else (time,),
    numbers=channels,
    form=form,
  )
  values = np.stack([table.numbers[name] for name in channels], axis=1)
  if time is None:
    return Series(values, tuple(channels), None)
  times = _time_stamps.parse(
    table.words[time], lambda row: table.place(row, time), dates, form
  )
  date_format = _time_stamps.date_format(
    table.words[time], str, form.date_format
  )
  order = np.argsort(times, kind="stable")
  values, times = values[order], times[order]
  twice = times[1:] == times[:-1]
  if twice.any():
    row = int(order[1:][np.argmax(twice)])
    raise ValueError(
      f"{table.place(row, time)}: got {times[1:][np.argmax(twice)]} twice, "
      "expected one row for each time. Of several series in one table, name "
      "their column in the option series."
      f"{_time_stamps.repeated(table.words[time][row])}"
    )

  def place(number):
    return table.place(int(order[number]), time)

  found = Series(values, tuple(channels), times)
  found = spaced(found, steps, calendar, place)
  return found._replace(date_format=date_format)


def spaced(
  series: Series,
  steps: Steps,
  calendar: _calendars.Calendar | None,
  place: Callable[[int], str],
) -> Series:
  """Returns a series whose rows follow each other as they should.

  Args:
    series: with increasing times.
    steps: see `read`.
    calendar: see `read`.
    place: of a row, for messages.

  Raises:
    ValueError: naming the row that does not follow the one before.
  """
  times = series.times
  if steps == "ignore" or _time_stamps.is_regular(times):
    return series
  if steps == "refuse":
    found = calendar or _calendars.find(times)
    if found != "irregular" and _calendars.follows(times, found):
      return series._replace(calendar=found)
  return Series(*_on_steps(series.values, times, steps, place, series.names))


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
