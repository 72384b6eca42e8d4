"""Events in continuous time, as an estimator."""

from collections.abc import Mapping
from collections.abc import Sequence
import functools
from typing import Any

import jax
import numpy as np

from jaxseq import models
from jaxseq.data import preparation as preparations
from jaxseq.estimators import _scikit_learn
from jaxseq.estimators import base
from jaxseq.tasks import base as tasks
from jaxseq.tasks import event_network
from jaxseq.tasks import events


@base.documented
class EventModel(base.SequenceEstimator):
  """Marked temporal point processes: when is the next event, and which?

    model = EventModel().fit(times, marks)
    model.predict(times_new, marks_new)["gap_expected"]

  Args:
    OPTIONS
    components: log-normal distributions in the mixture of the next gap.
    observed_until: when the observation of all sequences ends; the last event
      of all if None.

  Attributes:
    classes_: marks, in the order of their probabilities.
    model_: a `models.Model`.
    history_: lists by name: "update", metrics of training, and with early
      stopping "valid_nll", nats per event.
    n_updates_: updates after which the variables were found.
  """

  def __init__(
    self,
    mixer: str = "gru",
    *,
    mixer_options: Mapping[str, Any] | None = None,
    components: int = 16,
    observed_until: float | None = None,
    d_model: int = 64,
    num_layers: int = 1,
    dropout: float = 0.0,
    num_updates: int = 1000,
    batch_size: int = 32,
    learning_rate: float = 3e-3,
    weight_decay: float = 0.01,
    early_stopping: int = 0,
    validation_fraction: float = 0.1,
    evaluations: int = 20,
    random_state: int | None = None,
    verbose: int = 0,
  ):
    self.mixer = mixer
    self.mixer_options = mixer_options
    self.components = components
    self.observed_until = observed_until
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

  def fit(
    self, times: Sequence[Any], marks: Sequence[Any] | None = None
  ) -> "EventModel":
    """Trains a network from the beginning.

    Args:
      times: for each sequence the times of its events, above 0 and increasing.
      marks: for each sequence the marks of its events; all alike if None.

    Raises:
      ValueError: naming what is not as expected.
    """
    times = [np.asarray(row, np.float64) for row in times]
    if not times or not any(map(len, times)):
      raise ValueError("times: got no events, expected sequences with some.")
    marks = _marks(times, marks)
    self.classes_ = np.unique(np.concatenate([np.asarray(x) for x in marks]))
    until = self.observed_until
    if until is None:
      until = max(float(row[-1]) for row in times if len(row))
    prepared = preparations.Preparation(
      "events",
      classes=tuple(map(str, self.classes_)),
      horizon=float(until),
      length=max(map(len, times)),
    )
    part = prepared.prepare(_words(marks), times=times)
    seed = self._seed()
    train, valid = self._divide(len(times), seed)
    splits = base.splits_of(
      part,
      train,
      valid,
      num_classes=len(self.classes_),
      classes=prepared.classes,
      horizon=float(until),
      preparation=prepared,
    )
    fitted = self._train(functools.partial(self._arm, splits), seed)
    network = self._problem(splits).network
    self._keep("events", network, fitted.variables, splits)
    return self

  def predict(
    self, times: Sequence[Any], marks: Sequence[Any] | None = None
  ) -> models.Predictions:
    """Predicts the event after each event, and the one that is to come.

    Args:
      times: as in `fit`.
      marks: as in `fit`.

    Returns:
      Named columns, see docs/predictions.md; the rows without a "gap" are what
      follows the last event of each sequence.
    """
    examples = self._examples(times, marks)
    return self.model_.predict(examples)

  def score(
    self, times: Sequence[Any], marks: Sequence[Any] | None = None
  ) -> float:
    """Returns the mean log likelihood in nats per event; higher is better."""
    part = self._examples(times, marks).dataset
    batch = tasks.host(events.sequences(part))
    network, horizon = self.model_.network, self.model_.preparation.horizon
    metrics = jax.jit(
      lambda variables, batch: _score(network, variables, batch, horizon)
    )(self.model_.variables, batch)
    return -float(metrics)

  def _examples(self, times, marks):
    _scikit_learn.validation.check_is_fitted(self, "model_")
    times = [np.asarray(row, np.float64) for row in times]
    marks = _marks(times, marks)
    part = self.model_.preparation.prepare(_words(marks), times=times)
    names = tuple(map(str, range(len(times))))
    return preparations.Examples(names, part)

  def _problem(self, splits):
    size = min(self.batch_size, len(splits.train.targets))
    config = event_network.ArmConfig(
      self._network("none"), self._recipe(), size, components=self.components
    )
    if splits.valid is None:
      splits = splits._replace(valid=splits.train)
    return events.Problem(config, splits)

  def _arm(self, splits, config):
    problem = self._problem(splits)
    problem.part = "test" if splits.valid is None else "validation"
    return tasks.make_arm(
      config,
      problem.arm,
      problem,
      "nll",
      "sequences",
      better="lower",
    )


def _score(network, variables, batch, horizon):
  """Negative log likelihood in nats per event."""
  outputs = network.apply(variables, *events.network_inputs(batch, horizon))
  terms = events.log_likelihood(outputs, batch, horizon)
  return events.per_event(terms, batch.lengths)[0]


def _marks(times, marks):
  """Marks of each sequence, as many as times."""
  if marks is None:
    return [np.zeros(len(row), np.int32) for row in times]
  marks = list(marks)
  if list(map(len, marks)) != list(map(len, times)):
    raise ValueError(
      "marks: got other numbers of events than times, expected one mark each."
    )
  return marks


def _words(marks):
  """Marks by the names that the preparation knows."""
  return [[str(x) for x in np.asarray(row)] for row in marks]
