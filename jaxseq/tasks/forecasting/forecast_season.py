"""The season of a series and the input length that follows from it.

It follows from the time step of the rows if that implies one, else from the
training part: the lag with the highest correlation of row-to-row changes.
"""

from typing import Any

import numpy as np

from jaxseq import data

_HOUR, _DAY = 3600.0, 86400.0
# Least and largest seconds from row to row, and the steps of a season.
_STEPS = (
  (_HOUR, _HOUR, 24),
  (_DAY, _DAY, 7),
  (28 * _DAY, 31 * _DAY, 12),
  (89 * _DAY, 92 * _DAY, 4),
)
# For seasons found from values: the least correlation, and the longest lag.
_LEAST, _LONGEST = 0.3, 400
# Number of seasons in an input, if there are enough.
_READ = 4


def period_of(splits: data.Splits) -> int:
  """Returns the steps of a season; 1 if no season is found.

  Args:
    splits: windows of a series or a panel, whose preparation has its steps.
  """
  return season(splits.info.preparation, _training(splits))


def season(prepared: Any, values: np.ndarray) -> int:
  """Returns the steps of a season, see `period_of`.

  Args:
    prepared: a preparation, which may have the time step.
    values: (time, channels) of a series of the training.
  """
  period = _by_steps(prepared) or _by_values(values)
  # A season cannot be learned from less than two of them.
  return period if 2 * period <= len(values) else 1


def input_length(splits: data.Splits, period: int, horizon: int) -> int:
  """Returns the times of an input: four seasons, but at least the horizon.

  It is less if the training part is short: half of that is left for windows.

  Args:
    splits: as for `period_of`.
    period: steps of a season.
    horizon: largest number of times to forecast.
  """
  return length_of(len(_training(splits)), period, horizon)


def length_of(times: int, period: int, horizon: int) -> int:
  """Returns the times of an input, see `input_length`.

  Args:
    times: of the training part.
    period: steps of a season.
    horizon: largest number of times to forecast.
  """
  wanted = max(_READ * period, horizon, 2)
  return max(min(wanted, (times - horizon) // 2), period, 1)


def _by_steps(prepared: object) -> int:
  """Returns the season of a usual time step; 0 if there is none."""
  step = getattr(prepared, "step", None)
  if step is None or getattr(prepared, "dates", None) is False:
    return 0
  if getattr(prepared, "calendar", None) == "weekdays":
    return 5
  return next((n for low, high, n in _STEPS if low <= step <= high), 0)


def _training(splits):
  """Returns the training part of a series of median length."""
  # At least half of the series then have room for inputs of its length.
  part = splits.train
  if part.extras.series is not None:
    names, counts = np.unique(part.extras.series, return_counts=True)
    chosen = names[np.argsort(counts, kind="stable")[(len(names) - 1) // 2]]
    part = data.take(part, part.extras.series == chosen)
  return np.concatenate([part.inputs[:, 0], part.targets[-1]])


def _by_values(values: np.ndarray) -> int:
  """Returns the lag of the most correlated changes, averaged over channels."""
  changes = np.diff(np.asarray(values, np.float64), axis=0)
  changes -= changes.mean(axis=0)
  longest = min(_LONGEST, len(changes) // 3)
  power = np.maximum(np.square(changes).sum(axis=0), 1e-12)
  alike = np.array(
    [
      np.mean((changes[lag:] * changes[:-lag]).sum(axis=0) / power)
      for lag in range(1, longest + 1)
    ]
  )
  if longest < 3:
    return 1
  # Neighbors are alike in any smooth series: a season is a later peak.
  inner = (alike[1:-1] > alike[:-2]) & (alike[1:-1] >= alike[2:])
  peaks = np.where(inner, alike[1:-1], -1.0)
  best = int(peaks.argmax())
  return best + 2 if peaks[best] >= _LEAST else 1
