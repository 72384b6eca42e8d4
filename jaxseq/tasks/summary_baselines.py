"""Linear models of summaries: rows that networks on series have to beat.

A series becomes the mean, the spread, the least, the greatest and the last
value of each channel, and a ridge regression of these predicts its class or its
numbers.
"""

from collections.abc import Callable

import numpy as np

from jaxseq import data
from jaxseq.data import datasets

LABEL = "linear on summaries"
# Penalties that are tried, for each example.
_PENALTIES = 10.0 ** np.arange(-4, 3)
# Series that are summarized at once, and values of a summary at most.
_AT_ONCE = 1_024
_MOST = 2_048


def of_classes(splits: data.Splits, part: str) -> dict[str, dict[str, float]]:
  """Returns the "accuracy" of the row, by its label.

  Args:
    splits: examples with a class each.
    part: "valid" or "test".

  Returns:
    No row where inputs are not series of numbers, or classes not of whole ones.
  """
  asked = getattr(splits, part)
  if asked is None or not _fits(splits.train, 1):
    return {}
  names = np.eye(int(splits.train.targets.max()) + 1)
  predict = ridge(summaries(splits.train), names[splits.train.targets])
  right = predict(summaries(asked)).argmax(axis=1) == asked.targets
  return {LABEL: {"accuracy": float(right.mean())}}


def of_numbers(splits: data.Splits, part: str) -> dict[str, dict[str, float]]:
  """Returns the "mse" of the row, by its label.

  Args:
    splits: examples with numbers each, (n, numbers), which are standardized.
    part: "valid" or "test".

  Returns:
    No row where inputs are not series of numbers, or every element has targets.
  """
  asked = getattr(splits, part)
  if asked is None or not _fits(splits.train, 2):
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


def ridge(
  inputs: np.ndarray, targets: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
  """Fits a ridge regression with the best of some penalties.

  The best has the least squared error where each example is left out in turn.

  Args:
    inputs: (n, features), standardized here.
    targets: (n, numbers).

  Returns:
    From inputs (m, features) to predictions (m, numbers).
  """
  mean, deviation = inputs.mean(axis=0), inputs.std(axis=0)
  deviation = np.where(deviation > 0, deviation, 1.0)
  count, center = len(inputs), targets.mean(axis=0)
  x, y = (inputs - mean) / deviation, targets - center
  values, vectors = np.linalg.eigh(x.T @ x / count)
  turned = x @ vectors
  moments = turned.T @ y / count

  def left_out(penalty):
    """The mean squared error of examples that the fit has not seen."""
    shrunk = turned / (np.maximum(values, 0) + penalty)
    own = (shrunk * turned).sum(axis=1, keepdims=True) / count + 1 / count
    error = (y - shrunk @ moments) / np.maximum(1 - own, 1e-6)
    return (error**2).mean()

  penalty = min(_PENALTIES, key=left_out)
  weights = vectors / (np.maximum(values, 0) + penalty) @ moments
  return lambda inputs: (inputs - mean) / deviation @ weights + center


def _fits(part, axes):
  """Returns whether examples are series of numbers with so many target axes."""
  inputs = part.inputs
  return (
    inputs.ndim == 3
    and np.issubdtype(inputs.dtype, np.floating)
    and 5 * inputs.shape[2] <= _MOST
    and np.ndim(part.targets) == axes
    and part.extras.second is None
  )
