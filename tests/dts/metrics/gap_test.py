import hypothesis
from hypothesis import strategies
import numpy as np
import pytest

from jaxseq.dts import metrics
from tests.dts.metrics import cases


def test_golden(recorded):
  arrays, (codes, factors, _, _) = recorded
  # Differences of sums of a hundred terms.
  np.testing.assert_allclose(
    metrics.mig(codes, factors), arrays["mig"], atol=1e-12
  )


@hypothesis.given(strategies.integers(0, 2**32 - 1))
@hypothesis.settings(deadline=None, derandomize=True, max_examples=10)
def test_order_and_labels_do_not_matter(seed):
  rng = np.random.default_rng(seed)
  factors = rng.integers(4, size=(100, 3))
  factors[:2] = [[0] * 3, [1] * 3]
  codes = factors[:, [0, 1, 2, 0]] + rng.normal(size=(100, 4))
  expected = metrics.mig_per_factor(codes, factors)
  order = rng.permutation(3)
  relabeled = rng.permutation(4)[factors[:, order]]
  seen = metrics.mig_per_factor(codes[:, rng.permutation(4)], relabeled)
  # The same terms in another order.
  np.testing.assert_allclose(seen, expected[order], atol=1e-12)


@hypothesis.given(
  strategies.lists(strategies.integers(2, 5), min_size=2, max_size=3),
  strategies.integers(0, 2**32 - 1),
)
@hypothesis.settings(deadline=None, derandomize=True, max_examples=20)
def test_a_code_for_each_factor_is_perfect(sizes, seed):
  rng = np.random.default_rng(seed)
  factors = cases.grid(sizes)
  codes = cases.one_to_one(factors, rng)
  # Levels lie at least a bin apart with 200 bins. Of the full grid no code
  # knows anything of another's factor, so that all is exact but rounding.
  assert metrics.mig(codes, factors, bins=200) == pytest.approx(1.0, abs=1e-9)
  assert metrics.modularity(codes, factors, bins=200) == pytest.approx(
    1.0, abs=1e-9
  )
  assert metrics.irs(codes, factors).score == pytest.approx(1.0, abs=1e-9)
  assert metrics.gaussian_total_correlation(codes) == pytest.approx(
    0.0, abs=1e-9
  )
  information = metrics.information_matrix(codes, factors, bins=200)
  # Information is as good an importance as any.
  assert metrics.disentanglement(information) == pytest.approx(1.0, abs=1e-7)
  assert metrics.completeness(information) == pytest.approx(1.0, abs=1e-7)


def test_rotated_codes_score_low():
  rng = np.random.default_rng(0)
  factors = cases.grid((4, 4), repeats=20)
  straight = cases.one_to_one(factors, rng)
  rotated = cases.rotated(factors, rng)
  assert metrics.mig(straight, factors) > 0.99
  assert metrics.mig(rotated, factors) < 0.2
  assert metrics.sap_continuous(rotated, factors) < 0.2
  assert metrics.modularity(rotated, factors) < 0.5
  assert metrics.irs(rotated, factors).score < 0.6
  information = metrics.information_matrix(rotated, factors)
  assert metrics.disentanglement(information) < 0.2
  assert metrics.completeness(information) < 0.2


def test_a_duplicate_closes_the_gap():
  factors = cases.grid((3, 3))
  codes = factors[:, [0, 0, 1]].astype(float)
  np.testing.assert_allclose(
    metrics.mig_per_factor(codes, factors), [0, 1], atol=1e-12
  )


def test_one_code_has_no_second():
  with pytest.raises(
    ValueError, match="codes: got .* expected at least 2 codes"
  ):
    metrics.mig(np.zeros((4, 1)), np.arange(4)[:, None])
