"""The season of a series, scaled errors, and networks that begin at it."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxseq import data
from jaxseq import nn
from jaxseq.data import forecast_windows
from jaxseq.data import sources
from jaxseq.tasks import forecasting
from jaxseq.tasks.forecasting import baselines as forecast_baselines
from jaxseq.tasks.forecasting import forecast_season

DAY = 86400.0


def _splits(values, length=1, horizon=1, **fields):
  values = np.asarray(values, np.float32)[:, None]
  third = len(values) // 3
  parts = [
    forecast_windows.windows(
      values, i * third, (i + 1) * third, length, horizon
    )
    for i in range(3)
  ]
  source = sources.WindowSource(length=length, horizon=horizon, **fields)
  return data.Splits(*parts, data.Info("made", "", "", preparation=source))


@pytest.mark.parametrize(
  ("fields", "expected"),
  [
    ({"step": DAY}, 7),
    ({"step": DAY, "calendar": "weekdays"}, 5),
    ({"step": 3600.0}, 24),
    ({"step": 31 * DAY, "calendar": "months"}, 12),
    ({"step": 30 * DAY, "calendar": "month ends"}, 12),
    ({"step": 91 * DAY}, 4),
    # A number that is a day long, and no date, says nothing of weeks.
    ({"step": DAY, "dates": False}, 10),
    ({"step": 900.0}, 10),
    ({}, 10),
  ],
)
def test_the_season_is_that_of_the_steps_or_of_the_values(fields, expected):
  rng = np.random.default_rng(0)
  values = np.sin(2 * np.pi * np.arange(600) / 10) + rng.normal(0, 0.2, 600)
  assert forecast_season.period_of(_splits(values, **fields)) == expected


def test_noise_and_trends_have_no_season():
  rng = np.random.default_rng(0)
  for values in (
    rng.normal(size=600),
    np.arange(600.0),
    rng.normal(size=600).cumsum(),
    np.zeros(600),
  ):
    assert forecast_season.period_of(_splits(values)) == 1
  # Two seasons are too few to learn from.
  assert forecast_season.period_of(_splits(np.zeros(30), step=DAY)) == 1


@pytest.mark.parametrize(
  ("count", "period", "horizon", "expected"),
  [
    (600, 7, 14, 28),
    (600, 7, 40, 40),
    (600, 1, 1, 4),
    # A third of 90 is for training; half of it, without a target, is read.
    (90, 7, 2, 14),
    (45, 7, 2, 7),
  ],
)
def test_four_seasons_are_read(count, period, horizon, expected):
  splits = _splits(np.arange(count), horizon=horizon)
  length = forecast_season.input_length(splits, period, horizon)
  assert length == expected


def test_scaled_errors_by_hand():
  train = np.array([[0.0, 1], [2, 1], [4, 1], [6, 1]], np.float32)
  test = np.array([[0.0, 2], [1, 2], [5, 3]], np.float32)
  series = forecasting.Spans(train, None, test, 2, 1)
  np.testing.assert_allclose(forecast_baselines.scale(series, 1), [2, 1])
  np.testing.assert_allclose(forecast_baselines.scale(series, 2), [4, 1])
  found = forecast_baselines.baselines(series, 1)["repeat last"]
  assert found["mae"] == pytest.approx((4 + 1) / 2)
  assert found["mase"] == pytest.approx((4 / 2 + 1) / 2)
  # Changes over a value that was filled do not count.
  observed = np.ones((4, 2), bool)
  observed[2] = False
  series = series._replace(observed={"train": observed})
  np.testing.assert_allclose(forecast_baselines.scale(series, 2), [4, 1])
  np.testing.assert_allclose(forecast_baselines.scale(series, 1), [2, 1])
  # Nor do changes from one series of a panel to the next.
  far = np.array([0.0, 2, 102, 104], np.float32)[:, None]
  panel = forecasting.Spans(
    far, None, far, 1, 1, series={"train": np.array([1, 1, 2, 2])}
  )
  np.testing.assert_allclose(forecast_baselines.scale(panel, 1), [2])


def _arm(**fields):
  network = nn.NetworkConfig(
    nn.StackConfig("gru", d_model=8, num_layers=1), pooling="last"
  )
  return forecasting.ArmConfig(
    network, batch_size=4, from_season=True, **fields
  )


@pytest.mark.parametrize("channels", ["independent", "mixed"])
@pytest.mark.parametrize("period", [1, 3, 12])
def test_training_begins_with_the_seasonal_naive_forecast(period, channels):
  rng = np.random.default_rng(0)
  spans = rng.normal(size=(3, 60, 2)).astype(np.float32)
  series = forecasting.Spans(*spans, 12, 7)
  problem = forecasting.Problem(_arm(period=period, channels=channels), series)
  variables = jax.jit(problem.init)(jax.random.key(0))
  found = jax.jit(problem.evaluate)(variables, problem.data)
  naive = forecast_baselines.baselines(series, period)["seasonal naive"]
  for metric, value in naive.items():
    np.testing.assert_allclose(found[metric], value, rtol=1e-4)
  # All of it learns.
  batch = problem.sample(jax.random.key(1), 0, problem.data)

  def loss(variables):
    return problem.loss(variables, batch, None, jax.random.key(2))[0]

  slopes = jax.jit(jax.grad(loss))(variables)["params"]
  assert np.abs(slopes["linear"]).max() > 0
  assert max(np.abs(x).max() for x in jax.tree.leaves(slopes["network"])) > 0


def test_columns_known_ahead_begin_without_a_say():
  rng = np.random.default_rng(0)
  span = rng.normal(size=(60, 1)).astype(np.float32)
  known = rng.normal(size=(60, 2)).astype(np.float32)
  parts = ("train", "valid", "test")
  starts = np.arange(60 - 19 + 1, dtype=np.int32)
  series = forecasting.Spans(
    *(span, span, span, 12, 7),
    known=dict.fromkeys(parts, known),
    starts=dict.fromkeys(parts, starts),
  )
  problem = forecasting.Problem(_arm(period=3), series)
  variables = jax.jit(problem.init)(jax.random.key(0))
  found = jax.jit(problem.evaluate)(variables, problem.data)
  naive = forecast_baselines.baselines(series, 3)["seasonal naive"]
  np.testing.assert_allclose(found["mse"], naive["mse"], rtol=1e-4)


def test_without_a_season_nothing_is_scaled_or_added():
  spans = np.random.default_rng(0).normal(size=(3, 40, 1)).astype(np.float32)
  series = forecasting.Spans(*spans, 6, 2)
  arm = dataclasses.replace(_arm(), from_season=False)
  problem = forecasting.Problem(arm, series)
  variables = jax.jit(problem.init)(jax.random.key(0))
  assert "linear" not in variables["params"]
  assert "mase" not in problem.evaluate(variables, problem.data)
