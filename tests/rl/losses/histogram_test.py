"""Tests of values as histograms, against SciPy's normal distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import integrate
from scipy import stats

from jaxseq.rl.losses import categorical
from jaxseq.rl.losses import histogram

SUPPORT = histogram.Support(-3, 5, bins=33)
CENTERS = np.linspace(-3, 5, 33)
WIDTH = 0.25


def test_probabilities_are_areas_under_a_gaussian(x64):
  rng = np.random.default_rng(0)
  target = rng.uniform(-3, 5, (4, 5))
  target[0, :2] = -3, 5
  got = histogram.hl_gauss(SUPPORT, jnp.asarray(target))
  edges = np.append(CENTERS - WIDTH / 2, CENTERS[-1] + WIDTH / 2)
  cdf = stats.norm.cdf(edges, target[..., None], 0.75 * WIDTH)
  want = np.diff(cdf) / (cdf[..., -1:] - cdf[..., :1])
  np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-14)
  np.testing.assert_allclose(got.sum(axis=-1), 1, rtol=1e-14)
  # One of them as the area under the curve, with neither function.
  density = stats.norm(target[2, 3], 0.75 * WIDTH).pdf
  area = [integrate.quad(density, *edges[i : i + 2])[0] for i in range(33)]
  np.testing.assert_allclose(got[2, 3], area / np.sum(area), atol=1e-12)
  single = histogram.hl_gauss(SUPPORT, jnp.asarray(target, jnp.float32))
  assert single.dtype == jnp.float32
  np.testing.assert_allclose(single, want, atol=2e-6)


def test_the_mean_of_a_target_is_the_target(x64):
  target = jnp.linspace(-3, 5, 1001)
  probs = histogram.hl_gauss(SUPPORT, target)
  got = histogram.mean(SUPPORT, jnp.log(probs))
  np.testing.assert_allclose(got, probs @ CENTERS, atol=1e-12)
  distance = np.abs(got - target) / WIDTH
  inside = np.minimum(target + 3, 5 - target) / WIDTH
  assert distance[inside >= 3].max() < 1e-2
  assert distance[inside >= 6].max() < 1e-5
  # Nearer to the ends there is no room for the whole Gaussian.
  np.testing.assert_allclose(distance[[0, -1]], 0.37, atol=0.01)
  assert np.all(np.diff(got) > 0)


def test_bins_of_the_symlog_hold_values_of_any_size(x64):
  support = histogram.Support(-10, 10, bins=101, symlog=True)
  target = np.array([-2e4, -7.0, -1e-3, 0, 0.5, 3.0, 1e3, 2e4])
  probs = histogram.hl_gauss(support, jnp.asarray(target))
  place = np.sign(target) * np.log1p(abs(target))
  plain = histogram.Support(-10, 10, bins=101)
  np.testing.assert_allclose(
    probs, histogram.hl_gauss(plain, jnp.asarray(place)), atol=1e-14
  )
  got = histogram.mean(support, jnp.log(probs))
  # At the ends there is no room for the whole Gaussian.
  np.testing.assert_allclose(got[1:-1], target[1:-1], rtol=1e-4, atol=1e-9)
  outside = histogram.outside(support, jnp.array([-23e3, -22e3, 22e3, 23e3]))
  assert outside.tolist() == [True, False, False, True]


def test_targets_outside_of_the_support_are_clipped():
  target = jnp.array([-1e30, -3.1, -3, 5, 5.1, jnp.inf])
  probs = histogram.hl_gauss(SUPPORT, target)
  assert jnp.isfinite(probs).all()
  np.testing.assert_array_equal(probs[:2], probs[2:3].repeat(2, 0))
  np.testing.assert_array_equal(probs[4:], probs[3:4].repeat(2, 0))
  got = histogram.outside(SUPPORT, target)
  assert got.tolist() == [True, True, False, False, True, True]
  assert jnp.isnan(histogram.hl_gauss(SUPPORT, jnp.array([jnp.nan]))).all()


def test_the_gradient_is_that_of_probabilities(x64):
  rng = np.random.default_rng(1)
  logits = jnp.asarray(rng.normal(size=(6, 33)))
  probs = histogram.hl_gauss(SUPPORT, jnp.asarray(rng.uniform(-3, 5, 6)))

  def loss(logits):
    return optax.losses.softmax_cross_entropy(logits, probs).sum()

  want = jax.nn.softmax(logits) - probs
  np.testing.assert_allclose(jax.grad(loss)(logits), want, atol=1e-12)


def test_small_sigma_and_many_bins_are_the_nearest_bin(x64):
  support = histogram.Support(0, 1, bins=101, sigma=1e-3)
  probs = histogram.hl_gauss(support, jnp.array([0.0, 0.304, 1.0]))
  np.testing.assert_array_equal(probs.argmax(axis=-1), [0, 30, 100])
  np.testing.assert_allclose(probs.max(axis=-1), 1)


def test_the_atoms_are_those_of_categorical(x64):
  value = jnp.array([-3.0, 0.1, 4.99, 7.0])
  blank = jnp.full((4, 33), 1 / 33)
  probs = categorical.project(blank, value, jnp.zeros(4), -3, 5)
  got = histogram.mean(SUPPORT, jnp.log(probs))
  np.testing.assert_allclose(got, [-3, 0.1, 4.99, 5], atol=1e-12)


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"bins": 1}, "bins: got 1, expected an integer of at least 2"),
    ({"low": 3.0, "high": 3.0}, r"low: got 3.0, expected less than high = 3.0"),
    ({"sigma": 0.0}, "sigma: got 0.0, expected a finite number above 0"),
    ({"high": float("inf")}, "high: got inf, expected a finite number"),
  ],
)
def test_supports_that_make_no_sense_are_refused(fields, message):
  with pytest.raises(ValueError, match=message):
    histogram.Support(**fields)
