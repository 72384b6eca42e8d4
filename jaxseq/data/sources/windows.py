"""Windows of one long series: an input and the times after it, to forecast."""

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

from jaxseq import limits
from jaxseq import validate
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
# Row numbers count as times, too.
ROLES = {**table_layouts.TIMES, "id": "time", "index": "time"}


class Series(NamedTuple):
  """A series of several channels.

  Attributes:
    values: (time, channels) float64, NaN where a value is missing.
    names: name of each channel.
    times: (time,) float64 or datetime64, increasing; None without times.
    calendar: calendar of the times, if they follow one and are not all one step
      apart; otherwise None.
    date_format: format of a table's dates, see `text_forms.Form`.
  """

  values: np.ndarray
  names: tuple[str, ...]
  times: np.ndarray | None
  calendar: _calendars.Calendar | None = None
  date_format: str | None = None


@dataclasses.dataclass(frozen=True)
class WindowSource(base.TableSource):
  """One long series; forecasts begin at the end of the prepared series.

  `prepare` takes one series (time, channels), or several, each at least as long
  as an input; arrays, or frames whose columns are selected by name.

  Attributes:
    channels: names of the channels.
    mean: subtracted mean of each channel; None leaves values unchanged.
    deviation: deviation of each channel, which then divides; above 0.
    missing: handling of missing values, see `forecast_windows.treat`.
    fill: standardized value of each channel for missing values without a value
      before them.
    length: number of times of an input.
    horizon: number of times to forecast.
    step: the usual time from one row to the next, in seconds if the times are
      dates, which is required of other series, too.
    time: column of a table's times.
    steps: handling of rows that are not one step apart, see
      `read`.
    dates: whether times are dates; None if unknown.
    calendar: calendar of the rows if they are not all one step apart; None for
      equal steps, or if unknown.
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
      raise validate.error("targets", type(targets).__name__, "None")
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
      if _time_stamps.are_dates(stamps):
        self.check_step(f"{name}: index", stamps)
      scaled = self.standardize(row)[None]
      if self.mean is not None:
        end = scaled[:, -self.length :]
        scale.tell_far(end, np.ones(end.shape[:2], bool), self.channels)
      # Fill before cutting: the last value may be further back.
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
    """Rejects times (time,) whose usual step differs from the training's.

    Raises:
      ValueError: naming both steps.
    """
    if self.step is not None and len(times) > 1:
      # Working days, or months, vary in length.
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
      name: name of the file, for a warning if a calendar is unknown.
      series: times (time_i,) of each series, at least two.
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
      values: values of the examples.
      dataset: the examples, for sources with a scale per example.
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
  """Reads a series from a table.

  Args:
    path: a file, or several whose rows follow each other, see
      `table_files.find`.
    time: column of dates or numbers, by which the rows are sorted; None if
      there is no such column and the rows are in order.
    channels: columns of values; all others if empty.
    ignore: columns to leave out.
    form: format of texts.
    steps: handling of times that are not one step apart: "refuse", "insert"
      rows of missing values if whole steps are missing, or "ignore". Steps of a
      calendar, such as working days or months, are not refused.
    dates: whether times have to be dates, or numbers; either if None.
    calendar: required calendar of times that are not one step apart; any that
      is clear if None.

  Returns:
    The series.

  Raises:
    ValueError: naming the file, line and column with an invalid value.
    MissingData: if there is no such file.
  """
  validate.choice("steps", steps, get_args(Steps))
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
  """Checks the steps of a series' times, or inserts the missing rows.

  Args:
    series: series with increasing times.
    steps: see `read`.
    calendar: see `read`.
    place: location of a row, for messages.

  Raises:
    ValueError: naming the first row at a wrong step.
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
  """Inserts rows at missing steps; rejects times between steps."""
  at = _time_stamps.seconds(times)
  gaps = np.diff(at)
  step = float(np.median(gaps))
  counts = np.round(gaps / step)
  between = np.abs(gaps - counts * step) > _time_stamps.TOLERANCE * step
  wrong = between if steps == "insert" else between | (counts != 1)
  if wrong.any():
    first = int(np.argmax(wrong))
    unit = " seconds" if _time_stamps.are_dates(times) else ""
    raise ValueError(
      f"{place(first + 1)}: got {times[first + 1]}, {gaps[first]:g}{unit} "
      f"after the time before, expected the usual step of {step:g}{unit}; or "
      "the option steps = 'insert' (rows that are missing, by whole steps) or "
      "'ignore' (one row is one step, such as a working day)."
    )
  rows = np.concatenate([[0], np.cumsum(counts).astype(int)])
  size = 8 * (rows[-1] + 1) * values.shape[1]
  limits.check_growth(place(0), int(size), values.nbytes)
  filled = np.full((rows[-1] + 1, values.shape[1]), np.nan)
  filled[rows] = values
  if _time_stamps.are_dates(times):
    wide = np.timedelta64(round(step * 1e6), "us")
    stamps = times[0] + np.arange(len(filled)) * wide
  else:
    stamps = times[0] + np.arange(len(filled)) * step
  return filled, tuple(channels), stamps
