"""Classification of sequences, as an estimator."""

from collections.abc import Mapping
import functools
from typing import Any

import numpy as np

from jaxseq import data
from jaxseq.estimators import _scikit_learn
from jaxseq.estimators import base
from jaxseq.estimators import series_input
from jaxseq.estimators import updating
from jaxseq.tasks import base as tasks
from jaxseq.tasks import classification


@base.documented
class SequenceClassifier(
  updating.Updating, _scikit_learn.base.ClassifierMixin, base.SequenceEstimator
):
  """Classes of sequences, by any mixer.

    classifier = SequenceClassifier(mixer="gru", early_stopping=5)
    classifier.fit(X, y)
    classifier.predict_proba(X_new)

  Args:
    OPTIONS
    pooling: "mean" over time, or the "last" element.
    missing: what becomes of NaN: "refuse", "mask", "forward_fill" or "mean",
      see `data.missing`.
    channels_first: whether arrays are (n, channels, time), as of aeon.

  Attributes:
    classes_: labels, in the order of the columns of `predict_proba`.
    model_: a `models.Model`.
    history_: lists by name: "update", metrics of training, and with early
      stopping "valid_accuracy" and "valid_loss".
    n_updates_: updates after which the variables were found.
    n_features_in_: channels; of a table of one channel, times.
  """

  _kind = "classification"

  def __init__(
    self,
    mixer: str = "s5",
    *,
    mixer_options: Mapping[str, Any] | None = None,
    d_model: int = 64,
    num_layers: int = 2,
    dropout: float = 0.0,
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

  def fit(self, X: Any, y: Any) -> "SequenceClassifier":
    """Trains a network from the beginning.

    Args:
      X: series, see `jaxseq.estimators`.
      y: (n,) labels.

    Raises:
      ValueError: naming what is not as expected.
    """
    series, codes = self._read(X, y, reset=True)
    seed = self._seed()
    train, valid = self._divide(len(codes), seed, codes)
    splits = self._splits(series, codes, train, valid)
    fitted = self._train(functools.partial(self._arm, splits), seed)
    network = self._problem(splits).network
    self._keep(self._kind, network, fitted.variables, splits)
    self._forget_updates()
    return self

  def partial_fit(
    self, X: Any, y: Any, classes: Any = None
  ) -> "SequenceClassifier":
    """Makes one update with all examples, at a constant learning rate.

    The first call, or the first after `fit`, begins from a fresh network; how
    values are standardized is what its examples tell.

    Args:
      X: series, see `jaxseq.estimators`.
      y: (n,) labels.
      classes: all labels that will ever come; of the first call.

    Raises:
      ValueError: naming what is not as expected.
    """
    return self._go_on(X, y, classes=classes)

  def predict_proba(self, X: Any) -> np.ndarray:
    """Returns the probability of each class, (n, classes)."""
    found = self._outputs(X)["probability"].astype(np.float64)
    return found / found.sum(axis=1, keepdims=True)

  def predict(self, X: Any) -> np.ndarray:
    """Returns the most probable label of each series, (n,)."""
    probability = self.predict_proba(X)
    return self.classes_[np.argmax(probability, axis=1)]

  def _read(self, X, y, *, reset, classes=None):
    """Series and the numbers of their classes."""
    if y is None:
      raise ValueError(
        f"{type(self).__name__} requires y to be passed, but the target y is "
        "None."
      )
    series = series_input.read(self, X, reset=reset)
    y = _scikit_learn.validation.column_or_1d(y, warn=True)
    _scikit_learn.validation.assert_all_finite(y, input_name="y")
    series_input.check_count("y", y, len(series.values))
    _scikit_learn.multiclass.check_classification_targets(y)
    if reset:
      self.classes_ = np.unique(y if classes is None else classes)
      if len(self.classes_) < 2:
        raise ValueError(
          f"y: got one class, {self.classes_[0]!r}, expected at least two."
        )
    codes = np.searchsorted(self.classes_, y)
    codes = np.minimum(codes, len(self.classes_) - 1)
    wrong = self.classes_[codes] != y
    if wrong.any():
      raise ValueError(
        f"y: got class {y[np.argmax(wrong)]!r}, expected one of "
        f"{self.classes_.tolist()}, as in training."
      )
    return series, codes.astype(np.int32)

  def _splits(self, series, codes, train, valid) -> data.Splits:
    names = tuple(map(str, self.classes_))
    prepared = self._prepared(series, train, classes=names)
    return base.splits_of(
      prepared.prepare(series.values, targets=codes),
      train,
      valid,
      num_classes=len(names),
      classes=names,
      channels=prepared.channels,
      preparation=prepared,
    )

  def _problem(self, splits, whole=False):
    count = len(splits.train.targets)
    size = count if whole else min(self.batch_size, count)
    network = self._network(self.pooling)
    config = tasks.ArmConfig(network, self._recipe(), size)
    return classification.Problem(config, splits)

  def _arm(self, splits, config):
    problem = self._problem(splits)
    return tasks.make_arm(
      config,
      problem.arm,
      problem,
      "accuracy",
      "sequences",
      better="higher",
    )
