"""The next activity of cases, as an estimator."""

from collections.abc import Sequence
import dataclasses
import functools
from typing import Any
from typing import Self
from typing import final

import jax
import numpy as np

from jaxseq import data
from jaxseq.data import sources
from jaxseq.data.sources import logs
from jaxseq.estimators import _scikit_learn
from jaxseq.estimators import base
from jaxseq.models import model as models
from jaxseq.tasks import base as tasks
from jaxseq.tasks import next_element
from jaxseq.tasks import outputs


@base.documented
@dataclasses.dataclass(eq=False, repr=False)
class NextActivity(base.SizedEstimator):
  """Predicts the next activity of a case, such as a ticket or an order.

    model = NextActivity().fit([["open", "triage", "close"], ["open", "close"]])
    model.predict([["open"]])

  Cases are sequences of activity names, in order of time. Cases of `fit` are
  complete: their ends are learned, too, as the activity "(end)".

  Args:
    OPTIONS

  Attributes:
    classes_: names of the activities and the end, in the order of the
      probabilities.
    model_: a `models.Model`.
    history_: lists by name: "update", metrics of training, and with early
      stopping "valid_brier".
    n_updates_: number of updates at which the variables were found.
  """

  _task = next_element.TASK

  mixer: str = "gru"

  @final
  def fit(self, cases: Sequence[Sequence[object]], y: object = None) -> Self:
    """Trains a network from the beginning.

    Args:
      cases: all activities of each case.
      y: not used.

    Raises:
      ValueError: naming the case that is not as expected.
    """
    del y
    return self._fit(cases)

  @final
  def predict(self, cases: Sequence[Sequence[Any]]) -> np.ndarray:
    """Returns the likeliest next activity, or "(end)", of each case (n,).

    Args:
      cases: the activities of each case so far, one or more.

    Raises:
      ValueError: naming a case without activities, or an unknown activity.
    """
    return self.classes_[self.predict_proba(cases).argmax(axis=1)]

  def predict_proba(self, cases: Sequence[Sequence[object]]) -> np.ndarray:
    """Returns the next activity's probabilities (n, classes), see `predict`."""
    return self._outputs(cases)["probability"]

  def score(self, cases: Sequence[Sequence[Any]], y: Any = None) -> float:
    """Returns the accuracy over all activities and ends of cases.

    Args:
      cases: all activities of each case.
      y: not used.
    """
    del y
    _scikit_learn.validation.check_is_fitted(self, "model_")
    rows = self._read(cases, reset=False)
    part = _over(self.model_.preparation, rows)
    arguments = {**outputs.tokens(None, part), "targets": part.targets}
    right = functools.partial(
      _right, self.model_.network, jax.device_put(self.model_.variables)
    )
    found = models.in_batches(right, arguments)
    return float(found["right"].sum() / found["count"].sum())

  def _read(self, cases: Any, *, reset: bool) -> base.Rows:
    values = [x if isinstance(x, str) else list(map(str, x)) for x in cases]
    if not values:
      raise ValueError("cases: got none, expected at least one.")
    if reset:
      names = sorted({name for case in values for name in case})
      self.classes_ = np.array([*names, logs.END])
    # Training cases are complete; their target is the end.
    return base.Rows(
      values,
      targets=logs.END if reset else None,
      ids=tuple(map(str, range(len(values)))),
    )

  def _preparation(self, rows: base.Rows, train: np.ndarray) -> sources.Source:
    del rows, train
    return logs.LogSource(activities=tuple(self.classes_[:-1].tolist()))

  def _prepare(
    self, prepared: sources.Source, rows: base.Rows
  ) -> data.ArrayDataset:
    if rows.targets is None:
      return prepared.prepare(rows.values)
    return _over(prepared, rows)

  def _configure(self, batch_size: int) -> tasks.ArmConfig:
    return tasks.ArmConfig(self._network("none"), self._recipe(), batch_size)


def _over(prepared, rows):
  """Returns complete cases, with their ends as targets."""
  encoded = [prepared.encode(x, f"case {n}") for n, x in enumerate(rows.values)]
  return logs.traces(encoded, len(prepared.activities) + 1)


@functools.partial(jax.jit, static_argnums=0)
def _right(network, variables, arguments):
  """Returns the counts of right predictions and of targets of each case."""
  logits, _ = network.apply(variables, arguments["tokens"])
  targets = arguments["targets"]
  right = (logits.argmax(axis=-1) == targets - 1) & (targets > 0)
  return {"right": right.sum(axis=1), "count": (targets > 0).sum(axis=1)}
