"""The rows of a panel, or of a series with columns that are known ahead."""

from typing import Any

from jaxseq import data
from jaxseq import validate
from jaxseq.data import _time_stamps
from jaxseq.data import panel_windows
from jaxseq.data import panels
from jaxseq.data import series_frames
from jaxseq.data import table_layouts
from jaxseq.estimators import base
from jaxseq.tasks import forecasting
from jaxseq.tasks.forecasting import conformal


def columns(forecaster: Any) -> panels.Columns | None:
  """Returns the column names of an estimator; None if it has none."""
  several = {
    name: table_layouts.as_names(name, getattr(forecaster, name))
    for name in ("known", "static")
  }
  if forecaster.series is None and not any(several.values()):
    return None
  return panels.Columns(
    series=forecaster.series,
    time=forecaster.time,
    steps=forecaster.steps,
    **several,
  )


def read(
  forecaster: Any, named: panels.Columns, y: Any, *, reset: bool
) -> base.Rows:
  """Returns the series of a frame to train on, or their ends to forecast from.

  Args:
    forecaster: the estimator.
    named: the columns.
    y: the frame; the ends of the training series if None.
    reset: whether the series are for training.

  Raises:
    ValueError: naming the invalid input.
  """
  if y is None and not reset:
    if isinstance(forecaster._end, str):
      raise ValueError(forecaster._end)
    ends = forecaster._end
    return base.Rows([ends.dataset], ids=ends.ids, ahead=ends.times)
  if not reset:
    ends = forecaster.model_.preparation.read(_frame(y))
    return base.Rows([ends.dataset], ids=ends.ids, ahead=ends.times)
  forecaster._check_sizes()
  panel = panels.read(_frame(y), named)
  forecaster.n_features_in_ = len(panel.channels)
  forecaster._flat = len(panel.channels) == 1
  forecaster.series_ = tuple(member.name for member in panel.members)
  times = [m.times for m in panel.members if m.times is not None]
  forecaster._choose_length(
    panel.members[0].values,
    min(len(member.values) for member in panel.members),
    step=_time_stamps.usual_gap(times) if times else None,
    dates=_time_stamps.are_dates(times[0]) if times else None,
    calendar=panel.calendar,
  )
  return base.Rows([panel], ids=forecaster.series_, channels=panel.channels)


def windows(prepared: Any, y: Any) -> data.ArrayDataset:
  """Returns all windows of the series of a frame, as in training.

  Args:
    prepared: a `sources.PanelSource`.
    y: the frame.

  Raises:
    ValueError: naming the invalid input.
  """
  calendar = prepared.calendar or "steps"
  panel = panels.read(_frame(y), prepared.columns, prepared.dates, calendar)
  return panel_windows.windows_of(prepared, panel, "y")


def _frame(y):
  """Returns the frame; rejects other types."""
  if not series_frames.is_frame(y):
    expected = "a frame with the columns of the options"
    raise validate.error("y", type(y).__name__, expected)
  return y


def material(
  forecaster: Any, named: panels.Columns, panel: panels.Panel, stops: bool
) -> base.Material:
  """Returns the spans of all series: training, validation, calibration.

  There is a validation span if training `stops` early.
  """
  horizon, share = forecaster.horizon, forecaster.validation_fraction

  def ends(member):
    count = len(member.values)
    held = max(round(count * share), horizon)
    calibrated = count - held * bool(forecaster.intervals)
    return calibrated - held * stops, calibrated, count

  splits = panel_windows.make_splits(
    panel,
    named,
    ends,
    forecaster.input_length_,
    horizon,
    categories=table_layouts.as_names("categories", forecaster.categories),
    source="y",
    license="",
  )
  prepared = splits.info.preparation
  windows = splits.test if forecaster.intervals else splits.valid
  if forecaster.intervals and len(windows.inputs) < conformal.FEWEST:
    raise ValueError(
      f"y: got {len(windows.inputs)} windows to take intervals from, expected "
      f"at least {conformal.FEWEST}: raise validation_fraction."
    )
  try:
    forecaster._end = prepared.ends("y", panel)
  except ValueError as error:
    # Raised when a forecast after the training's end is requested.
    forecaster._end = str(error)
  one = data.take(splits.train, slice(0, 1))
  # There is no test set; its placeholder is never used.
  spans = forecasting.spans(splits._replace(test=one))
  return base.Material(spans, len(splits.train.inputs), prepared, one, windows)
