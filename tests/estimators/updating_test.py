"""An estimator of one's own, of data in a form of its own, goes on learning."""

import dataclasses

import jax
import numpy as np

from jaxseq.data import sources
from jaxseq.estimators import base
from jaxseq.estimators import updating
from jaxseq.tasks import base as tasks
from jaxseq.tasks import classification
from tests.estimators import cases


@dataclasses.dataclass(eq=False, repr=False)
class Lines(updating.Updated):
  """Classes of lines of numbers, such as "1 2 3"."""

  _task = classification.TASK

  def fit(self, X, y):
    return self._fit(X, y)

  def partial_fit(self, X, y):
    return self._go_on(X, y)

  def predict(self, X):
    return self._outputs(X)["probability"].argmax(axis=1)

  def _read(self, X, y=None, *, reset):
    values = [np.array(line.split(), np.float32)[:, None] for line in X]
    targets = None if y is None else np.asarray(y, np.int32)
    return base.Rows(values, targets, tuple(map(str, range(len(X)))))

  def _preparation(self, rows, train):
    length = max(len(rows.values[i]) for i in train)
    one = {"mean": (0.0,), "deviation": (1.0,), "length": length}
    return sources.SeriesSource(channels=("number",), classes=("a", "b"), **one)

  def _configure(self, batch_size):
    return tasks.ArmConfig(self._network("mean"), self._recipe(), batch_size)


def test_an_estimator_of_ones_own_goes_on_by_one_line():
  X, y = ["1 2 3", "4 5 6", "7 8", "2 1 2"], [0, 1, 1, 0]
  lines = Lines(**cases.SMALL).partial_fit(X, y)
  first = lines.model_.variables
  assert lines.partial_fit(X[:2], y[:2]).n_updates_ == 2
  assert lines.predict(X).shape == (4,)
  pairs = zip(*map(jax.tree.leaves, (first, lines.model_.variables)))
  assert any(np.any(before != after) for before, after in pairs)
  fitted = Lines(**cases.SMALL, num_updates=2).fit(X, y)
  assert fitted.n_updates_ == 2
