import numpy as np
import pytest

from jaxseq.dts import metrics
from tests.dts.metrics import cases


def test_golden_scores_of_importances(recorded):
  arrays, _ = recorded
  importance = arrays["dci_importance"]
  seen = {
    "dci_disentanglement": metrics.disentanglement(importance),
    "dci_completeness": metrics.completeness(importance),
    "dci_dis_per_code": metrics.disentanglement_per_code(importance),
    "dci_comp_per_factor": metrics.completeness_per_factor(importance),
  }
  cases.assert_golden(seen, arrays, atol=1e-10)


@pytest.mark.slow
def test_golden_boosting(recorded):
  pytest.importorskip("sklearn")
  arrays, data = recorded
  result = metrics.dci(*data)
  # What another seed of the reference changes is at most 0.026.
  seen = {f"dci_{name}": value for name, value in result._asdict().items()}
  cases.assert_golden(seen, arrays, atol=0.03)


def test_codes_for_factors_and_mixed_codes():
  pytest.importorskip("sklearn")
  rng = np.random.default_rng(0)
  factors = cases.grid((3, 2), repeats=20)
  straight = cases.one_to_one(factors, rng)
  perfect = metrics.dci(straight, factors, straight, factors, trees=10)
  for score in perfect[:4]:
    assert score == pytest.approx(1.0, abs=1e-6)
  mixed = cases.rotated(factors, rng)
  other = metrics.dci(mixed, factors, mixed, factors, trees=10)
  # Trees split on whichever code separates levels best, so that it is not 0.
  assert other.disentanglement < 0.7
  assert other.completeness < 0.7
  assert other.informativeness_train > 0.9


def test_what_the_numbers_are_of():
  importance = np.array([[3.0, 1.0], [0.0, 0.0], [0.0, 4.0]])
  mixed = 1 - (0.25 * np.log2(4) + 0.75 * np.log2(4 / 3))
  np.testing.assert_allclose(
    metrics.disentanglement_per_code(importance), [mixed, 0, 1], atol=1e-9
  )
  assert metrics.disentanglement(importance) == pytest.approx(
    (mixed * 4 + 4) / 8, abs=1e-9
  )
  split = 1 - (0.2 * np.log(5) + 0.8 * np.log(1.25)) / np.log(3)
  np.testing.assert_allclose(
    metrics.completeness_per_factor(importance), [1, split], atol=1e-9
  )
  assert metrics.completeness(importance) == pytest.approx(
    (3 + split * 5) / 8, abs=1e-9
  )


def test_wrong_matrices():
  with pytest.raises(
    ValueError, match=r"got shape \(3, 1\), expected .* at least 1 x 2"
  ):
    metrics.disentanglement(np.ones((3, 1)))
  with pytest.raises(
    ValueError, match=r"got shape \(1, 3\), expected .* at least 2 x 1"
  ):
    metrics.completeness(np.ones((1, 3)))
  with pytest.raises(ValueError, match="got -1.0, expected numbers >= 0"):
    metrics.completeness(-np.ones((2, 2)))
  assert metrics.completeness(np.zeros((2, 2))) == pytest.approx(0.0)
