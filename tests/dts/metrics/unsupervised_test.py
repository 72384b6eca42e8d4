import math

import numpy as np
import pytest
from scipy import linalg

from jaxseq.dts import metrics


def test_golden(recorded):
  arrays, (codes, _, _, _) = recorded
  np.testing.assert_allclose(
    metrics.mean_pairwise_information(codes),
    arrays["code_mi_score"],
    atol=1e-10,
  )
  # The reference's are not defined with the constant code of the last set.
  if np.ptp(codes, axis=0).all():
    np.testing.assert_allclose(
      metrics.gaussian_total_correlation(codes),
      arrays["gaussian_tc"],
      atol=1e-10,
    )
    np.testing.assert_allclose(
      metrics.gaussian_wasserstein(codes),
      arrays["gaussian_wasserstein"],
      atol=1e-10,
    )


def test_two_correlated_codes():
  rng = np.random.default_rng(0)
  codes = rng.normal(size=(500, 2)) @ [[1.0, 0.6], [0.0, 2.0]]
  covariance = np.cov(codes.T)
  correlation = covariance[0, 1] / math.sqrt(np.diag(covariance).prod())
  assert metrics.gaussian_total_correlation(codes) == pytest.approx(
    -0.5 * math.log(1 - correlation**2), rel=1e-9
  )
  root = linalg.sqrtm(covariance @ np.diag(np.diag(covariance)))
  distance = 2 * np.trace(covariance) - 2 * np.trace(root).real
  assert metrics.gaussian_wasserstein(codes) == pytest.approx(
    distance, rel=1e-9
  )
  # Scale does not matter, nor does a code that does not vary.
  more = np.concatenate([10 * codes, np.full((500, 1), 0.1)], axis=1)
  assert metrics.gaussian_wasserstein(more, normalized=True) == pytest.approx(
    distance / np.trace(covariance), rel=1e-9
  )


def test_redundant_codes():
  codes = np.random.default_rng(0).normal(size=(50, 1)) @ np.ones((1, 2))
  # Infinite, or what rounding leaves of it: half of -log(1e-16).
  assert metrics.gaussian_total_correlation(codes) > 15
