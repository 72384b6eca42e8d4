"""Windows of one long multivariate series: an input and the times after it.

The training, validation and test spans have a window at every step. The inputs
of the later spans may reach back into the span before, their targets may not:
the layout of Time-Series-Library (arXiv 2407.13278).
"""

from collections.abc import Mapping
import os
import pathlib
import tempfile
from typing import Any
from typing import Literal
from typing import TypedDict
from typing import Unpack
from typing import get_args
import zipfile

from absl import logging
import numpy as np

from jaxseq import limits
from jaxseq import validate
from jaxseq.data import _npy
from jaxseq.data import _time_stamps
from jaxseq.data import datasets
from jaxseq.data import missing as missing_values
from jaxseq.data import packages
from jaxseq.data import scale as scales
from jaxseq.data import value_checks
from jaxseq.data.files import table_files
from jaxseq.data.sources import windows as window_sources

Missing = Literal["refuse", "forward_fill", "mean"]
_HOURLY_COLUMNS = ("clouds_all", "rain_1h", "temp", "traffic_volume")


def treat(
  series: window_sources.Series, missing: Missing, end: int, source: str
) -> np.ndarray:
  """Returns the values of a series with missing values handled as declared.

  Args:
    series: the series.
    missing: see `make_splits`.
    end: time after the last of the training span.
    source: origin of the series, for messages.

  Raises:
    ValueError: if values are missing and `missing` is "refuse", or a channel
      has no value in the training span.
  """
  choices = get_args(Missing)
  validate.choice("missing", missing, choices)
  values = series.values
  if missing == "refuse":
    value_checks.refuse(
      source,
      values,
      np.isnan,
      ("time", "channel"),
      series.names,
      missing_values.expected(choices),
    )
    return values
  present = ~np.isnan(values)
  counts, mean = _known_mean(series, end)
  if not counts.all():
    name = series.names[int(np.argmin(counts))]
    raise ValueError(
      f"{source}: got no value of {name!r} in the training span, expected some."
    )
  if missing == "mean":
    return np.where(present, values, mean)
  return missing_values.fill_forward(values, present, mean)


def _observed(series, missing, ends, place):
  """Mask of the measured values; None if no value was filled."""
  known = ~np.isnan(series.values)
  if missing == "refuse" or known.all():
    return None
  tell_filled(place, missing, dict(zip(series.names, known.mean(axis=0))))
  for name, start, end in zip(("train", "valid", "test"), (0, *ends), ends):
    if start < end and not known[start:end].any():
      raise ValueError(
        f"{place}: {name}: got no measured value, expected some, as filled ones"
        " are not scored. Choose other shares, or other times (valid_from,"
        " test_from)."
      )
  return known


def tell_filled(
  place: str, missing: Missing, known: Mapping[str, float]
) -> None:
  """Warns of filled values, if there are any.

  Args:
    place: origin of the values.
    missing: how they were filled.
    known: share of the values that are present, by channel or series.
  """
  shares = {name: 100 * (1 - share) for name, share in known.items()}
  worst = max(shares, key=lambda name: shares[name])
  if shares[worst] > 0:
    logging.warning(
      "%s: %.1f %% of the values are missing and are filled (missing = %r), at"
      " most %.1f %%, of %r: errors are measured without them.",
      *(place, np.mean(list(shares.values())), missing, shares[worst], worst),
    )


def _known_mean(series, end):
  """The number and mean of each channel's values before `end`."""
  present = ~np.isnan(series.values[:end])
  counts = present.sum(axis=0)
  total = np.where(present, series.values[:end], 0).sum(axis=0)
  return counts, total / np.maximum(counts, 1)


def calendar_of(times: np.ndarray) -> np.ndarray:
  """Returns the position of times in their hour, day, week, month and year."""
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
  observed: np.ndarray | None = None,
  times: np.ndarray | None = None,
) -> datasets.ArrayDataset:
  """Cuts all windows whose targets are within a span.

  Args:
    values: (time, channels).
    start: first time of the span. Inputs may begin up to input_length earlier.
    end: time after the last of the span.
    input_length: number of times of an input.
    horizon: number of times of a target, directly after the input.
    stamps: (time, features) to cut as well, or None.
    observed: (time, channels) bool, False where a value was filled, or None.
    times: (time,) of the values, cut as well if they are dates, or None.

  Returns:
    Inputs (n, input_length, channels) and targets (n, horizon, channels), as
    views of the values: nothing is copied. With stamps, extras.calendar is
    (n, input_length + horizon, features); with observed, extras.observed is
    (n, input_length + horizon, channels); with dates extras.times is (n,
    input_length + horizon) seconds since 1970.

  Raises:
    ValueError: if the span is too short for a window.
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
  if times is not None:
    times = (
      _time_stamps.seconds(times) if _time_stamps.are_dates(times) else None
    )
  along = (
    None if x is None else datasets.sliding_windows(x[first:end], total)
    for x in (stamps, observed, times)
  )
  extras = datasets.Extras(
    **dict(zip(("calendar", "observed", "times"), along))
  )
  return datasets.ArrayDataset(inputs, targets, None, extras)


class Options(TypedDict, total=False):
  """Options of all sets of this kind, with the defaults of `make_splits`.

  Attributes:
    input_length: number of times of an input; 96 by default.
    horizon: number of times of a target; 96 by default.
    normalize: whether channels are standardized to mean 0 and deviation 1 over
      the training span; true by default.
    with_calendar: whether to add the hours, days and so on of all times;
      false by default.
    missing: "refuse", which is the default, "forward_fill" or "mean".
  """

  input_length: int
  horizon: int
  normalize: bool
  with_calendar: bool
  missing: Missing


def make_splits(
  series: window_sources.Series,
  ends: tuple[int, int, int],
  input_length: int = 96,
  horizon: int = 96,
  *,
  normalize: bool = True,
  with_calendar: bool = False,
  missing: Missing = "refuse",
  source: str,
  license: str,
  reader: Mapping[str, Any] | None = None,
) -> datasets.Splits:
  """Cuts the windows of the three spans of a series.

  Args:
    series: the series.
    ends: time after the last of the training, validation and test spans.
    input_length: number of times of an input.
    horizon: number of times of a target.
    normalize: whether each channel is standardized to mean 0 and standard
      deviation 1 over the training span.
    with_calendar: whether extras.calendar holds for each time of a window, in
      -0.5 .. 0.5: minute of the hour, hour of the day, day of the week from
      Monday, day of the month, day of the year.
    missing: "refuse"; "forward_fill", the last value before it, or the mean
      if there is none; or "mean", that of the channel over the training span.
      "mask" is not a choice: inputs and targets have the same channels, and
      targets would be missing as well.
    source: origin of the series.
    license: license of the series.
    reader: source fields for reading further tables; None if it reads no
      tables.

  Returns:
    The splits, see `windows`, with extras.observed if a value was filled. info
    has channel names, and the mean and standard deviation of each channel over
    the training span.

  Raises:
    ValueError: if a number is out of range, a span is too short for a window,
      or values are missing and `missing` is "refuse".
  """
  validate.all_positive(input_length=input_length, horizon=horizon)
  if ends[2] > len(series.values):
    raise ValueError(
      f"{source}: got {len(series.values)} times, expected at least {ends[2]}."
    )
  if ends[0] < 1:
    raise ValueError(
      f"{source}: got no time in the training span, expected at least "
      f"{input_length + horizon}."
    )
  values = treat(series, missing, ends[0], source)
  observed = _observed(series, missing, ends, source)
  constants = scales.Scale.of(values[: ends[0]])
  mean, deviation = constants if normalize else (None, None)
  fill = None
  if missing != "refuse":
    # The fill value of missing values without a value before them.
    fill = _known_mean(series, ends[0])[1]
    if normalize:
      fill = (fill - np.array(mean)) / np.array(deviation)
    fill = tuple(map(float, fill))
  spread = values[: ends[0]].std(0)
  values = scales.apply(values, mean, deviation)
  stamps = calendar_of(series.times) if with_calendar else None
  parts = [
    None
    if name == "valid" and start == end
    else windows(
      *(values, start, end, input_length, horizon, stamps, observed),
      # Test times are drawn in pictures.
      series.times if name == "test" else None,
    )
    for name, start, end in zip(("train", "valid", "test"), (0, *ends), ends)
  ]
  fields: dict[str, Any] = {
    "channels": series.names,
    "mean": mean,
    "deviation": deviation,
    "missing": missing,
    "fill": fill,
    "length": input_length,
    "horizon": horizon,
    "step": _time_stamps.usual_gap([series.times]),
  }
  if reader is not None:
    fields |= {"reader": "forecast_table", **reader}
  info = datasets.Info(
    description=f"{input_length} times of a series; the next {horizon}?",
    source=source,
    license=license,
    channels=series.names,
    mean=np.array(constants.mean),
    deviation=spread,
    preparation=window_sources.WindowSource(**fields),
  )
  return datasets.Splits(*parts, info)


def shares(count: int) -> tuple[int, int, int]:
  """Returns the ends of spans of 70 %, 10 % and 20 % of a series."""
  train, test = int(count * 0.7), int(count * 0.2)
  return train, count - test, count


def autots_hourly(**options: Unpack[Options]) -> datasets.Splits:
  """Loads two years of hourly traffic and weather inside autots.

  Args:
    **options: see `make_splits`; missing is "forward_fill" by default, as the
      set lacks 104 hours.

  Returns:
    The splits: 4 channels (cloud cover, rain, temperature, traffic volume),
    17520 hours, with spans of 70 %, 10 % and 20 %.

  Raises:
    ValueError: if an option is out of range.
    MissingData: if autots is not installed.
  """
  file = "traffic_hourly.zip"
  path = packages.find(file, f"datasets/data/{file}", "autots")
  with tempfile.TemporaryDirectory() as folder:
    table = pathlib.Path(folder, "traffic_hourly.csv")
    table.write_bytes(_unzipped(path))
    first, *_ = table_files.header(table)
    series = window_sources.read(
      table, first, _HOURLY_COLUMNS, steps="ignore", dates=True
    )
  return make_splits(
    series,
    shares(len(series.values)),
    source="autots load_hourly (UCI Metro Interstate Traffic Volume)",
    license="CC BY 4.0",
    **{"missing": "forward_fill", **options},
  )


def _unzipped(path):
  """The content of the first file in a zip archive."""
  with open(path, "rb", opener=limits.regular) as file:
    try:
      with zipfile.ZipFile(file) as archive:
        first = archive.infolist()[0]
        limits.check_growth(path, first.file_size, os.path.getsize(path))
        return _npy.read_member(archive, first)
    except (*_npy.DAMAGE, IndexError) as error:
      raise ValueError(f"{path} is no whole zip archive: {error}.") from error


def seasonal(
  seed: int = 0,
  times: int = 8000,
  channels: int = 4,
  noise: float = 0.3,
  **options: Unpack[Options],
) -> datasets.Splits:
  """Generates an hourly series with daily and weekly seasons; needs no package.

  Each channel is a sum of a daily and a weekly sine with amplitudes from 0.5 to
  1.5 and random phases, and of autoregressive noise, n_t = 0.9 n_{t-1} + e_t.

  Args:
    seed: seed.
    times: number of hours of the series.
    channels: number of channels.
    noise: standard deviation of the autoregressive noise.
    **options: see `make_splits`.

  Returns:
    The splits, with spans of 70 %, 10 % and 20 %.

  Raises:
    ValueError: if an option is out of range.
  """
  validate.all_positive(channels=channels, times=times)
  validate.number("noise", noise, 0)
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
  series = window_sources.Series(
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
