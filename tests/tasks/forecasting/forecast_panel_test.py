"""Forecasting of panels: windows of one series, its vector, known columns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn
from jaxseq.tasks import forecasting
from jaxseq.tasks.forecasting import baselines as forecast_baselines
from jaxseq.tasks.forecasting import conformal
from tests.models import cases


@pytest.fixture(scope="module")
def case():
  return cases.case("panel")


def _arm(**options):
  network = nn.NetworkConfig(
    nn.StackConfig("gru", d_model=6, num_layers=1), pooling="last"
  )
  return forecasting.ArmConfig(network, batch_size=8, **options)


def test_windows_lie_inside_of_one_series(case):
  series = forecasting.spans(case.splits)
  problem = forecasting.Problem(_arm(), series)
  for name, part in zip(("train", "valid", "test"), case.splits[:3]):
    span, starts = problem.data[name]
    cut = forecasting.windows(jnp.asarray(span), jnp.asarray(starts), 11)
    values, known, numbers = problem.inputs(cut)
    np.testing.assert_array_equal(values, part.inputs)
    np.testing.assert_array_equal(cut[:, 8:, :1], part.targets)
    np.testing.assert_array_equal(known, part.extras.known)
    np.testing.assert_array_equal(numbers, part.extras.series)
  assert problem.size == len(case.splits.train.inputs)


def test_evaluation_and_baselines_are_means_over_the_windows(case):
  test = case.splits.test
  problem = case.problem
  found = jax.jit(problem.evaluate)(case.variables, problem.data)
  forecast = problem.network.apply(
    case.variables, test.inputs, test.extras.known, test.extras.series
  )
  error = np.asarray(forecast) - test.targets
  np.testing.assert_allclose(found["mse"], np.mean(error**2), rtol=1e-5)
  series = forecasting.spans(case.splits)
  naive = forecast_baselines.baselines(series, 1)["repeat last"]
  error = test.inputs[:, -1:] - test.targets
  assert naive["mse"] == pytest.approx(np.mean(error**2), rel=1e-5)


def test_some_windows_are_trained_on_as_of_new_series(case):
  problem = forecasting.Problem(_arm(), forecasting.spans(case.splits))
  draw = jax.jit(problem.sample)
  numbers = np.concatenate(
    [
      problem.inputs(draw(jax.random.key(0), update, problem.data))[2]
      for update in range(60)
    ]
  )
  assert set(numbers.tolist()) == {0, 1, 2}
  assert np.mean(numbers == 0) == pytest.approx(forecasting.UNSEEN, abs=0.05)


@pytest.mark.parametrize("channels", ["independent", "mixed"])
def test_what_is_known_of_a_step_changes_the_forecast_of_that_step(channels):
  network = forecasting.make_forecaster(_arm(channels=channels), 3, 2, 4)
  x = jax.random.normal(jax.random.key(0), (5, 8, 2))
  known = jax.random.normal(jax.random.key(1), (5, 11, 2))
  series = jnp.array([0, 1, 2, 3, 4])
  variables = jax.jit(network.init)(jax.random.key(2), x, known, series)
  apply = jax.jit(network.apply)
  y = apply(variables, x, known, series)
  assert y.shape == (5, 3, 2)
  moved = apply(variables, x, known.at[:, 9].add(1.0), series)
  changed = np.abs(moved - y).max(axis=(0, 2))
  assert changed[1] > 1e-3
  np.testing.assert_array_equal(changed[[0, 2]], 0)
  moved = apply(variables, x, known.at[:, 7].add(1.0), series)
  assert (np.abs(moved - y).max(axis=(0, 2)) > 1e-5).all()
  other = apply(variables, x, known, series.at[1].set(2))
  assert np.abs(other - y)[1].max() > 1e-5
  np.testing.assert_array_equal(other[2:], y[2:])


def test_intervals_are_those_of_the_validation_windows(case):
  valid = case.splits.valid
  found = conformal.errors(case.problem.network, case.variables, valid)
  forecast = case.problem.network.apply(
    case.variables, valid.inputs, valid.extras.known, valid.extras.series
  )
  wanted = np.sort(np.abs(np.asarray(forecast) - valid.targets), axis=0)
  np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_predictions_have_the_column_of_the_series(case):
  found = case.model.predict(case.splits.test)
  assert list(found)[:4] == ["id", "shop", "step", "sales"]
  numbers = np.repeat(case.splits.test.extras.series, 3)
  assert found["shop"].tolist() == [" AB"[number] for number in numbers]
