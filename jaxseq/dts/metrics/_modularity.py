"""Modularity and explicitness.

Ridgeway and Mozer, "Learning Deep Disentangled Embeddings With the F-Statistic
Loss", arXiv:1802.05312, section 2, as in disentanglement_lib.
"""

from typing import NamedTuple

import numpy as np

from jaxseq.dts import _arrays
from jaxseq.dts import _sklearn
from jaxseq.dts.metrics import _information


class Explicitness(NamedTuple):
  """Areas under the ROC curve of linear classifiers of all codes.

  Attributes:
    train: (K,) of each factor, on the examples that were trained on.
    test: (K,) on other examples.
  """

  train: np.ndarray
  test: np.ndarray


def modularity(codes: np.ndarray, factors: np.ndarray, bins: int = 20) -> float:
  """Returns whether each code has information about one factor only.

  The mean over codes, in 0 .. 1. Noise codes count as much as others, and
  plug-in information makes them look as if they knew a little of everything
  (`information_bias`): leave codes that are not active out, or report both.

  Args:
    codes: (n, D) float.
    factors: (n, K) int, K >= 2.
    bins: number of bins of a code.

  Raises:
    ValueError: shapes or dtypes are wrong, or a factor is constant.
  """
  codes, factors = _arrays.pair(codes, factors, factors_least=2)
  matrix = _information.information_matrix(codes, factors, bins)
  return float(modularity_per_code(matrix).mean())


def modularity_per_code(information: np.ndarray) -> np.ndarray:
  """Returns 1 - (sum_k m^2 - max_k m^2) / (max_k m^2 (K - 1)) of each row.

  From mutual information (D, K), K >= 2, to (D,) float64 in 0 .. 1; 0 for a
  code without information. A ValueError for another shape or a negative entry.
  """
  squares = np.square(_arrays.matrix(information, "information", columns=2))
  most = squares.max(1)
  rest = (squares.sum(1) - most) / (squares.shape[1] - 1)
  return np.where(most > 0, 1.0 - rest / np.where(most > 0, most, 1.0), 0.0)


def explicitness(
  codes: np.ndarray,
  factors: np.ndarray,
  codes_test: np.ndarray,
  factors_test: np.ndarray,
) -> Explicitness:
  """Returns how well a linear classifier finds each factor in all codes.

  Logistic regression on codes that are standardized by the training examples;
  the one-vs-rest area under the ROC curve, averaged over levels. A code that
  does not vary is left as 0 (the reference fails on it), and a level that
  `factors_test` lacks is not part of the mean. Arguments and errors are those
  of `dci`, but one code and one factor will do.
  """
  codes, factors, codes_test, factors_test = _arrays.train_and_test(
    codes, factors, codes_test, factors_test
  )
  classifier = _sklearn.load("linear_model").LogisticRegression
  mean, scale = codes.mean(0), codes.std(0)
  scale = np.where(np.ptp(codes, axis=0) > 0, scale, 1.0)
  codes, codes_test = (codes - mean) / scale, (codes_test - mean) / scale
  train, test = np.empty(factors.shape[1]), np.empty(factors.shape[1])
  for k, labels in enumerate(factors.T):
    model = classifier().fit(codes, labels)
    train[k] = _sklearn.area_under_roc(
      labels, model.predict_proba(codes), model.classes_
    )
    test[k] = _sklearn.area_under_roc(
      factors_test[:, k], model.predict_proba(codes_test), model.classes_
    )
  return Explicitness(train, test)
