"""The csv files of the long-horizon forecasting benchmark.

ETTh1, ETTh2, ETTm1 and ETTm2 are split by months of 30 days: 12 for training,
4 for validation and 4 for testing; later times are dropped. Weather,
Electricity, Traffic and Exchange are split 70 %, 10 % and 20 %.

Sources: arXiv 2012.07436 (ETT); the splits of Time-Series-Library (arXiv
2407.13278), whose tables use horizons 96, 192, 336 and 720.
"""

import os
from typing import Unpack

from jaxseq.data import datasets
from jaxseq.data import forecast_windows
from jaxseq.data.files import table_files
from jaxseq.data.sources import windows as window_sources

HORIZONS = (96, 192, 336, 720)
_MONTH = 30 * 24
_STEPS_PER_HOUR = {"ETTh1": 1, "ETTh2": 1, "ETTm1": 4, "ETTm2": 4}


def spans(name: str, count: int) -> tuple[int, int, int]:
  """Returns the ends of the training, validation and test spans.

  Args:
    name: name of the file without its suffix.
    count: number of times in it.

  Returns:
    The ends: by months for the four ETT sets, by shares for any other.
  """
  if name in _STEPS_PER_HOUR:
    month = _MONTH * _STEPS_PER_HOUR[name]
    return 12 * month, 16 * month, 20 * month
  return forecast_windows.shares(count)


def load(
  path: str | os.PathLike,
  target: str | None = None,
  ends: tuple[int, int, int] | None = None,
  **options: Unpack[forecast_windows.Options],
) -> datasets.Splits:
  """Loads a file of the benchmark, or any table of the same format.

  Args:
    path: csv file: a line of names, then a date and one number per channel.
      Other tables are read by the set "forecast_table".
    target: name of the only channel to keep ("OT" in the univariate tables);
      all channels if None.
    ends: ends of the three spans; those of the benchmark if None.
    **options: see `forecast_windows.make_splits`; the benchmark normalizes.

  Returns:
    The splits, see `forecast_windows.windows`.

  Raises:
    ValueError: if the file is invalid or too short, or lacks values and
      `missing` is "refuse".
    MissingData: if there is no such file.
  """
  path = datasets.find_file(path, "put the benchmark's csv file there")
  time, *_ = table_files.header(path)
  channels = () if target is None else (target,)
  series = window_sources.read(path, time, channels, steps="ignore", dates=True)
  return forecast_windows.make_splits(
    series,
    spans(path.stem, len(series.values)) if ends is None else ends,
    source=str(path),
    license="CC BY-ND 4.0" if path.stem in _STEPS_PER_HOUR else "see source",
    reader={"time": time},
    **options,
  )
