"""Forecast baselines without a network, and the scale of errors."""

import importlib
import importlib.util
from typing import Any
from typing import Literal

from absl import logging
import numpy as np

from jaxseq import validate
from jaxseq.tasks.forecasting.forecast_spans import Spans

_SMOOTHING = "exponential smoothing"
# Largest number of origins to forecast from: each takes a moment.
_ORIGINS = 15


def scale(series: Spans, period: int) -> np.ndarray:
  """Returns the mean change (channels,) over a season of the training span.

  Errors are divided by it ("MASE", Hyndman and Koehler 2006): 1 is the training
  error of repeating the value of a season before.

  Args:
    series: the spans.
    period: steps of a season.
  """
  values = np.asarray(series.train, np.float64)
  change = np.abs(values[period:] - values[:-period])
  known = np.ones(change.shape, bool)
  if "train" in series.observed:
    flags = np.asarray(series.observed["train"])
    known &= flags[period:] & flags[:-period]
  if "train" in series.series:
    numbers = series.series["train"]
    known &= (numbers[period:] == numbers[:-period])[:, None]
  count = np.maximum(known.sum(axis=0), 1)
  mean = np.where(known, change, 0).sum(axis=0) / count
  # A constant channel has no scale: its errors are not divided.
  return np.where(mean > 0, mean, 1.0)


def baselines(
  series: Spans,
  period: int,
  part: Literal["test", "valid"] = "test",
  *,
  smoothing: bool = False,
) -> dict[str, dict[str, float]]:
  """Scores baselines without training, over all windows of a span.

  Args:
    series: the spans.
    period: length of the season in steps, at most the input length.
    part: which span; without a validation part the result is empty.
    smoothing: whether to score exponential smoothing, too, if the package
      statsforecast is installed, and there is one series.

  Returns:
    "mse", "mae" and "mase" of "repeat last" (the last value of the window), of
    "seasonal naive" (the value a whole number of periods before), over measured
    values, and of "exponential smoothing" from at most 15 windows.

  Raises:
    ValueError: if the input does not hold a period.
  """
  length, horizon = series.input_length, series.horizon
  validate.integer("period", period, 1, length)
  span, channels = series.with_flags(part), series.train.shape[1]
  if span is None:
    return {}
  view = np.lib.stride_tricks.sliding_window_view(
    span, length + horizon, axis=0
  )
  places = {
    "repeat last": np.full(horizon, length - 1),
    "seasonal naive": length - period + np.arange(horizon) % period,
  }
  if part in series.starts:
    view = view[series.starts[part]]
  totals = {name: _Errors(series, period) for name in places}
  # In chunks: all windows at once may not fit into memory.
  for start in range(0, len(view), 256):
    windows = np.asarray(view[start : start + 256], np.float64)
    values, known = np.split(windows, [channels], axis=1)
    known = known[..., length:] if known.size else None
    for name, place in places.items():
      error = values[..., length:] - values[..., place]
      totals[name].add(error, known)
  rows = {name: total.metrics() for name, total in totals.items()}
  if smoothing and not series.starts:
    rows |= _smoothing(series, period, part)
  return rows


class _Errors:
  """Sums of errors, by channel."""

  def __init__(self, series: Spans, period: int):
    self._scale = scale(series, period)
    self._square = self._absolute = self._count = np.zeros(len(self._scale))

  def add(self, error: np.ndarray, known: np.ndarray | None) -> None:
    """Adds errors (n, channels, horizon) of measured values."""
    known = np.ones(error.shape) if known is None else known
    self._count = self._count + known.sum(axis=(0, 2))
    self._square = self._square + (error**2 * known).sum(axis=(0, 2))
    self._absolute = self._absolute + (np.abs(error) * known).sum(axis=(0, 2))

  def metrics(self) -> dict[str, float]:
    """Returns means over all measured values."""
    count = max(self._count.sum(), 1)
    return {
      "mse": float(self._square.sum() / count),
      "mae": float(self._absolute.sum() / count),
      "mase": float((self._absolute / self._scale).sum() / count),
    }


def _smoothing(series: Spans, period: int, part: str) -> dict[str, Any]:
  """Scores seasonal exponential smoothing, fitted once to the training span."""
  if importlib.util.find_spec("statsforecast") is None:
    logging.warning(
      "statsforecast: got no such package, expected it for exponential "
      "smoothing in the table. Install it with pip install statsforecast."
    )
    return {}
  models = importlib.import_module("statsforecast.models")
  length, horizon = series.input_length, series.horizon
  span, errors = getattr(series, part), _Errors(series, period)
  flags = series.observed.get(part)
  last = len(span) - length - horizon
  starts = np.unique(np.linspace(0, last, _ORIGINS).astype(int))
  before = [series.train]
  if part == "test" and series.valid is not None:
    before.append(series.valid[length:])
  for channel in range(span.shape[1]):
    past = np.concatenate([x[:, channel] for x in before])
    fitted = models.AutoETS(season_length=period)
    fitted.fit(np.asarray(series.train[:, channel], np.float64))
    for start in starts:
      # It resumes from all earlier values.
      end = start + length
      seen = np.concatenate([past, span[length:end, channel]])
      mean = fitted.forward(seen.astype(np.float64), horizon)["mean"]
      error = np.zeros((1, span.shape[1], horizon))
      known = np.zeros_like(error)
      error[0, channel] = mean - span[end : end + horizon, channel]
      known[0, channel] = 1
      if flags is not None:
        known[0, channel] = flags[end : end + horizon, channel]
      errors.add(error, known)
  return {_SMOOTHING: errors.metrics()}
