"""Windows of one long multivariate series: input, then what comes next.

Windows of the training, validation and test spans are laid at every step. The
inputs of the later spans may reach back into the span before, their targets do
not: the layout of Time-Series-Library (arXiv 2407.13278).
"""

from collections.abc import Sequence
import csv
from typing import NamedTuple
from typing import TypedDict
from typing import Unpack
import zipfile

import numpy as np

from jaxseq import _validate
from jaxseq.data import datasets
from jaxseq.data import packages
from jaxseq.data.files import columns as text_columns

_HOURLY_COLUMNS = ("clouds_all", "rain_1h", "temp", "traffic_volume")


class Series(NamedTuple):
  """A series with time stamps.

  Attributes:
    values: (time, channels) float64, NaN where a value is missing.
    names: name of each channel.
    times: (time,) datetime64[s].
  """

  values: np.ndarray
  names: tuple[str, ...]
  times: np.ndarray


def parse_csv(
  text: str, source: str, columns: Sequence[str] | None = None
) -> Series:
  """Reads a table whose first column is a date and time.

  Args:
    text: the table: a line of names, then a line for each time.
    source: what to call it in messages.
    columns: names of the channels to keep; all if None.

  Returns:
    The series; an empty entry is a missing value.

  Raises:
    ValueError: naming the line or column that is not as it should be.
  """
  times, values = [], []
  with text_columns.lines(source, text) as lines:
    rows = csv.reader(lines)
    header = next(rows, [])
    if len(header) < 2:
      raise ValueError(
        f"got {header}, expected names: a date and at least one channel."
      )
    columns = header[1:] if columns is None else columns
    places = [
      header.index(_validate.choice("column", name, header)) for name in columns
    ]
    for row in rows:
      if len(row) < len(header):
        raise ValueError(f"got {len(row)} of {len(header)} entries.")
      times.append(np.datetime64(row[0].strip().replace(" ", "T"), "s"))
      values.append([float(row[i].strip() or "nan") for i in places])
  if not values:
    raise ValueError(f"{source} has no lines of values.")
  return Series(np.array(values), tuple(columns), np.array(times))


def fill_forward(values: np.ndarray) -> np.ndarray:
  """Puts the last value before it, of the same channel, for a missing one.

  Args:
    values: (time, channels), NaN where a value is missing.

  Returns:
    The same without NaN; what is missing at the start takes the first value.

  Raises:
    ValueError: if a channel has no value at all.
  """
  known = ~np.isnan(values)
  if not known.any(axis=0).all():
    raise ValueError("values has a channel without any value.")
  place = np.where(known, np.arange(len(values))[:, None], -1)
  place = np.maximum.accumulate(place, axis=0)
  place = np.where(place < 0, np.argmax(known, axis=0), place)
  return np.take_along_axis(values, place, axis=0)


def calendar(times: np.ndarray) -> np.ndarray:
  """Returns where each time lies in its hour, day, week, month and year.

  Args:
    times: (time,) datetime64.

  Returns:
    (time, 5) float32 in -0.5 .. 0.5: minute of the hour, hour of the day, day
    of the week from Monday, day of the month, day of the year.
  """
  seconds = times.astype("datetime64[s]").astype(np.int64)
  days = times.astype("datetime64[D]")
  month = (days - days.astype("datetime64[M]")).astype(np.int64)
  year = (days - days.astype("datetime64[Y]")).astype(np.int64)
  # Day 0 of the epoch was a Thursday.
  week = (days.astype(np.int64) + 3) % 7
  parts = [
    seconds // 60 % 60 / 59,
    seconds // 3600 % 24 / 23,
    week / 6,
    month / 30,
    year / 365,
  ]
  return (np.stack(parts, axis=-1) - 0.5).astype(np.float32)


def windows(
  values: np.ndarray,
  start: int,
  end: int,
  input_length: int,
  horizon: int,
  stamps: np.ndarray | None = None,
) -> datasets.ArrayDataset:
  """Cuts all windows whose targets lie in a span.

  Args:
    values: (time, channels).
    start: first time of the span. Inputs may begin up to input_length earlier.
    end: time behind the last of the span.
    input_length: times of an input.
    horizon: times of a target, right behind the input.
    stamps: (time, features) that go along, or None.

  Returns:
    Inputs (n, input_length, channels) and targets (n, horizon, channels), as
    views of the values: nothing is copied. With stamps, extras.calendar is
    (n, input_length + horizon, features).

  Raises:
    ValueError: if the span has no room for a window.
  """
  first = max(start - input_length, 0)
  total = input_length + horizon
  if end - first < total:
    raise ValueError(
      f"input_length + horizon: got {input_length} + {horizon}, expected at "
      f"most {end - first}, the length of the span."
    )

  inputs, targets = np.split(
    datasets.sliding_windows(values[first:end], total), [input_length], axis=1
  )
  if stamps is not None:
    stamps = datasets.sliding_windows(stamps[first:end], total)
  extras = datasets.Extras(calendar=stamps)
  return datasets.ArrayDataset(inputs, targets, None, extras)


class Options(TypedDict, total=False):
  """Options of all sets of this kind, with the defaults of `make_splits`."""

  input_length: int
  horizon: int
  normalize: bool
  with_calendar: bool


def make_splits(
  series: Series,
  ends: tuple[int, int, int],
  input_length: int = 96,
  horizon: int = 96,
  *,
  normalize: bool = True,
  with_calendar: bool = False,
  source: str,
  license: str,
) -> datasets.Splits:
  """Makes the windows of the three spans of a series.

  Args:
    series: the series; missing values take the last one before.
    ends: time behind the last of the training, validation and test spans.
    input_length: times of an input.
    horizon: times of a target.
    normalize: whether each channel is shifted and scaled to mean 0 and standard
      deviation 1 over the training span.
    with_calendar: whether extras.calendar holds `calendar` of each window.
    source: where the series comes from.
    license: its terms.

  Returns:
    The splits, see `windows`. info has channel names, and the mean and
    standard deviation of each channel over the training span.

  Raises:
    ValueError: if a number is out of range or a span has no room for a window.
  """
  _validate.all_positive(input_length=input_length, horizon=horizon)
  if ends[2] > len(series.values):
    raise ValueError(
      f"{source}: got {len(series.values)} times, expected at least {ends[2]}."
    )
  values = fill_forward(series.values)
  mean, deviation = values[: ends[0]].mean(0), values[: ends[0]].std(0)
  if normalize:
    values = (values - mean) / np.where(deviation == 0, 1, deviation)
  values = values.astype(np.float32)
  stamps = calendar(series.times) if with_calendar else None
  parts = [
    windows(values, start, end, input_length, horizon, stamps)
    for start, end in zip((0, *ends), ends)
  ]
  info = datasets.Info(
    description=f"{input_length} times of a series; the next {horizon}?",
    source=source,
    license=license,
    channels=series.names,
    mean=mean,
    deviation=deviation,
  )
  return datasets.Splits(*parts, info)


def shares(count: int) -> tuple[int, int, int]:
  """Returns the ends of spans of 70 %, 10 % and 20 % of a series."""
  train, test = int(count * 0.7), int(count * 0.2)
  return train, count - test, count


def autots_hourly(**options: Unpack[Options]) -> datasets.Splits:
  """Loads two years of hourly traffic and weather inside autots.

  Args:
    **options: see `make_splits`.

  Returns:
    The splits: 4 channels (cloud cover, rain, temperature, traffic volume),
    17520 hours, of which 70 %, 10 % and 20 % are the three spans.

  Raises:
    ValueError: if an option is out of range.
    MissingData: if autots is not installed.
  """
  file = "traffic_hourly.zip"
  path = packages.find(file, f"datasets/data/{file}", "autots")
  with zipfile.ZipFile(path) as archive:
    text = archive.read(archive.namelist()[0]).decode()
  series = parse_csv(text, str(path), _HOURLY_COLUMNS)
  return make_splits(
    series,
    shares(len(series.values)),
    source="autots load_hourly (UCI Metro Interstate Traffic Volume)",
    license="CC BY 4.0",
    **options,
  )


def seasonal(
  seed: int = 0,
  times: int = 8000,
  channels: int = 4,
  noise: float = 0.3,
  **options: Unpack[Options],
) -> datasets.Splits:
  """Makes an hourly series with daily and weekly seasons; needs no package.

  Each channel is a sum of a daily and a weekly sine with amplitudes from 0.5 to
  1.5 and random phases, and of autoregressive noise, n_t = 0.9 n_{t-1} + e_t.

  Args:
    seed: seed.
    times: hours of the series.
    channels: number of channels.
    noise: standard deviation of the autoregressive noise.
    **options: see `make_splits`.

  Returns:
    The splits, of which 70 %, 10 % and 20 % are the three spans.

  Raises:
    ValueError: if an option is out of range.
  """
  _validate.all_positive(channels=channels, times=times)
  _validate.number("noise", noise, 0)
  rng = np.random.default_rng(seed)
  amplitudes = rng.uniform(0.5, 1.5, (2, channels))
  phases = rng.uniform(0, 2 * np.pi, (2, channels))
  hours = np.arange(times)
  angles = 2 * np.pi * hours[:, None, None] / np.array([[24.0], [168.0]])
  values = np.sum(amplitudes * np.sin(angles + phases), axis=1)
  shocks = noise * np.sqrt(1 - 0.9**2) * rng.normal(size=(times, channels))
  state = noise * rng.normal(size=channels)
  for value, shock in zip(values, shocks):
    state = 0.9 * state + shock
    value += state
  series = Series(
    values,
    tuple(f"channel_{i}" for i in range(channels)),
    np.datetime64("2024-01-01T00", "s") + hours * np.timedelta64(3600, "s"),
  )
  return make_splits(
    series,
    shares(times),
    source="sines of a day and a week with autoregressive noise",
    license="none needed",
    **options,
  )
