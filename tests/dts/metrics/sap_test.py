import numpy as np
import pytest

from jaxseq.dts import metrics
from tests.dts.metrics import cases


def test_golden_continuous(recorded):
  arrays, (codes, factors, _, _) = recorded
  # Means of 600 products.
  np.testing.assert_allclose(
    metrics.sap_matrix_continuous(codes, factors),
    arrays["sap_matrix_cont"],
    atol=1e-12,
  )
  np.testing.assert_allclose(
    metrics.sap_continuous(codes, factors), arrays["sap_cont"], atol=1e-12
  )


def test_golden_discrete(recorded):
  pytest.importorskip("sklearn")
  arrays, data = recorded
  # The solver's tolerance may put 3 of 300 test examples on the other side.
  np.testing.assert_allclose(
    metrics.sap_matrix_discrete(*data), arrays["sap_matrix_disc"], atol=0.01
  )
  np.testing.assert_allclose(
    metrics.sap_discrete(*data), arrays["sap_disc"], atol=0.01
  )


def test_a_linear_code_is_perfect_and_a_constant_one_says_nothing():
  factors = cases.grid((3, 4))
  codes = np.stack([2.0 - factors[:, 1], 7 * factors[:, 0]], axis=1)
  matrix = metrics.sap_matrix_continuous(
    np.concatenate([codes, np.full((12, 1), 0.1)], axis=1), factors
  )
  np.testing.assert_allclose(matrix, [[0, 1], [1, 0], [0, 0]], atol=1e-12)
