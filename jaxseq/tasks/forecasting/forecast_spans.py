"""The spans from which the windows of forecasting are cut.

Windows are cut from the spans on the device, so that overlapping windows do not
store a value more than once.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from typing import NamedTuple

import jax
from jax import lax
import numpy as np

from jaxseq import data


class Spans(NamedTuple):
  """The three spans of a series; the windows lie at every step.

  The spans of a panel's series are concatenated, and a window begins only if it
  ends in the same series.

  Attributes:
    train: (time, channels) float32.
    valid: (time, channels) float32, from the first validation input on; None
      without a validation part.
    test: (time, channels) float32, from the first test input on.
    input_length: times of an input.
    horizon: times of a target.
    observed: by part, (time, channels) bool, False where a value was filled;
      empty if none was.
    known: by part, (time, features) float32, columns known ahead; empty if
      there are none.
    series: by part, (time,) int32, the number of each time's series, from 1 on;
      empty if there is only one.
    starts: by part, (windows,) int32, starts of windows; at every step if
      empty.
  """

  train: np.ndarray
  valid: np.ndarray | None
  test: np.ndarray
  input_length: int
  horizon: int
  observed: Mapping[str, np.ndarray] = MappingProxyType({})
  known: Mapping[str, np.ndarray] = MappingProxyType({})
  series: Mapping[str, np.ndarray] = MappingProxyType({})
  starts: Mapping[str, np.ndarray] = MappingProxyType({})

  def with_flags(self, part: str) -> np.ndarray | None:
    """Returns the span of a part, with its flags, if any, as more channels.

    Returns:
      (time, channels) float32, or (time, 2 channels) with flags after the
      values: 1.0 for measured, 0.0 for filled ones.
    """
    span = getattr(self, part)
    if span is None or part not in self.observed:
      return span
    flags = self.observed[part].astype(np.float32)
    return np.concatenate([span, flags], axis=1)

  def whole(self, part: str) -> Any:
    """Returns the span of a part with all additional columns as channels.

    Returns:
      (time, channels) float32, those of `with_flags`, of `known`, and the
      number of the series, if present; for a panel with the starts of its
      windows.
    """
    span = self.with_flags(part)
    if span is None or part not in self.starts:
      return span
    along = [self.known[part]] if self.known else []
    along += [self.series[part][:, None]] if self.series else []
    whole = np.concatenate([span, *along], axis=1).astype(np.float32)
    return whole, self.starts[part]


def spans(splits: data.Splits) -> Spans:
  """Returns the spans from which windows of `jaxseq.data` were cut.

  Args:
    splits: windows at every step, as from `data.forecasting.make_splits`.

  Raises:
    ValueError: if the parts are not such windows.
  """

  def joined(windows, last):
    return np.concatenate([windows[:-1, 0], windows[-1], last])

  def join(name, part):
    inputs, targets = part.inputs, part.targets
    if (
      inputs.ndim != 3
      or targets.ndim != 3
      or targets.shape[::2] != inputs.shape[::2]
    ):
      raise ValueError(
        f"{name}: targets: got shape {targets.shape} beside inputs of shape "
        f"{inputs.shape}, expected values (windows, horizon, channels)."
      )
    span = joined(inputs, targets[-1])
    length = inputs.shape[1]
    if not np.array_equal(span[length : length + len(inputs)], targets[:, 0]):
      raise ValueError(
        f"{name}: got windows apart, expected one at every step of a span."
      )
    return np.asarray(span, np.float32)

  parts = {
    name: [data.take(part, rows) for rows in _runs(part)]
    for name, part in zip(("train", "valid", "test"), splits[:3])
    if part is not None
  }
  values = {
    name: np.concatenate([join(name, run) for run in runs])
    for name, runs in parts.items()
  }
  along = {
    key: {
      name: np.concatenate(
        [
          joined(x, x[-1, :0])
          for x in (getattr(run.extras, key) for run in runs)
        ]
      )
      for name, runs in parts.items()
      if getattr(runs[0].extras, key) is not None
    }
    for key in ("observed", "known")
  }
  length, horizon = (x.shape[1] for x in splits.train[:2])
  series, starts = {}, {}
  for name, runs in parts.items():
    counts = np.array([len(run.inputs) for run in runs])
    if runs[0].extras.series is not None:
      numbers = [run.extras.series[0] for run in runs]
      series[name] = np.repeat(numbers, counts + length + horizon - 1)
    if series or along["known"]:
      # The last times of each series do not begin a window.
      before = np.repeat(np.arange(len(runs)), counts) * (length + horizon - 1)
      starts[name] = (np.arange(counts.sum()) + before).astype(np.int32)
  return Spans(
    *(values.get(name) for name in ("train", "valid", "test")),
    *(length, horizon, along["observed"], along["known"], series, starts),
  )


def _runs(part):
  """Returns slices of the windows of each series of a part."""
  numbers = part.extras.series
  if numbers is None:
    return [slice(None)]
  ends = np.flatnonzero(np.diff(numbers, append=-1)) + 1
  return [slice(a, b) for a, b in zip((0, *ends), ends)]


def windows(span: jax.Array, starts: jax.Array, length: int) -> jax.Array:
  """Cuts windows (n, length, channels) that begin at `starts` (n,)."""
  return jax.vmap(
    lambda start: lax.dynamic_slice_in_dim(span, start, length, axis=0)
  )(starts)


def places(examples: Any, total: int) -> tuple[Any, Any]:
  """Returns the span of a part, see `Spans.whole`, and starts of windows.

  Args:
    examples: of the part.
    total: times of a window.
  """
  if isinstance(examples, tuple):
    return examples
  return examples, np.arange(len(examples) - total + 1, dtype=np.int32)
