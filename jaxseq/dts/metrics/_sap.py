"""Separated attribute predictability, continuous and discrete.

Kumar et al., "Variational Inference of Disentangled Latent Concepts from
Unlabeled Observations", arXiv:1711.00848, section 3, as in disentanglement_lib.
Both are mean gaps between the two best codes of each factor, and far apart: on
one and the same good representation 0.98 and 0.36. Never mix them in one table.
"""

import numpy as np

from jaxseq.dts import _arrays
from jaxseq.dts import _sklearn
from jaxseq.dts.metrics import _gap

# Below this variance a code counts as constant.
_CONSTANT = 1e-12


def sap_continuous(codes: np.ndarray, factors: np.ndarray) -> float:
  """Returns the mean gap in squared correlation, in 0 .. 1.

  Arguments and errors are those of `sap_matrix_continuous`, with D >= 2.
  """
  return float(_gap.top_two_gap(sap_matrix_continuous(codes, factors)).mean())


def sap_matrix_continuous(codes: np.ndarray, factors: np.ndarray) -> np.ndarray:
  """Returns the squared Pearson correlation of each code with each factor.

  From codes (n, D) float and factors (n, K) int, whose order means something,
  to (D, K) float64 in 0 .. 1; 0 for a code whose variance is below 1e-12. A
  ValueError if shapes or dtypes are wrong, or a factor is constant.
  """
  codes, factors = _arrays.pair(codes, factors)
  codes = codes - codes.mean(0)
  factors = factors - factors.mean(0)
  degrees = len(codes) - 1
  covariance = codes.T @ factors / degrees
  code_variance = np.square(codes).sum(0)[:, None] / degrees
  factor_variance = np.square(factors).sum(0) / degrees
  varies = code_variance > _CONSTANT
  product = np.where(varies, code_variance, 1.0) * factor_variance
  return np.where(varies, np.square(covariance) / product, 0.0)


def sap_discrete(
  codes: np.ndarray,
  factors: np.ndarray,
  codes_test: np.ndarray,
  factors_test: np.ndarray,
  *,
  seed: int = 0,
) -> float:
  """Returns the gap in accuracy of linear classifiers of one code.

  This is the version that comparisons in the literature report by default: the
  mean gap, in 0 .. 1. Arguments and errors are those of `sap_matrix_discrete`,
  with D >= 2.
  """
  matrix = sap_matrix_discrete(
    codes, factors, codes_test, factors_test, seed=seed
  )
  return float(_gap.top_two_gap(matrix).mean())


def sap_matrix_discrete(
  codes: np.ndarray,
  factors: np.ndarray,
  codes_test: np.ndarray,
  factors_test: np.ndarray,
  *,
  seed: int = 0,
) -> np.ndarray:
  """Returns the test accuracy of a linear SVM of each code for each factor.

  (D, K) float64 in 0 .. 1. C = 0.01, classes weighted to balance, codes not
  standardized: a code of small scale scores low. Arguments and errors are those
  of `dci`, but one code and one factor will do; `seed` is that of the
  classifiers.
  """
  codes, factors, codes_test, factors_test = _arrays.train_and_test(
    codes, factors, codes_test, factors_test
  )
  classifier = _sklearn.load("svm").LinearSVC
  out = np.empty((codes.shape[1], factors.shape[1]))
  for d in range(codes.shape[1]):
    for k in range(factors.shape[1]):
      model = classifier(C=0.01, class_weight="balanced", random_state=seed)
      model.fit(codes[:, d, None], factors[:, k])
      predicted = model.predict(codes_test[:, d, None])
      out[d, k] = np.mean(predicted == factors_test[:, k])
  return out
