"""Disentanglement, completeness, informativeness.

Eastwood and Williams, "A Framework for the Quantitative Evaluation of
Disentangled Representations", ICLR 2018, section 2, with gradient boosting as
in disentanglement_lib.
"""

from typing import NamedTuple

import numpy as np
from scipy import special

from jaxseq import validate
from jaxseq.dts import _arrays
from jaxseq.dts import _sklearn

# Keeps the entropy of a row or column of zeros defined.
_TINY = 1e-11


class Importance(NamedTuple):
  """Importances and accuracies of classifiers of the factors.

  Attributes:
    matrix: (D, K) importance of code d for factor k, >= 0.
    accuracy_train: (K,) accuracy on the examples that were trained on.
    accuracy_test: (K,) accuracy on other examples.
  """

  matrix: np.ndarray
  accuracy_train: np.ndarray
  accuracy_test: np.ndarray


class Dci(NamedTuple):
  """The three scores, each 1 at best.

  Attributes:
    disentanglement: whether a code serves one factor only.
    completeness: whether a factor is served by one code only.
    informativeness_train: mean accuracy on the training examples.
    informativeness_test: mean accuracy on other examples.
    importance: (D, K), what the first two come from.
  """

  disentanglement: float
  completeness: float
  informativeness_train: float
  informativeness_test: float
  importance: np.ndarray


def dci(
  codes: np.ndarray,
  factors: np.ndarray,
  codes_test: np.ndarray,
  factors_test: np.ndarray,
  *,
  trees: int = 100,
  seed: int = 0,
) -> Dci:
  """Returns disentanglement, completeness and informativeness.

  Informativeness is an accuracy, where more is better; the paper's is an error.
  Boosting is random: between seeds importances differ by some hundredths.

  Args:
    codes: (n, D) float, D >= 2: what classifiers are trained on.
    factors: (n, K) int, K >= 2.
    codes_test: (m, D) float: what they are scored on.
    factors_test: (m, K) int.
    trees: boosting stages. Numbers of fewer than 100 are for trying out.
    seed: of the boosting.

  Raises:
    ValueError: shapes or dtypes are wrong, or a factor is constant.
    ModuleNotFoundError: scikit-learn is not installed.
  """
  checked = _arrays.train_and_test(
    codes, factors, codes_test, factors_test, least=2
  )
  importance = boosting_importance(*checked, trees=trees, seed=seed)
  return Dci(
    disentanglement(importance.matrix),
    completeness(importance.matrix),
    float(importance.accuracy_train.mean()),
    float(importance.accuracy_test.mean()),
    importance.matrix,
  )


def boosting_importance(
  codes: np.ndarray,
  factors: np.ndarray,
  codes_test: np.ndarray,
  factors_test: np.ndarray,
  *,
  trees: int = 100,
  seed: int = 0,
) -> Importance:
  """Trains a gradient boosting classifier of each factor.

  Trees of depth 3, learning rate 0.1. It takes a minute or more per factor of
  8 levels with 10,000 examples. Arguments and errors are those of `dci`, but
  one code and one factor will do; a boosting stage has one tree per level.
  """
  codes, factors, codes_test, factors_test = _arrays.train_and_test(
    codes, factors, codes_test, factors_test
  )
  validate.positive("trees", trees)
  classifier = _sklearn.load("ensemble").GradientBoostingClassifier
  # One stream of random numbers for all factors, as the reference has.
  random_state = np.random.RandomState(seed)
  matrix = np.empty((codes.shape[1], factors.shape[1]))
  train, test = np.empty(factors.shape[1]), np.empty(factors.shape[1])
  for k in range(factors.shape[1]):
    model = classifier(n_estimators=trees, random_state=random_state)
    model.fit(codes, factors[:, k])
    matrix[:, k] = np.abs(model.feature_importances_)
    train[k] = model.score(codes, factors[:, k])
    test[k] = model.score(codes_test, factors_test[:, k])
  return Importance(matrix, train, test)


def disentanglement(importance: np.ndarray) -> float:
  """Returns the mean over codes in 0 .. 1, weighted by their importance.

  Arguments and errors are those of `disentanglement_per_code`.
  """
  importance = _arrays.matrix(importance, "importance", columns=2)
  return _weighted(disentanglement_per_code(importance), importance.sum(1))


def completeness(importance: np.ndarray) -> float:
  """Returns the mean over factors in 0 .. 1, weighted by their importance.

  Arguments and errors are those of `completeness_per_factor`.
  """
  importance = _arrays.matrix(importance, "importance", rows=2)
  return _weighted(completeness_per_factor(importance), importance.sum(0))


def disentanglement_per_code(importance: np.ndarray) -> np.ndarray:
  """Returns 1 - entropy of each row as a distribution, to base K.

  From importances (D, K) >= 0, K >= 2, to (D,) float64 in 0 .. 1; 0 for a row
  of zeros. A ValueError for another shape or a negative entry.
  """
  return _concentration(_arrays.matrix(importance, "importance", columns=2))


def completeness_per_factor(importance: np.ndarray) -> np.ndarray:
  """Returns 1 - entropy of each column as a distribution, to base D.

  That is (K,) `disentanglement_per_code` of the transposed matrix; D >= 2.
  """
  return _concentration(_arrays.matrix(importance, "importance", rows=2).T)


def _concentration(rows: np.ndarray) -> np.ndarray:
  share = rows + _TINY
  share /= share.sum(1, keepdims=True)
  return 1.0 - special.entr(share).sum(1) / np.log(rows.shape[1])


def _weighted(values: np.ndarray, weights: np.ndarray) -> float:
  if not weights.sum():
    return float(values.mean())
  return float(np.average(values, weights=weights))
