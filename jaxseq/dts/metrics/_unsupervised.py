"""Scores of how independent codes are of each other; no factors needed.

As in Locatello et al., "Challenging Common Assumptions in the Unsupervised
Learning of Disentangled Representations", arXiv:1811.12359, section 5.3. Less
is better; a representation that says nothing scores well.
"""

import numpy as np

from jaxseq.dts import _arrays
from jaxseq.dts.metrics import _information


def gaussian_total_correlation(codes: np.ndarray) -> float:
  """Returns the total correlation of a Gaussian with the codes' covariance C.

      0.5 (sum_d log C_dd - log det C)

  For means of q(z|x) it is not the total correlation of q(z). From codes (n, D)
  to nats >= 0; codes that do not vary are left out. A code that is a linear
  function of others makes it infinite, or very large by rounding.

  Raises:
    ValueError: codes have another shape, are not finite, or none varies.
  """
  covariance = _covariance(codes)
  sign, log_determinant = np.linalg.slogdet(covariance)
  if sign <= 0:
    return float("inf")
  return float(0.5 * (np.log(np.diag(covariance)).sum() - log_determinant))


def gaussian_wasserstein(codes: np.ndarray, normalized: bool = False) -> float:
  """Returns the squared Wasserstein-2 distance of two Gaussians.

  One has the covariance C of the codes (n, D) that vary, the other only its
  diagonal S: 2 tr C - 2 tr (C S)^(1/2), in squared units of the codes; with
  `normalized` divided by tr C, so that scale does not matter. It is >= 0 up to
  rounding.

  Raises:
    ValueError: codes have another shape, are not finite, or none varies.
  """
  covariance = _covariance(codes)
  scale = np.sqrt(np.diag(covariance))
  # C S has the eigenvalues of this symmetric matrix.
  eigenvalues = np.linalg.eigvalsh(covariance * np.outer(scale, scale))
  roots = np.sqrt(np.maximum(eigenvalues, 0.0)).sum()
  distance = 2 * np.trace(covariance) - 2 * roots
  return float(distance / np.trace(covariance) if normalized else distance)


def mean_pairwise_information(codes: np.ndarray, bins: int = 20) -> float:
  """Returns the mean mutual information of two different binned codes, nats.

  It is biased by about (bins - 1)^2 / (2 n). Of codes (n, D), D >= 2, those
  that do not vary count, with 0. A ValueError for another shape, or not finite
  ones.
  """
  codes = _arrays.code_array(codes, least=2)
  binned = _information.discretize(codes, bins)
  information = _information.pairwise_information(binned, binned)
  count = len(information)
  total = information.sum() - np.trace(information)
  return float(total / (count * (count - 1)))


def _covariance(codes) -> np.ndarray:
  codes = _arrays.code_array(codes)
  codes = codes[:, _arrays.varying(codes)]
  return np.atleast_2d(np.cov(codes, rowvar=False))
