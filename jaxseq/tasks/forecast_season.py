"""The season of a series: how long it is, and how much of it is read.

It follows from the steps of the rows where these say it, and else from the
training part: the lag at which the changes from row to row are most alike.
"""

from typing import Any

import numpy as np

from jaxseq import data

_HOUR, _DAY = 3600.0, 86400.0
# Seconds from row to row, from and to, and the steps of a season.
_STEPS = (
  (_HOUR, _HOUR, 24),
  (_DAY, _DAY, 7),
  (28 * _DAY, 31 * _DAY, 12),
  (89 * _DAY, 92 * _DAY, 4),
)
# Of a season that the values tell: the least correlation, and the longest lag.
_LEAST, _LONGEST = 0.3, 400
# Seasons that are read, if there are so many.
_READ = 4


def period_of(splits: data.Splits) -> int:
  """Returns the steps of a season; 1 where nothing says that there is one.

  Args:
    splits: windows of a series or a panel, whose preparation has its steps.
  """
  return season(splits.info.preparation, _training(splits))


def season(prepared: Any, values: np.ndarray) -> int:
  """Returns the steps of a season, see `period_of`.

  Args:
    prepared: a preparation, which may know its steps.
    values: (time, channels) of a series of the training.
  """
  period = _by_steps(prepared) or _by_values(values)
  # Of less than two seasons nothing can be learnt.
  return period if 2 * period <= len(values) else 1


def input_length(splits: data.Splits, period: int, horizon: int) -> int:
  """Returns the times of an input: four seasons, and no less than the horizon.

  It is less where the training part is short, of which half is left to windows.

  Args:
    splits: as of `period_of`.
    period: steps of a season.
    horizon: times to forecast, at most.
  """
  wanted = max(_READ * period, horizon, 2)
  room = (len(_training(splits)) - horizon) // 2
  return max(min(wanted, room), period, 1)


def _by_steps(prepared: Any) -> int:
  """The season that a usual step has; 0 if it says none."""
  step = getattr(prepared, "step", None)
  if step is None or getattr(prepared, "dates", None) is False:
    return 0
  if getattr(prepared, "calendar", None) == "weekdays":
    return 5
  return next((n for low, high, n in _STEPS if low <= step <= high), 0)


def _training(splits):
  """The first series of the training part, (time, channels)."""
  part = splits.train
  if part.extras.series is not None:
    part = data.take(part, part.extras.series == part.extras.series[0])
  return np.concatenate([part.inputs[:, 0], part.targets[-1]])


def _by_values(values: np.ndarray) -> int:
  """The lag at which changes are most alike, on average over channels."""
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
  # Neighbors are alike in any smooth series: a season is a peak further on.
  inner = (alike[1:-1] > alike[:-2]) & (alike[1:-1] >= alike[2:])
  peaks = np.where(inner, alike[1:-1], -1.0)
  best = int(peaks.argmax())
  return best + 2 if peaks[best] >= _LEAST else 1
