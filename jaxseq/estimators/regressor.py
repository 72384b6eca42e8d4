"""Regression of whole sequences, or at every element, as an estimator."""

import dataclasses
import functools
from typing import Any
from typing import Self
from typing import final

import jax
import numpy as np

from jaxseq import data
from jaxseq import validate
from jaxseq.data import scale
from jaxseq.data import sources
from jaxseq.estimators import _scikit_learn
from jaxseq.estimators import base
from jaxseq.estimators import series_input
from jaxseq.estimators import updating
from jaxseq.tasks import base as tasks
from jaxseq.tasks import regression
from jaxseq.training import supervised


@base.documented
@dataclasses.dataclass(eq=False, repr=False)
class SequenceRegressor(
  _scikit_learn.base.RegressorMixin, updating.UpdatedEstimator
):
  """Predicts numbers of sequences, by any mixer: mean and standard deviation.

    regressor = SequenceRegressor().fit(X, y)
    mean, deviation = regressor.predict(X_new, return_std=True)

  `fit` takes y, (n,) or (n, numbers). With `stepwise` there is a number at
  every element: (n, time) or (n, time, numbers), for series of one length. Then
  streams can be processed chunk by chunk, of any lengths, with the states
  carried from one to the next, in training (`partial_fit` with carry=True) and
  in prediction (`predict_stream`).

  Args:
    OPTIONS
    stepwise: whether y has numbers at every element.
    pooling: "mean" over time, or the "last" element; without `stepwise`.
    summaries: whether to add a linear map of summaries of the series,
      initialized to 0, to the network's numbers, without `stepwise`; None to
      add it if `fit` has 20 series.
    missing: handling of NaN in X: "refuse", "mask", "forward_fill" or "mean",
      see `data.missing`.
    channels_first: whether arrays are (n, channels, time), as in aeon.

  Attributes:
    model_: a `models.Model`.
    history_: lists by name: "update", metrics of training, and with early
      stopping "valid_mse" and "valid_loss", of standardized targets.
    n_updates_: number of updates at which the variables were found.
    n_features_in_: number of channels; for a table of one channel, of time
      steps.
  """

  _task = regression.TASK

  _: dataclasses.KW_ONLY
  stepwise: bool = False
  pooling: str = "mean"

  def partial_fit(self, X: object, y: Any, *, carry: bool = False) -> Self:
    """Makes one update with all examples, at a constant learning rate.

    The first call, or the first after `fit`, begins from a fresh network. X and
    y are standardized by the mean and deviation of all examples so far.

    Args:
      X: series, see `jaxseq.estimators`.
      y: as in `fit`.
      carry: whether series i continues series i of the last call: its state is
        carried, and gradients stop at the border. Needs `stepwise`.

    Raises:
      ValueError: naming the invalid input.
    """
    if carry and not self.stepwise:
      raise validate.error("carry", True, "False without stepwise")
    return self._go_on(X, y, carry=carry)

  @final
  def predict(self, X: Any, return_std: bool = False) -> Any:
    """Predicts the numbers of series.

    Args:
      X: series.
      return_std: whether to return the standard deviations, too.

    Returns:
      Numbers of the shape of training's y, or a pair of such arrays; with
      `stepwise` as long as the longest series, and NaN after the ends of
      shorter ones.
    """
    examples = self._examples(X)
    outputs = self.model_.outputs(examples.dataset)
    mean, deviation = outputs["mean"], outputs["deviation"]
    lengths = examples.dataset.lengths
    if self.stepwise and lengths is not None:
      outside = np.arange(mean.shape[1]) >= np.asarray(lengths)[:, None]
      mean, deviation = (
        np.where(outside[..., None], np.nan, x) for x in (mean, deviation)
      )
    return self._restored(mean, deviation, return_std)

  def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
    """Returns the coefficient of determination R^2, a mean over numbers.

    Args:
      X: series.
      y: as in `fit`; with `stepwise` all elements of all series count together.
      sample_weight: (n,) weights of the series; equal if None.
    """
    if not self.stepwise:
      return super().score(X, y, sample_weight)
    predicted = self.predict(X)
    y = np.asarray(y, np.float64)
    validate.shape("y", y, predicted.shape)
    weight = sample_weight
    if weight is not None:
      weight = np.repeat(weight, y.shape[1])
    count = 1 if self._flat else y.shape[-1]
    rows = (x.reshape(-1, count) for x in (y, predicted))
    return _scikit_learn.metrics.r2_score(*rows, sample_weight=weight)

  @final
  def predict_stream(self, X: object, return_std: bool = False) -> Any:
    """Predicts the next chunks of streams, carrying the states.

    Args:
      X: series of one common length; each continues the one of the last call.
      return_std: as in `predict`.

    Returns:
      The values of `predict` of the whole streams, for these chunks.

    Raises:
      ValueError: naming the invalid input.
    """
    _scikit_learn.validation.check_is_fitted(self, "model_")
    if not self.stepwise:
      raise validate.error("stepwise", False, "True to follow streams")
    _refuse_gaps(self.model_.preparation)
    part = _of_one_length(self._examples(X).dataset)
    states = getattr(self, "_stream", None)
    updating.check_streams(states, len(part.inputs))
    (mean, variance), self._stream = jax.device_get(
      _apply(self.model_.network, self.model_.variables, part.inputs, states)
    )
    deviation = np.sqrt(np.maximum(variance, regression.FLOOR))
    return self._restored(mean, deviation, return_std)

  def restart_stream(self) -> None:
    """Resets the states that `predict_stream` carries."""
    self.__dict__.pop("_stream", None)

  def _restored(self, mean, deviation, return_std):
    prepared = self.model_.preparation
    mean = prepared.restore_targets(mean)
    deviation = deviation * np.array(prepared.target_deviation)
    if self._flat:
      mean, deviation = mean[..., 0], deviation[..., 0]
    return (mean, deviation) if return_std else mean

  def _targets(self, y: Any, rows: base.Rows, *, reset: bool) -> base.Rows:
    """Returns rows with targets (n, numbers) or (n, time, numbers)."""
    y = series_input.required(self, y)
    axes = 2 if self.stepwise else 1
    y = _scikit_learn.validation.check_array(
      y, ensure_2d=False, allow_nd=True, dtype=np.float64, input_name="y"
    )
    if y.ndim == axes + 1 and y.shape[-1] == 1 and not self.stepwise:
      y = _scikit_learn.validation.column_or_1d(y, warn=True)
    series_input.check_count("y", y, len(rows.values))
    flat = y.ndim == axes
    if reset:
      self._flat = flat
    if y.ndim not in (axes, axes + 1) or flat != self._flat:
      expected = "(n, time)" if self.stepwise else "(n,)"
      raise validate.error("y", f"shape {y.shape}", f"{expected}, or one more")
    return rows._replace(targets=y[..., None] if flat else y)

  def _scaled(self, rows: base.Rows) -> dict[str, np.ndarray]:
    targets = rows.targets.reshape(-1, rows.targets.shape[-1])
    return super()._scaled(rows) | {"target_": targets}

  def _preparation(self, rows: base.Rows, train: np.ndarray) -> sources.Source:
    y = rows.targets
    targets = scale.Scale.of(y[train].reshape(-1, y.shape[-1]))
    standardization = self._standardization(rows, train)
    if self.stepwise:
      # Chunks of streams are not padded: states must end with them.
      standardization["length"] = None
    return sources.SeriesSource(
      targets=tuple(f"target_{i}" for i in range(y.shape[-1])),
      stepwise=self.stepwise,
      target_mean=targets.mean,
      target_deviation=targets.deviation,
      **standardization,
    )

  def _configure(self, batch_size: int) -> regression.ArmConfig:
    network = self._network("none")
    if not self.stepwise:
      network = self._pooled(self.pooling)
    return regression.ArmConfig(network, self._recipe(), batch_size)

  def _problem(self, arm: Any, source: data.Splits) -> regression.Problem:
    if not self.stepwise:
      return regression.Problem(arm, source)
    _of_one_length(source.train)
    _refuse_gaps(source.info.preparation)
    return _StreamProblem(arm, source)


class _StreamProblem(regression.Problem):
  """Regression at every element of streams, whose states are the carry."""

  def loss(self, variables, batch, carry, key):
    """Returns the objective on the next chunks, and the states after them."""
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
    """Returns all streams, in their order."""
    del key, update
    return data["train"]


def _of_one_length(part: data.ArrayDataset) -> data.ArrayDataset:
  """Returns the chunks of streams; rejects chunks of different lengths."""
  if part.lengths is not None:
    ends = sorted({int(x) for x in part.lengths})
    raise validate.error("X: lengths", ends, "one, of all pieces of streams")
  return part


def _refuse_gaps(prepared: Any) -> None:
  """Rejects unequal steps: the gap between two chunks is not known."""
  if prepared.gaps:
    expected = "equal ones to follow streams. Resample them, or use fit alone"
    raise validate.error("X: index", "unequal steps", expected)


@functools.partial(jax.jit, static_argnums=0)
def _apply(network, variables, inputs, states):
  return network.apply(variables, inputs, states=states, with_states=True)
