"""Forecasting: windows, normalization, errors and what needs no training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import data
from jaxseq import nn
from jaxseq.data import forecast_windows
from jaxseq.data.sources import windows
from jaxseq.tasks import forecasting
from jaxseq.tasks.forecasting import baselines as forecast_baselines
from jaxseq.tasks.forecasting import conformal

OPTIONS = {"input_length": 24, "horizon": 6, "times": 300, "channels": 2}


def _arm(**options):
  network = nn.NetworkConfig(
    nn.StackConfig("gru", d_model=6, num_layers=1), pooling="last"
  )
  return forecasting.ArmConfig(network, batch_size=8, **options)


@pytest.fixture(scope="module")
def splits():
  return data.load("seasonal", seed=1, **OPTIONS)


def test_spans_hold_every_window(splits):
  series = forecasting.spans(splits)
  assert (series.input_length, series.horizon) == (24, 6)
  for span, part in zip(series[:3], splits[:3]):
    starts = jnp.arange(len(part.inputs))
    assert len(span) == len(part.inputs) + 24 + 6 - 1
    cut = forecasting.windows(jnp.asarray(span), starts, 30)
    np.testing.assert_array_equal(cut[:, :24], part.inputs)
    np.testing.assert_array_equal(cut[:, 24:], part.targets)


def test_spans_of_something_else(splits):
  sparse = splits._replace(valid=data.take(splits.valid, np.arange(0, 9, 3)))
  with pytest.raises(
    ValueError, match="valid: got windows apart, expected one"
  ):
    forecasting.spans(sparse)
  with pytest.raises(ValueError, match="targets: got shape .3,. beside"):
    forecasting.spans(
      splits._replace(train=splits.train._replace(targets=np.arange(3)))
    )


@pytest.mark.parametrize(
  "channels", ["independent", pytest.param("mixed", marks=pytest.mark.slow)]
)
def test_forecasts_move_with_the_window(channels):
  model = forecasting.make_forecaster(_arm(channels=channels), 5)
  x = jax.random.normal(jax.random.key(0), (3, 24, 2))
  variables = jax.jit(model.init)(jax.random.key(1), x)
  apply = jax.jit(model.apply)
  y = apply(variables, x)
  assert y.shape == (3, 5, 2)
  scale, shift = jnp.array([3.0, 0.5]), jnp.array([-2.0, 7.0])
  # Not exact: a constant of 1e-5 is added to variances, of about 1 here.
  np.testing.assert_allclose(
    apply(variables, scale * x + shift), scale * y + shift, rtol=0, atol=2e-4
  )
  plain = forecasting.make_forecaster(
    _arm(channels=channels, normalize=False), 5
  )
  moved = jax.jit(plain.apply)(variables, scale * x + shift)
  assert jnp.abs(moved - scale * y - shift).max() > 0.1


def test_independent_channels_do_not_see_each_other():
  x = jax.random.normal(jax.random.key(0), (24, 3))
  other = x.at[:, 1].add(jnp.arange(24.0))
  seen = {}
  for channels in ("independent", "mixed"):
    model = forecasting.make_forecaster(_arm(channels=channels), 5)
    variables = jax.jit(model.init)(jax.random.key(1), x)
    apply = jax.jit(model.apply)
    seen[channels] = apply(variables, other) - apply(variables, x)
  np.testing.assert_array_equal(seen["independent"][:, [0, 2]], 0)
  assert jnp.abs(seen["mixed"][:, [0, 2]]).max() > 1e-3


def test_affine_is_undone():
  model = forecasting.make_forecaster(_arm(affine=True), 5)
  x = jax.random.normal(jax.random.key(0), (24, 2))
  variables = jax.jit(model.init)(jax.random.key(1), x)
  plain = forecasting.make_forecaster(_arm(), 5)
  y = jax.jit(model.apply)(variables, x)
  # A scale of 1 and a shift of 0 change nothing but the rounding.
  np.testing.assert_allclose(y, jax.jit(plain.apply)(variables, x), atol=1e-5)
  params = variables["params"]
  assert params["scale"].shape == params["shift"].shape == (2,)
  changed = {"params": {**params, "shift": jnp.array([0.7, -0.4])}}
  z = (x - x.mean(0)) / jnp.sqrt(x.var(0) + forecasting.EPSILON)
  plain = forecasting.make_forecaster(_arm(normalize=False), 5)
  inner = jax.jit(plain.apply)(variables, z + jnp.array([0.7, -0.4]))
  expected = (inner - jnp.array([0.7, -0.4])) * x.std(0) + x.mean(0)
  np.testing.assert_allclose(
    jax.jit(model.apply)(changed, x), expected, atol=1e-4
  )


@pytest.mark.slow
def test_evaluation_is_the_mean_over_all_windows(splits):
  series = forecasting.spans(splits)
  arm = _arm()
  problem = forecasting.Problem(arm, series)
  variables = jax.jit(problem.init)(jax.random.key(0))
  metrics = jax.jit(problem.evaluate)(variables, problem.data)
  model = forecasting.make_forecaster(arm, 6)
  forecast = jax.jit(model.apply)(variables, jnp.asarray(splits.test.inputs))
  error = np.asarray(forecast, np.float64) - splits.test.targets
  # Sums of some hundred float32 numbers, in another order.
  close = {"rtol": 1e-5}
  np.testing.assert_allclose(metrics["mse"], np.mean(error**2), **close)
  np.testing.assert_allclose(metrics["mae"], np.abs(error).mean(), **close)
  batch = problem.sample(jax.random.key(1), 0, problem.data)
  assert batch.shape == (8, 30, 2)
  loss, extra = jax.jit(problem.loss)(variables, batch, None, jax.random.key(2))
  forecast = jax.jit(model.apply)(variables, batch[:, :24])
  expected = np.mean((np.asarray(forecast) - batch[:, 24:]) ** 2)
  np.testing.assert_allclose(loss, expected, **close)
  assert set(extra.metrics) == {"train_mse", "train_mae"}


def test_baselines(splits):
  series = forecasting.spans(splits)
  found = forecast_baselines.baselines(series, period=4)
  inputs, targets = splits.test.inputs, splits.test.targets
  error = targets - inputs[:, -1:]
  np.testing.assert_allclose(
    found["repeat last"]["mse"], np.mean(error**2), rtol=1e-5
  )
  season = inputs[:, -4:][:, [0, 1, 2, 3, 0, 1]]
  np.testing.assert_allclose(
    found["seasonal naive"]["mae"], np.abs(targets - season).mean(), rtol=1e-5
  )
  # The season of a day is in the data.
  day = forecast_baselines.baselines(series, period=24)
  assert day["seasonal naive"]["mse"] < found["seasonal naive"]["mse"]
  with pytest.raises(
    ValueError, match="period: got 25, expected an integer from 1 to 24"
  ):
    forecast_baselines.baselines(series, period=25)


def test_wrong_options(splits):
  series = forecasting.spans(splits)
  with pytest.raises(
    ValueError, match="pooling: got 'none', expected 'mean' or 'last'"
  ):
    forecasting.Problem(
      forecasting.ArmConfig(nn.NetworkConfig(nn.StackConfig("gru"))), series
    )
  arm = forecasting.ArmConfig(_arm().network, batch_size=1000)
  with pytest.raises(
    ValueError,
    match="batch_size: got 1000, expected at most [0-9]+, the number of",
  ):
    forecasting.Problem(arm, series)


def filled_splits():
  """Windows of a series that ends early in one of its channels."""
  rng = np.random.default_rng(0)
  values = rng.normal(size=(80, 2))
  values[66:, 1] = np.nan
  values[rng.random(80) < 0.1, 0] = np.nan
  series = windows.Series(values, ("a", "b"), np.arange(80.0))
  return forecast_windows.make_splits(
    series,
    (48, 60, 80),
    4,
    2,
    source="shops.csv",
    license="none",
    missing="forward_fill",
  )


def _scored(splits, error):
  known = splits.test.extras.observed[:, 4:]
  assert 0.2 < known.mean() < 0.8
  return np.square(error)[known].mean(), np.abs(error)[known].mean()


def test_values_that_were_filled_are_not_scored():
  splits = filled_splits()
  series = forecasting.spans(splits)
  network = nn.NetworkConfig(
    nn.StackConfig("gru", d_model=2, num_layers=1), pooling="last"
  )
  arm = forecasting.ArmConfig(network, batch_size=8, objective="mae")
  problem = forecasting.Problem(arm, series)
  variables = jax.jit(problem.init)(jax.random.key(0))
  metrics = jax.jit(problem.evaluate)(variables, problem.data)
  forecast = jax.jit(problem.network.apply)(variables, splits.test.inputs)
  mse, mae = _scored(splits, forecast - splits.test.targets)
  np.testing.assert_allclose(metrics["mse"], mse, rtol=1e-5)
  np.testing.assert_allclose(metrics["mae"], mae, rtol=1e-5)
  found = forecast_baselines.baselines(series, period=1)["repeat last"]
  error = splits.test.targets - splits.test.inputs[:, -1:]
  mse, mae = _scored(splits, error)
  np.testing.assert_allclose([found["mse"], found["mae"]], [mse, mae])
  # Nor are they learnt from.
  batch = problem.sample(jax.random.key(1), 0, problem.data)
  key = jax.random.key(2)
  loss = jax.jit(lambda batch: problem.loss(variables, batch, None, key)[0])
  other = batch.at[:, 4:, :2].add(7 * (1 - batch[:, 4:, 2:]))
  assert not np.array_equal(other, batch)
  np.testing.assert_allclose(loss(other), loss(batch), rtol=1e-6)


def test_intervals_come_from_measured_values():
  splits = filled_splits()
  # Of the test span, in which a channel ends.
  splits = splits._replace(valid=splits.test)
  network = forecasting.make_forecaster(_arm(), 2)
  variables = jax.jit(network.init)(jax.random.key(0), splits.test.inputs[0])
  calibrated = forecasting.TASK.outputs.calibrate(network, variables, splits)
  forecast = jax.jit(network.apply)(variables, splits.test.inputs)
  error = np.abs(forecast - splits.test.targets)
  known = splits.test.extras.observed[:, 4:]
  for place in np.ndindex(2, 2):
    errors = np.sort(error[:, *place][known[:, *place]])
    width = errors[conformal.rank(len(errors), 80) - 1]
    found = calibrated["intervals"]["80"][place]
    np.testing.assert_allclose(found, width, rtol=1e-5)


def test_the_share_of_filled_values_is_told(caplog):
  filled_splits()
  assert (
    "shops.csv: 13.8 % of the values are missing and are filled (missing = "
    "'forward_fill'), at most 17.5 %, of 'b': errors are measured without"
  ) in caplog.text
  values = np.arange(40.0)[:, None].repeat(1, 1)
  values[32:] = np.nan
  series = windows.Series(values, ("a",), np.arange(40.0))
  with pytest.raises(ValueError, match="test: got no measured value, expected"):
    forecast_windows.make_splits(
      series, (28, 32, 40), 4, 2, source="s", license="", missing="mean"
    )


def test_training_is_watched_by_windows_that_are_spread_evenly(splits):
  series = forecasting.spans(splits)
  problem = forecasting.Problem(_arm(valid_windows=3), series)
  variables = problem.init(jax.random.key(0))
  found = problem.validate(variables, problem.data)["valid_mse"]
  count = len(splits.valid.inputs)
  rows = [0, count // 3, 2 * count // 3]
  some = data.take(splits.valid, np.array(rows))
  forecast = problem.network.apply(variables, some.inputs)
  wanted = np.mean((np.asarray(forecast) - some.targets) ** 2)
  np.testing.assert_allclose(found, wanted, rtol=1e-5)
  for most in (None, count, count + 1):
    whole = forecasting.Problem(_arm(valid_windows=most), series)
    value = whole.validate(variables, whole.data)["valid_mse"]
    forecast = problem.network.apply(variables, splits.valid.inputs)
    wanted = np.mean((np.asarray(forecast) - splits.valid.targets) ** 2)
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
