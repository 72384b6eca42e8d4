import numpy as np

from jaxseq.dts import metrics


def test_golden(recorded):
  arrays, (codes, factors, _, _) = recorded
  np.testing.assert_array_equal(metrics.discretize(codes), arrays["mus_disc"].T)
  # Sums of a hundred terms.
  np.testing.assert_allclose(
    metrics.information_matrix(codes, factors),
    arrays["mi_matrix"],
    atol=1e-12,
  )
  np.testing.assert_allclose(
    metrics.entropies(factors), arrays["factor_entropy"], atol=1e-12
  )


def test_bins_have_equal_widths_and_both_ends():
  codes = np.array([[0.0, 3.0], [0.24, 3.0], [0.26, 3.0], [1.0, 3.0]])
  bins = metrics.discretize(codes, bins=4)
  np.testing.assert_array_equal(bins[:, 0], [1, 1, 2, 4])
  assert len(np.unique(bins[:, 1])) == 1


def test_information_of_a_known_table():
  # Four cells of 3, 1, 1 and 3 eighths.
  factor = np.array([0, 0, 0, 0, 1, 1, 1, 1])[:, None]
  code = np.array([0, 0, 0, 1, 0, 1, 1, 1.0])[:, None]
  expected = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
  information = metrics.information_matrix(code, factor, bins=2)
  np.testing.assert_allclose(information, [[expected]], rtol=1e-12)
  np.testing.assert_allclose(metrics.entropies(factor), np.log(2), rtol=1e-12)


def test_independent_codes_seem_to_know_what_the_bias_says():
  rng = np.random.default_rng(0)
  codes = rng.uniform(size=(2000, 40))
  factors = rng.integers(8, size=(2000, 1))
  seen = metrics.information_matrix(codes, factors).mean()
  # 40 values of relative deviation sqrt(2 / 133): 2 % of their mean; 10 % are
  # left for terms of higher order.
  np.testing.assert_allclose(
    seen, metrics.information_bias(2000, 20, 8), rtol=0.1
  )
