"""Regression of sequences, as an estimator: whole ones, or at every element."""

from collections.abc import Mapping
import functools
from typing import Any

import jax
import numpy as np

from jaxseq import _validate
from jaxseq import data
from jaxseq.data import preparation as preparations
from jaxseq.estimators import _scikit_learn
from jaxseq.estimators import base
from jaxseq.estimators import series_input
from jaxseq.estimators import updating
from jaxseq.tasks import base as tasks
from jaxseq.tasks import regression
from jaxseq.training import supervised


@base.documented
class SequenceRegressor(
  updating.Updating, _scikit_learn.base.RegressorMixin, base.SequenceEstimator
):
  """Numbers of sequences, by any mixer: mean and standard deviation.

    regressor = SequenceRegressor().fit(X, y)
    mean, deviation = regressor.predict(X_new, return_std=True)

  With `stepwise` there is a number at every element. Then streams can be
  followed piece by piece, the states carried from one to the next, in learning
  (`partial_fit` with carry=True) and in prediction (`predict_stream`).

  Args:
    OPTIONS
    stepwise: whether y has numbers at every element, (n, time) or (n, time,
      numbers), of series of one length.
    pooling: "mean" over time, or the "last" element; of whole sequences.
    missing: what becomes of NaN in X: "refuse", "mask", "forward_fill" or
      "mean", see `data.missing`.
    channels_first: whether arrays are (n, channels, time), as of aeon.

  Attributes:
    model_: a `models.Model`.
    history_: lists by name: "update", metrics of training, and with early
      stopping "valid_mse" and "valid_loss", of standardized targets.
    n_updates_: updates after which the variables were found.
    n_features_in_: channels; of a table of one channel, times.
  """

  _kind = "regression"

  def __init__(
    self,
    mixer: str = "s5",
    *,
    mixer_options: Mapping[str, Any] | None = None,
    d_model: int = 64,
    num_layers: int = 2,
    dropout: float = 0.0,
    stepwise: bool = False,
    pooling: str = "mean",
    num_updates: int = 1000,
    batch_size: int = 32,
    learning_rate: float = 3e-3,
    weight_decay: float = 0.01,
    early_stopping: int = 0,
    validation_fraction: float = 0.1,
    evaluations: int = 20,
    missing: str = "refuse",
    channels_first: bool = False,
    random_state: int | None = None,
    verbose: int = 0,
  ):
    self.mixer = mixer
    self.mixer_options = mixer_options
    self.d_model = d_model
    self.num_layers = num_layers
    self.dropout = dropout
    self.stepwise = stepwise
    self.pooling = pooling
    self.num_updates = num_updates
    self.batch_size = batch_size
    self.learning_rate = learning_rate
    self.weight_decay = weight_decay
    self.early_stopping = early_stopping
    self.validation_fraction = validation_fraction
    self.evaluations = evaluations
    self.missing = missing
    self.channels_first = channels_first
    self.random_state = random_state
    self.verbose = verbose

  def fit(self, X: Any, y: Any) -> "SequenceRegressor":
    """Trains a network from the beginning.

    Args:
      X: series, see `jaxseq.estimators`.
      y: (n,) or (n, numbers); with `stepwise`, (n, time) or (n, time, numbers).

    Raises:
      ValueError: naming what is not as expected.
    """
    series, y = self._read(X, y, reset=True)
    seed = self._seed()
    train, valid = self._divide(len(y), seed)
    splits = self._splits(series, y, train, valid)
    fitted = self._train(functools.partial(self._arm, splits), seed)
    network = self._problem(splits).network
    self._keep(self._kind, network, fitted.variables, splits)
    self._forget_updates()
    self.restart_stream()
    return self

  def partial_fit(
    self, X: Any, y: Any, *, carry: bool = False
  ) -> "SequenceRegressor":
    """Makes one update with all examples, at a constant learning rate.

    The first call, or the first after `fit`, begins from a fresh network; how
    values are standardized is what its examples tell.

    Args:
      X: series, see `jaxseq.estimators`.
      y: as of `fit`.
      carry: whether series i goes on where series i of the last call ended: the
        states are carried, and gradients end at the border. With `stepwise`.

    Raises:
      ValueError: naming what is not as expected.
    """
    if carry and not self.stepwise:
      raise _validate.error("carry", True, "False without stepwise")
    return self._go_on(X, y, carry=carry)

  def predict(self, X: Any, return_std: bool = False) -> Any:
    """Predicts the numbers of series.

    Args:
      X: series.
      return_std: whether their standard deviations are returned, too.

    Returns:
      Numbers of the shape of training's y, or a pair of such arrays.
    """
    found = self._outputs(X)
    return self._restored(found["mean"], found["deviation"], return_std)

  def predict_stream(self, X: Any, return_std: bool = False) -> Any:
    """Predicts the next pieces of streams, with the states carried.

    Args:
      X: series; each goes on where that of the last call ended.
      return_std: as in `predict`.

    Returns:
      As `predict`.
    """
    _scikit_learn.validation.check_is_fitted(self, "model_")
    if not self.stepwise:
      raise _validate.error("stepwise", False, "True to follow streams")
    series = series_input.read(self, X, reset=False)
    part = self.model_.preparation.prepare(series.values)
    states = getattr(self, "_stream", None)
    (mean, variance), self._stream = jax.device_get(
      _apply(self.model_.network, self.model_.variables, part.inputs, states)
    )
    deviation = np.sqrt(np.maximum(variance, regression.FLOOR))
    return self._restored(mean, deviation, return_std)

  def restart_stream(self) -> None:
    """Forgets what `predict_stream` has carried."""
    self.__dict__.pop("_stream", None)

  def _restored(self, mean, deviation, return_std):
    prepared = self.model_.preparation
    mean = prepared.restore_targets(mean)
    deviation = deviation * np.array(prepared.target_deviation)
    if self._flat:
      mean, deviation = mean[..., 0], deviation[..., 0]
    return (mean, deviation) if return_std else mean

  def _read(self, X, y, *, reset):
    """Series, and targets (n, numbers) or (n, time, numbers)."""
    if y is None:
      raise ValueError(
        f"{type(self).__name__} requires y to be passed, but the target y is "
        "None."
      )
    series = series_input.read(self, X, reset=reset)
    axes = 2 if self.stepwise else 1
    y = _scikit_learn.validation.check_array(
      y, ensure_2d=False, allow_nd=True, dtype=np.float64, input_name="y"
    )
    if y.ndim == axes + 1 and y.shape[-1] == 1 and not self.stepwise:
      y = _scikit_learn.validation.column_or_1d(y, warn=True)
    series_input.check_count("y", y, len(series.values))
    flat = y.ndim == axes
    if reset:
      self._flat = flat
    if y.ndim not in (axes, axes + 1) or flat != self._flat:
      expected = "(n, time)" if self.stepwise else "(n,)"
      raise _validate.error("y", f"shape {y.shape}", f"{expected}, or one more")
    return series, y[..., None] if flat else y

  def _splits(self, series, y, train, valid) -> data.Splits:
    known = y[train].reshape(-1, y.shape[-1])
    deviation = known.std(0)
    prepared = self._prepared(
      series,
      train,
      targets=tuple(f"target_{i}" for i in range(y.shape[-1])),
      stepwise=self.stepwise,
      target_mean=preparations.as_numbers(known.mean(0)),
      target_deviation=preparations.as_numbers(
        np.where(deviation > 0, deviation, 1.0)
      ),
    )
    return base.splits_of(
      prepared.prepare(series.values, targets=y),
      train,
      valid,
      channels=prepared.channels,
      preparation=prepared,
    )

  def _problem(self, splits, whole=False):
    count = len(splits.train.targets)
    size = count if whole else min(self.batch_size, count)
    network = self._network("none" if self.stepwise else self.pooling)
    config = regression.ArmConfig(network, self._recipe(), size)
    if whole and self.stepwise:
      return _StreamProblem(config, splits)
    return regression.Problem(config, splits)

  def _arm(self, splits, config):
    problem = self._problem(splits)
    return tasks.make_arm(
      config,
      problem.arm,
      problem,
      "mse",
      "sequences",
      better="lower",
    )


class _StreamProblem(regression.Problem):
  """Numbers at every element of streams, whose states are the carry."""

  def loss(self, variables, batch, carry, key):
    """Returns the objective on the next pieces, and the states behind them."""
    (outputs, states), collections, penalty = tasks.in_training(
      self.network,
      variables,
      key,
      *self.inputs(batch),
      states=carry,
      with_states=True,
    )
    metrics, _ = self.score(outputs, batch)
    states = jax.lax.stop_gradient(states)
    value = metrics[self.objective] + penalty
    return value, supervised.Loss({}, collections, states)

  def sample(self, key, update, data):
    """All streams, in their order."""
    del key, update
    return data["train"]


@functools.partial(jax.jit, static_argnums=0)
def _apply(network, variables, inputs, states):
  return network.apply(variables, inputs, states=states, with_states=True)
