"""Integrals of intensities, the distributions they imply, and their test."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.tasks.events import event_calibration
from jaxseq.tasks.events import event_rates
from jaxseq.tasks.events.rate_models import decays

TIMES = event_rates.table_times(0.0, 1.0, 50.0)


def _decaying(elapsed):
  """One mark with intensity 0.4 + 2 exp(-1.5 t)."""
  return (0.4 + 2 * jnp.exp(-1.5 * elapsed))[..., None]


def _integral(gap):
  return 0.4 * gap + 2 / 1.5 * -np.expm1(-1.5 * gap)


@pytest.mark.usefixtures("x64")
def test_integrals_of_constant_and_of_decaying_rates():
  gap = jnp.array([0.2, 3.0, 11.0])
  params = {"w": jnp.zeros((2, 3)), "b": jnp.ones(2), "log_beta": jnp.zeros(2)}
  state = decays.Decay(*(jnp.ones((3, 3)) for _ in range(4)))

  def constant(elapsed):
    return decays.intensity(params, state, elapsed)

  rate = 2 * np.log1p(np.e)
  for points in (3, 64):
    hazard = event_rates.evaluated(constant, gap, points, TIMES)
    for total in (hazard.total, hazard.coarse):
      np.testing.assert_allclose(total[:, 0], rate * gap, 1e-12)
  key = jax.random.key(0)
  hazard = event_rates.sampled(constant, gap, 4, key)
  np.testing.assert_allclose(hazard.total[:, 0], rate * gap, 1e-12)
  hazard = event_rates.evaluated(_decaying, gap, 64, TIMES)
  np.testing.assert_allclose(hazard.total[:, 0], _integral(gap), 1e-10)
  # Trapezoids are off by the square of their width.
  error = hazard.coarse[:, 0] - _integral(gap)
  width = gap / (event_rates.COARSE - 1)
  slope = 3 * -np.expm1(-1.5 * gap)
  np.testing.assert_allclose(error[:2], (width**2 / 12 * slope)[:2], 0.01)
  np.testing.assert_allclose(hazard.log_rate, jnp.log(_decaying(gap)), 1e-12)


def test_a_rate_that_hides_from_a_grid_does_not_hide_from_random_points():
  gap = jnp.full(400, 2.0)
  turns = 2 * np.pi * (event_rates.COARSE - 1) / 2.0

  def hiding(elapsed):
    return (1 - jnp.cos(turns * elapsed))[..., None]

  key = jax.random.key(0)
  random = event_rates.sampled(hiding, gap, event_rates.COARSE, key).total
  exact = event_rates.evaluated(hiding, gap[:1], 200, TIMES)
  np.testing.assert_allclose(exact.total, 2.0, 1e-4)
  assert exact.coarse.max() < 1e-4
  # 400 means of 20 points: their standard error is about 0.016.
  assert abs(random.mean() - 2.0) < 0.08


def test_means_and_quantiles_of_a_constant_rate():
  def constant(elapsed):
    return jnp.full((*elapsed.shape, 2), 0.25)

  hazard = event_rates.evaluated(constant, jnp.ones(1), 8, TIMES)
  # The table ends at 50, where exp(-25) are left.
  np.testing.assert_allclose(hazard.expectation(), 2.0, 1e-4)
  for level in (0.05, 0.5, 0.95):
    expected = -2 * np.log1p(-level)
    np.testing.assert_allclose(hazard.quantile(level), expected, 1e-4)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("slope", [-0.8, 0.0, 0.6])
def test_exponential_rates_are_exact(slope):
  rates = event_rates.Gompertz(
    jnp.array([-0.3]), jnp.array([slope]), jnp.array([[0.5, -0.5]])
  )
  gap = jnp.array([1.7])
  hazard = rates.hazard(gap, TIMES)
  by_nodes = event_rates.evaluated(rates.intensity, gap, 64, TIMES)
  np.testing.assert_allclose(hazard.total, by_nodes.total, 1e-10)
  np.testing.assert_allclose(hazard.log_rate, by_nodes.log_rate, 1e-10)
  # The cells of tables are trapezoids, which are wide where gaps are rare.
  near = TIMES < 5
  np.testing.assert_allclose(
    hazard.table[:, near], by_nodes.table[:, near], 0.01, 1e-6
  )
  np.testing.assert_allclose(rates.gap_at(hazard.total[:, 0]), gap, 1e-10)
  if slope < 0:
    never = jnp.exp(rates.log_start) / -slope
    assert jnp.isinf(rates.gap_at(1.01 * never)).all()


def test_gaps_are_joined_over_ends():
  totals = jnp.array([[1.0, 2.0, 3.0, 9.0], [4.0, 9.0, 9.0, 9.0], [5, 6, 9, 9]])
  lengths = np.array([2, 0, 1])
  gaps = event_calibration.joined_gaps(totals, lengths)
  # Behind the last event of the first row 3 is left, and the second has none.
  np.testing.assert_array_equal(gaps, [1, 2, 3 + 4 + 5])


def test_the_p_value_is_that_of_scipy():
  stats = pytest.importorskip("scipy.stats")
  rng = np.random.default_rng(0)
  for scale in (1.0, 1.03):
    gaps = scale * rng.exponential(size=4000)
    expected = stats.kstest(gaps, "expon").pvalue
    # Its distribution is that of so many numbers, ours one for large ones.
    np.testing.assert_allclose(
      event_calibration.exponential_p(jnp.asarray(gaps)), expected, 0.02, 1e-4
    )
