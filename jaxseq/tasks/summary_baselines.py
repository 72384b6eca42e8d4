"""Linear models of summaries, as baselines for networks on series.

The summary of a series is the mean, the standard deviation, the minimum, the
maximum and the last value of each channel, and a ridge regression on it
predicts the class or the numbers of the series.
"""

from typing import NamedTuple

import numpy as np
from scipy import special

from jaxseq import data
from jaxseq.data import datasets

LABEL = "linear on summaries"
FREQUENT = "most frequent"
# Penalties to try, per example.
_PENALTIES = 10.0 ** np.arange(-4, 3)
# Factors to try between the scores of a regression and logits.
_FACTORS = np.geomspace(0.5, 50.0, 41)
# Number of series that are summarized at once, and maximum size of a summary.
_AT_ONCE = 1_024
_MOST = 2_048


def of_classes(splits: data.Splits, part: str) -> dict[str, dict[str, float]]:
  """Returns "accuracy" and "test_loss" (nats) of the baselines, by label.

  The most frequent class is that of the training part, whose class shares are
  the probabilities.

  Args:
    splits: examples with a class each.
    part: "valid" or "test".

  Returns:
    No rows if classes are not per example, and only that of the most frequent
    class if inputs are not series of numbers.
  """
  asked, train = getattr(splits, part), splits.train
  if asked is None or np.ndim(train.targets) != 1:
    return {}
  size = splits.info.num_classes
  counts = np.bincount(train.targets, minlength=size)
  # A class without examples counts as half an example.
  shares = np.maximum(counts, 0.5) / np.maximum(counts, 0.5).sum()
  rows = {
    FREQUENT: {
      "accuracy": float((asked.targets == counts.argmax()).mean()),
      "test_loss": float(-np.log(shares[asked.targets]).mean()),
    }
  }
  if fits(train, 1):
    logits = class_logits(train, size)(summaries(asked))
    right = logits.argmax(axis=1) == asked.targets
    loss = _cross_entropy(logits, asked.targets)
    rows[LABEL] = {"accuracy": float(right.mean()), "test_loss": loss}
  return rows


def of_numbers(splits: data.Splits, part: str) -> dict[str, dict[str, float]]:
  """Returns the "mse" of the baseline, by its label.

  Args:
    splits: examples with numbers each, (n, numbers), which are standardized.
    part: "valid" or "test".

  Returns:
    No row if inputs are not series of numbers, or targets are per element.
  """
  asked = getattr(splits, part)
  if asked is None or not fits(splits.train, 2):
    return {}
  predict = ridge(summaries(splits.train), splits.train.targets)
  error = predict(summaries(asked)) - asked.targets
  return {LABEL: {"mse": float((error**2).mean())}}


def summaries(part: data.ArrayDataset) -> np.ndarray:
  """Returns the summary (n, 5 channels) of each series, in float64."""
  inside = datasets.inside(part, part.inputs.shape[1])
  rows = []
  for start in range(0, len(part.inputs), _AT_ONCE):
    values = np.asarray(part.inputs[start : start + _AT_ONCE], np.float64)
    mask = inside[start : start + _AT_ONCE, :, None]
    count = mask.sum(axis=1)
    mean = np.where(mask, values, 0).sum(axis=1) / count
    square = np.where(mask, (values - mean[:, None]) ** 2, 0).sum(axis=1)
    last = values[np.arange(len(values)), count[:, 0] - 1]
    least = np.where(mask, values, np.inf).min(axis=1)
    greatest = np.where(mask, values, -np.inf).max(axis=1)
    spread = np.sqrt(square / count)
    rows.append(np.concatenate([mean, spread, least, greatest, last], axis=1))
  return np.concatenate(rows)


class Ridge(NamedTuple):
  """A ridge regression.

  Attributes:
    weights: (features, numbers).
    bias: (numbers,).
    left_out: (n, numbers), leave-one-out predictions of the examples that it
      was fitted to.
  """

  weights: np.ndarray
  bias: np.ndarray
  left_out: np.ndarray

  def __call__(self, inputs: np.ndarray) -> np.ndarray:
    """Returns predictions (m, numbers) of inputs (m, features)."""
    return inputs @ self.weights + self.bias


def ridge(inputs: np.ndarray, targets: np.ndarray) -> Ridge:
  """Fits a ridge regression with the best of several penalties.

  The best has the least squared leave-one-out error.

  Args:
    inputs: (n, features), standardized here.
    targets: (n, numbers).

  Returns:
    The fit, with predictions of left-out examples.
  """
  mean, deviation = inputs.mean(axis=0), inputs.std(axis=0)
  deviation = np.where(deviation > 0, deviation, 1.0)
  count, center = len(inputs), targets.mean(axis=0)
  x, y = (inputs - mean) / deviation, targets - center
  values, vectors = np.linalg.eigh(x.T @ x / count)
  turned = x @ vectors
  moments = turned.T @ y / count

  def errors(penalty):
    """The leave-one-out errors."""
    shrunk = turned / (np.maximum(values, 0) + penalty)
    own = (shrunk * turned).sum(axis=1, keepdims=True) / count + 1 / count
    return (y - shrunk @ moments) / np.maximum(1 - own, 1e-6)

  penalty = min(_PENALTIES, key=lambda x: (errors(x) ** 2).mean())
  weights = vectors / (np.maximum(values, 0) + penalty) @ moments
  weights /= deviation[:, None]
  left_out = targets - errors(penalty)
  return Ridge(weights, center - mean @ weights, left_out)


def class_logits(train: data.ArrayDataset, size: int) -> Ridge:
  """Fits a linear map from summaries to the logits of classes.

  Its classes are those of a ridge regression on one-hot targets. The factor
  from its predictions to logits is the one with the least leave-one-out
  cross-entropy.

  Args:
    train: series with a class each.
    size: number of classes.
  """
  fitted = ridge(summaries(train), np.eye(size)[train.targets])
  factor = min(
    _FACTORS,
    key=lambda x: _cross_entropy(x * fitted.left_out, train.targets),
  )
  return Ridge(*(factor * array for array in fitted))


def _cross_entropy(logits, targets):
  """The mean cross-entropy of the classes (n,), in nats."""
  logs = special.log_softmax(logits, axis=1)
  return float(-logs[np.arange(len(targets)), targets].mean())


def fits(part: data.ArrayDataset, axes: int) -> bool:
  """Returns whether examples are series with `axes` target axes."""
  inputs = part.inputs
  return (
    inputs.ndim == 3
    and np.issubdtype(inputs.dtype, np.floating)
    and 5 * inputs.shape[2] <= _MOST
    and np.ndim(part.targets) == axes
    and part.extras.second is None
  )
