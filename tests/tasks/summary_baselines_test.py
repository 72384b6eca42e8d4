"""The rows of linear models beside networks on series."""

import numpy as np
import pytest

from jaxseq import data
from jaxseq.tasks import classification
from jaxseq.tasks import regression
from jaxseq.tasks import summary_baselines


def _splits(inputs, targets, lengths=None):
  part = data.ArrayDataset(np.float32(inputs), targets, lengths)
  info = data.Info("Made", "memory", "", num_classes=2)
  halves = np.arange(len(inputs)) % 2
  train, test = (data.take(part, halves == i) for i in range(2))
  return data.Splits(train, None, test, info)


def _levels(count=80):
  """Series of two levels; what lies behind their ends is far away."""
  rng = np.random.default_rng(0)
  targets = rng.integers(0, 2, count).astype(np.int32)
  lengths = rng.integers(3, 9, count)
  inputs = rng.normal(size=(count, 8, 2)) + 3 * targets[:, None, None]
  inputs[np.arange(8) >= lengths[:, None]] = 1e6
  return inputs, targets, lengths


def test_summaries_are_those_of_the_elements_before_the_end():
  inputs, targets, lengths = _levels(3)
  part = _splits(inputs, targets, lengths).train
  found = summary_baselines.summaries(part)
  assert found.shape == (2, 10)
  for row, series, end in zip(found, part.inputs, part.lengths):
    x = np.float64(series[:end])
    wanted = [x.mean(0), x.std(0), x.min(0), x.max(0), x[-1]]
    np.testing.assert_allclose(row, np.concatenate(wanted), rtol=1e-6)


def test_the_penalty_is_the_best_of_examples_left_out():
  rng = np.random.default_rng(1)
  x, y = rng.normal(size=(24, 6)), rng.normal(size=(24, 2))
  x = (x - x.mean(0)) / x.std(0)
  y[:, :1] += x[:, :1]

  def predicted(rows, penalty):
    """Weights by the normal equations, the mean not penalized."""
    ones = np.concatenate([np.ones((len(rows), 1)), x[rows]], axis=1)
    gram = ones.T @ ones + 24 * penalty * np.diag([0.0] + [1.0] * 6)
    weights = np.linalg.solve(gram, ones.T @ y[rows])
    return np.concatenate([np.ones((24, 1)), x], axis=1) @ weights

  def error(penalty):
    rows = np.arange(24)
    each = [
      (y[i] - predicted(np.delete(rows, i), penalty)[i]) ** 2 for i in rows
    ]
    return np.mean(each)

  best = min(10.0 ** np.arange(-4, 3), key=error)
  found = summary_baselines.ridge(x, y)(x)
  np.testing.assert_allclose(found, predicted(np.arange(24), best), rtol=1e-9)


def test_tables_have_the_row_for_classes_and_for_numbers():
  inputs, targets, lengths = _levels()
  splits = _splits(inputs, targets, lengths)
  line = classification.TASK.of(splits)
  rows = line.baselines(splits, None, "test")
  assert rows["linear on summaries"]["accuracy"] > 0.95
  assert rows["linear on summaries"]["test_loss"] < 0.2
  assert not line.baselines(splits, None, "valid")
  numbers = _splits(inputs, np.float32(targets)[:, None], lengths)
  rows = regression.TASK.baselines(numbers, None, "test")
  assert rows["linear on summaries"]["mse"] < 0.05


@pytest.mark.parametrize("what", ["tokens", "pairs", "elements"])
def test_other_data_have_no_such_row(what):
  inputs, targets, lengths = _levels()
  splits = _splits(inputs, targets, lengths)
  train = splits.train
  other = {
    "tokens": train._replace(inputs=train.inputs[..., 0].astype(np.int32)),
    "pairs": train._replace(extras=data.Extras(second=train.inputs)),
    "elements": train._replace(targets=np.zeros((40, 8), np.int32)),
  }[what]
  splits = splits._replace(train=other)
  rows = summary_baselines.of_classes(splits, "test")
  assert "linear on summaries" not in rows
  assert ("most frequent" in rows) == (what != "elements")


def test_the_most_frequent_class_is_that_of_the_training_part():
  targets = np.array([0, 1, 0, 1, 0, 0, 1, 0], np.int32)
  splits = _splits(np.zeros((8, 3, 1)), targets)
  row = summary_baselines.of_classes(splits, "test")["most frequent"]
  # Of the training part 3 of 4 are class 0, and of the test part 2 of 4.
  assert row["accuracy"] == 0.5
  np.testing.assert_allclose(row["test_loss"], -np.log([0.75, 0.25]).mean())
