"""Classification of sequences, as an estimator."""

import dataclasses
from typing import Any
from typing import Self
from typing import final

import numpy as np

from jaxseq.data import sources
from jaxseq.estimators import _scikit_learn
from jaxseq.estimators import base
from jaxseq.estimators import series_input
from jaxseq.estimators import updating
from jaxseq.tasks import base as tasks
from jaxseq.tasks import classification


@base.documented
@dataclasses.dataclass(eq=False, repr=False)
class SequenceClassifier(
  _scikit_learn.base.ClassifierMixin, updating.UpdatedEstimator
):
  """Sequence classifier, with any mixer.

    classifier = SequenceClassifier(mixer="gru", early_stopping=5)
    classifier.fit(X, y)
    classifier.predict_proba(X_new)

  `fit` takes y, (n,) labels.

  Args:
    OPTIONS
    pooling: "mean" over time, or the "last" element.
    summaries: whether the network starts as a linear model of summaries of the
      series, see `tasks.summary_start`; None if `fit` has 20 of them.
    missing: handling of NaN: "refuse", "mask", "forward_fill" or "mean",
      see `data.missing`.
    channels_first: whether arrays are (n, channels, time), as in aeon.

  Attributes:
    classes_: labels, in the order of the columns of `predict_proba`.
    model_: a `models.Model`.
    history_: lists by name: "update", metrics of training, and with early
      stopping "valid_accuracy" and "valid_loss".
    n_updates_: number of updates at which the variables were found.
    n_features_in_: number of channels; for a table of one channel, of times.
  """

  _task = classification.TASK

  _: dataclasses.KW_ONLY
  pooling: str = "mean"

  def partial_fit(self, X: object, y: object, classes: Any = None) -> Self:
    """Makes one update with all examples, at a constant learning rate.

    The first call, or the first after `fit`, starts from a fresh network. X is
    standardized by the mean and deviation of all examples so far.

    Args:
      X: series, see `jaxseq.estimators`.
      y: (n,) labels.
      classes: all labels of this and later calls; for the first call.

    Raises:
      ValueError: naming the invalid input.
    """
    return self._go_on(X, y, classes=classes)

  @final
  def predict_proba(self, X: object) -> np.ndarray:
    """Returns the probability of each class, (n, classes)."""
    share = self._outputs(X)["probability"].astype(np.float64)
    return share / share.sum(axis=1, keepdims=True)

  @final
  def predict(self, X: Any) -> np.ndarray:
    """Returns the most probable label of each series, (n,)."""
    probability = self.predict_proba(X)
    return self.classes_[np.argmax(probability, axis=1)]

  def _targets(
    self, y: Any, rows: base.Rows, *, reset: bool, classes: Any = None
  ) -> base.Rows:
    """Adds class numbers to rows."""
    y = series_input.required(self, y)
    y = _scikit_learn.validation.column_or_1d(y, warn=True)
    _scikit_learn.validation.assert_all_finite(y, input_name="y")
    series_input.check_count("y", y, len(rows.values))
    if None in (labels := y.tolist()):
      row = labels.index(None)
      raise ValueError(f"y: got None in row {row}, expected a class.")
    _scikit_learn.multiclass.check_classification_targets(y)
    if reset:
      self.classes_ = np.unique(y if classes is None else classes)
      if len(self.classes_) < 2:
        raise ValueError(
          f"y: got one class, {self.classes_.tolist()[0]!r}, expected at least "
          "two. Add examples of another one; the first partial_fit takes all "
          "that will ever come as `classes`."
        )
    codes = np.searchsorted(self.classes_, y)
    codes = np.minimum(codes, len(self.classes_) - 1).astype(np.int32)
    wrong = self.classes_[codes] != y
    if wrong.any():
      raise ValueError(
        f"y: got class {y[wrong].tolist()[0]!r}, expected one of "
        f"{self.classes_.tolist()}, as in training; the first partial_fit "
        "takes all that will ever come as `classes`."
      )
    return rows._replace(targets=codes, classes=codes)

  def _preparation(self, rows: base.Rows, train: np.ndarray) -> sources.Source:
    names = tuple(map(str, self.classes_))
    return sources.SeriesSource(
      classes=names, **self._standardization(rows, train)
    )

  def _configure(self, batch_size: int) -> tasks.ArmConfig:
    network = self._pooled(self.pooling)
    return tasks.ArmConfig(network, self._recipe(), batch_size)
