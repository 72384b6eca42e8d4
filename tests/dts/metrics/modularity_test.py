import numpy as np
import pytest

from jaxseq.dts import metrics
from tests.dts.metrics import cases


def test_golden_modularity(recorded):
  arrays, (codes, factors, _, _) = recorded
  np.testing.assert_allclose(
    metrics.modularity(codes, factors), arrays["modularity"], atol=1e-10
  )
  np.testing.assert_allclose(
    metrics.modularity_per_code(arrays["mi_matrix"]).mean(),
    arrays["modularity"],
    atol=1e-10,
  )


@pytest.mark.parametrize("name", ["good", "mixed"])
def test_golden_explicitness(golden, name):
  pytest.importorskip("sklearn")
  arrays = golden(f"dts/metrics_{name}")
  seen = metrics.explicitness(*cases.recorded(arrays))
  # Versions of the solver stop at other places.
  np.testing.assert_allclose(
    np.stack(seen, axis=1), arrays["explicitness_per_factor"], atol=1e-3
  )


def test_explicitness_with_a_constant_code():
  pytest.importorskip("sklearn")
  rng = np.random.default_rng(0)
  factors = cases.grid((2, 2), repeats=10)
  codes = factors + 0.1 * rng.normal(size=factors.shape)
  with_constant = np.concatenate([codes, np.full((40, 1), 0.1)], axis=1)
  data = with_constant, factors
  np.testing.assert_allclose(metrics.explicitness(*data, *data), 1.0)


def test_modularity_of_rows():
  rows = np.array([[2.0, 0, 0], [1, 1, 1], [2, 1, 0], [0, 0, 0]])
  np.testing.assert_allclose(
    metrics.modularity_per_code(rows), [1, 0, 1 - 1 / 8, 0], rtol=1e-12
  )
