"""Losses against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn
from jaxseq.tasks import forecasting
from jaxseq.tasks import losses


def test_quantile_loss_is_least_at_the_quantile():
  targets = jnp.arange(1.0, 102.0)
  grid = jnp.arange(1.0, 102.0)
  mean = jax.vmap(lambda p: losses.quantile_loss(p, targets, 0.9).mean())
  # Of 101 numbers, nine tenths of the others are below the 91st.
  assert float(grid[jnp.argmin(mean(grid))]) == 91.0
  # 0.9 of what lies above, 0.1 of what lies below.
  errors = losses.quantile_loss(jnp.array([0.0, 0.0]), jnp.array([2, -2]), 0.9)
  np.testing.assert_allclose(errors, [1.8, 0.2], rtol=1e-6)


def test_gaussian_by_hand():
  found = losses.negative_log_likelihood(
    jnp.zeros(2), jnp.array([1.0, 4.0]), jnp.array([1.0, 2.0]), 1e-6
  )
  # (0 + 1 + log 4 + 1) / 2.
  np.testing.assert_allclose(found, 1 + 0.5 * np.log(4), rtol=1e-6)


def test_forecasts_of_a_quantile_are_trained_and_told_by_it():
  arm = forecasting.ArmConfig(
    nn.NetworkConfig(nn.StackConfig("gru", d_model=4), pooling="last"),
    batch_size=2,
    objective="quantile_loss",
    quantile=0.9,
  )
  series = np.random.default_rng(0).normal(size=(3, 30, 1)).astype(np.float32)
  problem = forecasting.Problem(arm, forecasting.Spans(*series, 4, 2))
  assert (problem.objective, problem.metric) == ("quantile_loss",) * 2
  assert problem.network.quantile == 0.9
  outputs, batch = jnp.zeros((3, 2, 1)), jnp.ones((3, 6, 1))
  metrics, _ = problem.score(outputs, batch)
  assert float(metrics["quantile_loss"]) == pytest.approx(0.9)
  with pytest.raises(ValueError, match="quantile: got 1.5"):
    forecasting.ArmConfig(quantile=1.5)
