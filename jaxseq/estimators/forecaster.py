"""Forecasts of a series, as an estimator."""

from collections.abc import Mapping
import functools
from typing import Any

import numpy as np

from jaxseq import _validate
from jaxseq import data
from jaxseq.data import forecast_windows
from jaxseq.data import preparation as preparations
from jaxseq.estimators import _scikit_learn
from jaxseq.estimators import base
from jaxseq.models import conformal
from jaxseq.tasks import base as tasks
from jaxseq.tasks import forecasting


@base.documented
class Forecaster(base.SequenceEstimator):
  """The next values of one long series of one or several channels.

    forecaster = Forecaster(input_length=48, horizon=24).fit(y)
    forecaster.predict()          # what follows y
    forecaster.predict(y_later)   # what follows this
    forecaster.predict_interval(level=95)  # with early_stopping or intervals

  Args:
    OPTIONS
    input_length: times that a forecast is made from.
    horizon: times that are forecast.
    channels: "independent": each channel is a sequence of its own, and all have
      one network; "mixed": they are read together.
    normalize: whether each window is shifted and scaled to mean 0 and standard
      deviation 1, and its forecast put back.
    intervals: whether the end of the series is held back from training without
      early stopping, too: its errors tell how wide intervals are.

  Attributes:
    model_: a `models.Model`.
    history_: lists by name: "update", metrics of training, and with early
      stopping "valid_mse" and "valid_mae", of standardized values.
    n_updates_: updates after which the variables were found.
  """

  def __init__(
    self,
    mixer: str = "s5",
    *,
    mixer_options: Mapping[str, Any] | None = None,
    input_length: int = 96,
    horizon: int = 24,
    channels: str = "independent",
    normalize: bool = True,
    intervals: bool = False,
    d_model: int = 64,
    num_layers: int = 2,
    dropout: float = 0.0,
    num_updates: int = 1000,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.01,
    early_stopping: int = 0,
    validation_fraction: float = 0.1,
    evaluations: int = 20,
    random_state: int | None = None,
    verbose: int = 0,
  ):
    self.mixer = mixer
    self.mixer_options = mixer_options
    self.input_length = input_length
    self.horizon = horizon
    self.channels = channels
    self.normalize = normalize
    self.intervals = intervals
    self.d_model = d_model
    self.num_layers = num_layers
    self.dropout = dropout
    self.num_updates = num_updates
    self.batch_size = batch_size
    self.learning_rate = learning_rate
    self.weight_decay = weight_decay
    self.early_stopping = early_stopping
    self.validation_fraction = validation_fraction
    self.evaluations = evaluations
    self.random_state = random_state
    self.verbose = verbose

  def fit(self, y: Any) -> "Forecaster":
    """Trains a network on all windows of a series.

    Args:
      y: (time,) or (time, channels) numbers, an array or a frame. With early
        stopping or intervals the last `validation_fraction` of it is not
        trained on: it tells when to stop, and how far forecasts are off.

    Raises:
      ValueError: naming what is not as expected.
    """
    _validate.all_positive(input_length=self.input_length, horizon=self.horizon)
    values, names = _values(y)
    total = self.input_length + self.horizon
    held = 0
    if self.early_stopping or self.intervals:
      held = max(round(len(values) * self.validation_fraction), self.horizon)
    count = held - self.horizon + 1
    if self.intervals and count < _least():
      raise ValueError(
        f"y: got {count} windows to take intervals from, expected at least "
        f"{_least()}: raise validation_fraction."
      )
    end = len(values) - held
    if end < total:
      raise ValueError(
        f"y: got {end} times to train on, expected at least {total}, those of "
        "a window."
      )
    mean, deviation = values[:end].mean(0), values[:end].std(0)
    prepared = preparations.Preparation(
      "forecast",
      channels=names,
      mean=preparations.as_numbers(mean),
      deviation=preparations.as_numbers(
        np.where(deviation > 0, deviation, 1.0)
      ),
      length=self.input_length,
      horizon=self.horizon,
    )
    scaled = prepared.standardize(values)
    # Without validation the arm never looks at this part.
    valid = scaled[end - self.input_length :] if held else scaled[-total:]
    spans = forecasting.Spans(
      scaled[:end], valid, valid, self.input_length, self.horizon
    )
    seed = self._seed()
    fitted = self._train(functools.partial(self._arm, spans, bool(held)), seed)
    window = scaled[None, :total]
    one = data.ArrayDataset(
      window[:, : self.input_length], window[:, self.input_length :]
    )
    tested = None
    if held:
      tested = forecast_windows.windows(
        valid, 0, len(valid), self.input_length, self.horizon
      )
    info = data.Info(
      "A series handed to an estimator.",
      "memory",
      "",
      channels=names,
      preparation=prepared,
    )
    network = self._problem(spans).network
    splits = data.Splits(one, tested, one, info)
    self._keep("forecasting", network, fitted.variables, splits)
    self._flat, self._end = np.ndim(y) == 1, values[-self.input_length :]
    self.n_features_in_ = values.shape[1]
    return self

  def predict(self, y: Any = None) -> np.ndarray:
    """Forecasts what follows a series.

    Args:
      y: at least `input_length` times, as in `fit`; the end of the training's
        series if None.

    Returns:
      (horizon,) or (horizon, channels), in the units of the series.

    Raises:
      ValueError: naming what is not as expected.
    """
    return self._forecast(y, ("forecast",))[0]

  def predict_interval(self, y: Any = None, level: int = 80) -> np.ndarray:
    """Forecasts where the values that follow a series will lie.

    The intervals are those of split conformal prediction, see
    `models.conformal`, for each step and channel by itself: of truths like
    those at the end of the training's series they hold `level` per cent.

    Args:
      y: as for `predict`.
      level: one of `models.conformal.LEVELS`, in per cent.

    Returns:
      (horizon, 2) or (horizon, channels, 2): lower and upper end, in the units
      of the series.

    Raises:
      ValueError: naming what is not as expected; among it, that no part of the
        series was held back, or one too short for the level.
    """
    _scikit_learn.validation.check_is_fitted(self, "model_")
    there = sorted(self.model_.variables.get(conformal.COLLECTION, ()))
    if not there:
      raise ValueError(
        "predict_interval: got a network without intervals, expected one that "
        "was fitted with intervals=True, or with early_stopping and at least "
        f"{_least()} windows of validation."
      )
    if str(level) not in there:
      raise _validate.error("level", level, f"one of {', '.join(there)}")
    names = f"lower_{level}", f"upper_{level}"
    return np.stack(self._forecast(y, names), axis=-1)

  def _forecast(self, y, names):
    """Some of what the network says of a series, in the series' units."""
    _scikit_learn.validation.check_is_fitted(self, "model_")
    values = self._end if y is None else _values(y, self.n_features_in_)[0]
    prepared = self.model_.preparation
    outputs = self.model_.outputs(prepared.prepare([values]))
    found = [prepared.restore(outputs[name])[0] for name in names]
    return [x[:, 0] for x in found] if self._flat else found

  def score(self, y: Any) -> float:
    """Scores all windows of a series.

    Args:
      y: as in `fit`.

    Returns:
      The coefficient of determination R^2 of the forecasts: 1 is best, and 0 is
      that of the mean of the values to be forecast.
    """
    _scikit_learn.validation.check_is_fitted(self, "model_")
    values, _ = _values(y, self.n_features_in_)
    total = self.input_length + self.horizon
    if len(values) < total:
      raise ValueError(
        f"y: got {len(values)} times, expected at least {total}."
      )
    prepared = self.model_.preparation
    windows = np.lib.stride_tricks.sliding_window_view(values, total, axis=0)
    windows = np.moveaxis(windows, -1, 1)
    inputs = prepared.standardize(windows[:, : self.input_length])
    future = windows[:, self.input_length :]
    part = data.ArrayDataset(inputs, np.zeros_like(future, np.float32))
    error = prepared.restore(self.model_.outputs(part)["forecast"]) - future
    spread = future - future.mean((0, 1))
    return float(1 - np.square(error).sum() / np.square(spread).sum())

  def _problem(self, spans):
    total = self.input_length + self.horizon
    size = min(self.batch_size, len(spans.train) - total + 1)
    network = self._network("last")
    options = {"channels": self.channels, "normalize": self.normalize}
    config = forecasting.ArmConfig(network, self._recipe(), size, **options)
    return forecasting.Problem(config, spans)

  def _arm(self, spans, has_validation, config):
    problem = self._problem(spans)
    problem.part = "validation" if has_validation else "test"
    return tasks.make_arm(
      config,
      problem.arm,
      problem,
      "mse",
      "windows",
      better="lower",
    )


def _least():
  """Windows that intervals take, at least."""
  return conformal.fewest(conformal.LEVELS[0])


def _values(y, width=None):
  """Finite numbers (time, channels) in float64, and names of the channels."""
  names = tuple(map(str, y.columns)) if hasattr(y, "columns") else None
  array = _scikit_learn.validation.check_array(
    y, ensure_2d=False, dtype=np.float64, input_name="y"
  )
  array = array[:, None] if array.ndim == 1 else array
  if width is not None and array.shape[1] != width:
    raise _validate.error("y: channels", array.shape[1], f"{width}, as in fit")
  names = names or tuple(f"channel_{i}" for i in range(array.shape[1]))
  return array, names
