"""Forecasts of a series, as an estimator."""

import dataclasses
import types
from typing import Any
from typing import ClassVar
from typing import Self
from typing import final

import numpy as np

from jaxseq import data
from jaxseq import validate
from jaxseq.data import _time_stamps
from jaxseq.data import forecast_windows
from jaxseq.data import scale
from jaxseq.data import sources
from jaxseq.estimators import _scikit_learn
from jaxseq.estimators import _time_index
from jaxseq.estimators import base
from jaxseq.estimators import panel_rows
from jaxseq.estimators import series_input
from jaxseq.estimators import updating
from jaxseq.tasks import forecasting
from jaxseq.tasks import sizes
from jaxseq.tasks.forecasting import conformal
from jaxseq.tasks.forecasting import forecast_season
from jaxseq.types import PyTree


@base.documented
@dataclasses.dataclass(eq=False, repr=False)
class Forecaster(updating.Updated, base.SizedEstimator):
  """The next values of one long series of one or several channels.

    forecaster = Forecaster(input_length=48, horizon=24).fit(y)
    forecaster.predict()          # the values after y
    forecaster.predict(y_later)   # the values after y_later
    forecaster.predict_interval(level=95)  # with early_stopping or intervals

  Rows of a pandas series or frame are sorted by its index, if that holds times:
  dates, periods, texts of dates, or numbers called "time". Its steps must be
  equal, or those of a calendar, such as months and working days. `predictions`
  then includes the times of a forecast.

  Many series in one frame, a row for each series and time, are a panel: one
  network learns from all of them, and also forecasts series that it has not
  seen. Columns known ahead are inputs and are not forecast; they may continue
  in rows at the end of a series whose values are empty:

    forecaster = Forecaster(time="date", series="shop", known="price")
    forecaster.fit(frame).predictions(later)

  Args:
    OPTIONS
    input_length: time steps that a forecast reads; None for four seasons, but
      at least the horizon, and less if the series is short, see
      `tasks.forecasting.forecast_season.input_length`.
    horizon: time steps to forecast.
    channels: "independent": each channel is a separate sequence, and all share
      one network; "mixed": they are read together.
    normalize: whether each window is shifted and scaled to mean 0 and standard
      deviation 1, and its forecast transformed back.
    period: steps of a season; forecasts are differences to the last season, see
      `tasks.forecasting.forecast_season`; None to detect it from the dates or
      the values, 0 to forecast the values themselves.
    intervals: whether the end of the series, `validation_fraction` of it, is
      held back to calibrate intervals by its errors. Without it the errors of
      the validation part are used, if there is one; they are slightly too
      small, because early stopping used the same part.
    time: for a panel, or with columns known ahead: column, or index level, of
      dates or numbers; rows are in order if None.
    series: column that names the series of a row.
    known: columns that are known ahead, such as a price; several with commas
      between them, or a list.
    static: columns with one entry for each series.
    categories: known and static columns whose numbers are category names.
    steps: handling of missing time steps, see `data.forecast_tables.load`.

  Attributes:
    model_: a `models.Model`.
    history_: lists by name: "update", metrics of training, and with early
      stopping "valid_mse" and "valid_mae", of standardized values.
    n_updates_: number of updates at which the variables were found.
    input_length_: time steps that a forecast reads.
    series_: names of the series of a panel.
  """

  _task = forecasting.TASK
  # Defaults for a series without times, and for estimators in older files.
  _ahead: ClassVar[np.ndarray | None] = None
  _length: ClassVar[int | None] = None

  _: dataclasses.KW_ONLY
  input_length: int | None = None
  horizon: int = 24
  channels: str = "independent"
  normalize: bool = True
  period: int | None = None
  intervals: bool = False
  time: str | None = None
  series: str | None = None
  known: Any = None
  static: Any = None
  categories: Any = None
  steps: str = "refuse"

  @property
  def input_length_(self) -> int:
    """Returns the number of time steps that a forecast reads."""
    return self.input_length or self._length or self.model_.preparation.length

  @final
  def fit(self, y: object) -> Self:
    """Trains a network on all windows of a series.

    Args:
      y: (time,) or (time, channels) numbers, an array, a series or a frame, see
        the class; of a panel a frame. With early stopping `validation_fraction`
        of it is held back for validation, and with intervals as much again at
        its end for their calibration.

    Raises:
      ValueError: naming the invalid input.
    """
    return self._fit(y)

  @final
  def partial_fit(self, y: object) -> Self:
    """Makes one update with all windows of y, at a constant learning rate.

    The first call, or the first after `fit`, begins from a fresh network.
    Values are standardized by the mean and deviation of all chunks so far; the
    season is detected in the first one. No part is held back, so there are no
    intervals.

    Args:
      y: the next chunk of the series, as in `fit`, but not a panel; windows lie
        within it, so it may start with the end of the previous chunk again.

    Raises:
      ValueError: naming the invalid input.
    """
    if panel_rows.columns(self) is not None:
      expected = "none in partial_fit: one series alone. Use fit"
      raise validate.error("series, known, static", "columns", expected)
    return self._go_on(y, keep=True)

  @final
  def predict(self, y: Any = None) -> np.ndarray:
    """Forecasts the values after a series.

    Args:
      y: at least `input_length_` time steps, as in `fit`; the end of the
        training series if None.

    Returns:
      (horizon,) or (horizon, channels), in the units of the series; for a panel
      with a leading axis of series, in the order of their first rows.

    Raises:
      ValueError: naming the invalid input.
    """
    part = self._examples(y).dataset
    return self._restored(self.model_.outputs(part)["forecast"], part)

  @final
  def predict_interval(self, y: object = None, level: float = 80) -> np.ndarray:
    """Forecasts intervals of the values after a series.

    The intervals are those of split conformal prediction, see
    `tasks.forecasting.conformal`, separately for each step and channel: they
    cover `level` percent of values like those at the end of the training
    series.

    Args:
      y: as for `predict`.
      level: coverage in percent, such as 90 and not 0.9; the more windows were
        held back, the closer to 100 it may be.

    Returns:
      (horizon, 2) or (horizon, channels, 2): lower and upper end, in the units
      of the series; for a panel with a leading axis of series.

    Raises:
      ValueError: naming the invalid input; also if no part of the series was
        held back, or one too short for the level.
    """
    _scikit_learn.validation.check_is_fitted(self, "model_")
    if self._errors is None:
      raise ValueError(
        "predict_interval: got a network without intervals, expected one that "
        "was fitted with intervals=True, or with early_stopping."
      )
    width = conformal.half_width(self._errors, level)
    part = self._examples(y).dataset
    middle = self.model_.outputs(part)["forecast"]
    ends = [self._restored(middle + sign * width, part) for sign in (-1, 1)]
    return np.stack(ends, axis=-1)

  def score(self, y: Any) -> float:
    """Scores all windows of a series.

    Args:
      y: as in `fit`.

    Returns:
      The coefficient of determination R^2 of the forecasts: 1 is best, and 0 is
      the score of the mean of the target values. If these are all equal, it is
      1 without any error and 0 otherwise, as in scikit-learn. For a panel,
      values are standardized by series.
    """
    _scikit_learn.validation.check_is_fitted(self, "model_")
    prepared = self.model_.preparation
    if panel_rows.columns(self) is not None:
      part = panel_rows.windows(prepared, y)
      future = part.targets
      error = self.model_.outputs(part)["forecast"] - future
    else:
      values = self._read(y, reset=False).values[0]
      length = self.input_length_
      total = length + self.horizon
      if len(values) < total:
        raise ValueError(
          f"y: got {len(values)} times, expected at least {total}."
        )
      windows = np.lib.stride_tricks.sliding_window_view(values, total, axis=0)
      windows = np.moveaxis(windows, -1, 1)
      inputs = prepared.standardize(windows[:, :length])
      future = windows[:, length:]
      part = data.ArrayDataset(inputs, np.zeros_like(future, np.float32))
      error = prepared.restore(self.model_.outputs(part)["forecast"]) - future
    spread = future - future.mean((0, 1))
    wrong, total = np.square(error).sum(), np.square(spread).sum()
    return float(1 - wrong / total if total else wrong == 0)

  def _restored(self, values, part):
    """Returns forecasts in the series' units; a lone series has no axis."""
    values = self.model_.preparation.restore(values, part)
    values = values if self.series is not None else values[0]
    return values[..., 0] if self._flat else values

  def _prepare(self, prepared: sources.Source, rows: base.Rows) -> Any:
    # Panels are prepared when they are read.
    one = rows.values[0]
    if isinstance(one, data.ArrayDataset):
      return one
    return super()._prepare(prepared, rows)

  def _scaled(self, rows: base.Rows) -> dict[str, np.ndarray]:
    return {"": rows.values[0]}

  def _read(
    self, y: Any = None, *, reset: bool, keep: bool = False
  ) -> base.Rows:
    columns = panel_rows.columns(self)
    if columns is not None:
      return panel_rows.read(self, columns, y, reset=reset)
    if y is None and not reset:
      return base.Rows([self._end], ids=("0",), ahead=self._ahead)
    if reset:
      self._check_sizes()
    width = None if reset else self.n_features_in_
    values, names, order = series_input.read_one(
      "y", y, width, None if reset else self._names
    )
    ahead, step = None, {}
    if order is not None:
      ahead = _time_index.following("y", y, order, self.horizon)
      step = _step(order.stamps)
    if reset:
      self._flat, self._step = np.ndim(y) == 1, step
      self.n_features_in_, self._names = values.shape[1], names
      self._choose_length(values, len(values), **step)
    elif len(values) < self.input_length_:
      expected = f"at least {self.input_length_}. Pass a longer series"
      raise validate.error("y: times", len(values), expected)
    elif order is not None:
      self.model_.preparation.check_step("y: index", order.stamps)
    if reset or keep:
      self._end, self._ahead = values[-self.input_length_ :], ahead
    return base.Rows([values], ids=("0",), channels=names, ahead=ahead)

  def _check_sizes(self):
    """Checks the sizes of windows."""
    sizes = {x: getattr(self, x) for x in ("input_length", "horizon")}
    validate.all_positive(**{k: v for k, v in sizes.items() if v is not None})

  def _choose_length(self, values, times, **step):
    """Chooses the input length by the length of a series, if it is not set."""
    if self.input_length is not None:
      return
    period = self.period
    if period is not None:
      validate.integer("period", period, 0)
    else:
      # Missing values are rejected later, or filled.
      whole = values[np.isfinite(values).all(axis=1)]
      period = forecast_season.season(types.SimpleNamespace(**step), whole)
    # Two parts of the series may be held back.
    held = 2 * max(round(times * self.validation_fraction), self.horizon)
    self._length = forecast_season.length_of(
      times - held, max(period, 1), self.horizon
    )

  def _times(self, rows):
    """Returns the length of the series, or of the shortest one."""
    if panel_rows.columns(self) is None:
      return len(rows.values[0])
    return min(len(member.values) for member in rows.values[0].members)

  def _held(self, rows):
    """Returns the length of the validation part and of the calibration part."""
    held = round(self._times(rows) * self.validation_fraction)
    return max(held, self.horizon)

  def _held_back(self, rows: base.Rows) -> float:
    held = self._held(rows)
    trained = self._times(rows) - held * (1 + bool(self.intervals))
    # Most of a series must remain for training.
    return held if trained >= 4 * held + self.input_length_ else 0

  def _material(
    self,
    rows: base.Rows,
    seed: int | None,
    prepared: sources.Source | None = None,
  ) -> base.Material:
    """Returns the spans of the series: training, validation, calibration."""
    if (columns := panel_rows.columns(self)) is not None:
      stops = self._patience(rows) != 0
      material = panel_rows.material(self, columns, rows.values[0], stops)
      self._season = self._season_of(material)
      return material
    values, length = rows.values[0], self.input_length_
    total, held = length + self.horizon, self._held(rows)
    # An update without a seed holds no part back.
    stops = seed is not None and self._patience(rows) != 0
    intervals = seed is not None and bool(self.intervals)
    end = calibrated = len(values) - held * intervals
    end -= held * stops
    if intervals and held - self.horizon + 1 < conformal.FEWEST:
      raise ValueError(
        f"y: got {held - self.horizon + 1} windows to take intervals from, "
        f"expected at least {conformal.FEWEST}: raise "
        "validation_fraction."
      )
    if end < total:
      raise ValueError(
        f"y: got {end} times to train on, expected at least {total}, those of "
        "a window. Lower input_length or horizon, or pass a longer series."
      )
    first = prepared is None
    prepared = prepared or self._preparation(rows, np.arange(end))
    scaled = prepared.standardize(values)
    valid = scaled[end - length : calibrated] if stops else None
    spans = forecasting.Spans(
      scaled[:end], valid, scaled[:total], length, self.horizon
    )
    material = scaled[calibrated - length :] if intervals else valid
    windows = None
    if material is not None:
      windows = forecast_windows.windows(
        material, 0, len(material), length, self.horizon
      )
    one = data.ArrayDataset(scaled[None, :length], scaled[None, length:total])
    material = base.Material(spans, end - total + 1, prepared, one, windows)
    if first:
      self._season = self._season_of(material)
    return material

  def _season_of(self, material: base.Material) -> int:
    """Returns the season of the training data; 0 without a season."""
    if self.period is not None:
      validate.integer("period", self.period, 0, self.input_length_)
      return self.period
    spans = material.source
    first = spans.train
    if spans.series:
      numbers = spans.series["train"]
      first = first[numbers == numbers[0]]
    found = forecast_season.season(material.preparation, first)
    return found if found <= self.input_length_ else 1

  def _variables(
    self, network: Any, variables: PyTree, material: base.Material
  ) -> Any:
    """Returns the variables with intervals, if a part was held back."""
    self._errors = None
    if material.calibration is None:
      return variables
    self._errors = conformal.errors(network, variables, material.calibration)
    return conformal.with_intervals(variables, self._errors)

  def _preparation(self, rows: base.Rows, train: np.ndarray) -> sources.Source:
    values = rows.values[0]
    names = tuple(f"channel_{i}" for i in range(values.shape[1]))
    return sources.WindowSource(
      channels=rows.channels or names,
      **scale.Scale.of(values[train])._asdict(),
      length=self.input_length_,
      horizon=self.horizon,
      **self._step,
    )

  def _configure(self, batch_size: int) -> forecasting.ArmConfig:
    return forecasting.ArmConfig(
      self._network("last"),
      self._recipe(),
      batch_size,
      channels=self.channels,
      normalize=self.normalize,
      from_season=bool(self._season),
      period=self._season or None,
      valid_windows=sizes.VALID_WINDOWS,
    )


def _step(stamps):
  """Returns the preparation's fields for the time step between rows."""
  gaps = np.diff(_time_stamps.seconds(stamps))
  fields: dict[str, Any] = {"step": _time_stamps.usual_step([gaps])}
  if not _time_stamps.is_regular(stamps):
    # Months and working days are not all equally long.
    fields["steps"] = "ignore"
  return fields
