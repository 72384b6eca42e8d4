"""Windows of one long series: an input, and what comes next, to forecast."""

import dataclasses
from typing import Any
from typing import ClassVar
from typing import Literal

import numpy as np

from jaxseq import _registry
from jaxseq import _validate
from jaxseq.data import _raw_arrays
from jaxseq.data import _time_stamps
from jaxseq.data import datasets
from jaxseq.data import missing as missing_values
from jaxseq.data import scale
from jaxseq.data import series_frames
from jaxseq.data.sources import base

# Functions (path, source) -> forecast_windows.Series, by the form of the file.
FORMS = _registry.Registry(
  "reader", {"forecast_table": "jaxseq.data.forecast_table:read_again"}
)


@dataclasses.dataclass(frozen=True)
class WindowSource(base.Source):
  """One long series; a forecast goes on from the end of what is prepared.

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
    delimiter: see `table_files.read`.
    steps: what becomes of rows that are not one step apart, see
      `forecast_table.read`.
  """

  kind: ClassVar[str] = "forecast"
  forms: ClassVar[tuple[str, ...]] = FORMS.names()

  _: dataclasses.KW_ONLY
  channels: tuple[str, ...] | None = None
  mean: tuple[float, ...] | None = None
  deviation: tuple[float, ...] | None = None
  missing: missing_values.Missing = "refuse"
  fill: tuple[float, ...] | None = None
  length: int = 1
  horizon: int = 1
  step: float | None = None
  time: str | None = None
  delimiter: str | None = None
  steps: Literal["refuse", "insert", "ignore"] = "refuse"

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
      stamps = np.asarray(getattr(item, "index", ()))
      if stamps.dtype.kind == "M":
        self.check_step(f"{name}: index", stamps)
      # Filled before it is cut: the value before may lie further back.
      part = missing_values.fill(
        datasets.ArrayDataset(self.standardize(row)[None], np.zeros(1)),
        self.missing,
        self.fill,
        name,
        self.channels,
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
      loose = 0.25 if self.steps == "ignore" else _time_stamps.TOLERANCE
      _time_stamps.check_step(name, times, self.step, usual=True, within=loose)

  def _read(self, path: Any) -> base.Examples:
    series = FORMS.get(self.reader)(path, self)
    dataset = self.prepare([series.values])
    if series.times is None:
      return base.Examples((str(len(series.values) - 1),), dataset)
    times = _time_stamps.following(series.times, self.horizon)
    return base.Examples((str(series.times[-1]),), dataset, times=times[None])

  def standardize(self, values: np.ndarray) -> np.ndarray:
    """Subtracts the mean and divides by the deviation; float32."""
    return scale.apply(values, self.mean, self.deviation)

  def restore(self, values: np.ndarray) -> np.ndarray:
    """Returns standardized values (..., channels) in the file's units."""
    return scale.undo(values, self.mean, self.deviation)
