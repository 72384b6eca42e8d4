"""Forecaster: a series known by heart, frames, bad arguments."""

import numpy as np
import pandas as pd
import pytest

import jaxseq
from jaxseq import estimators
from tests.estimators import cases


@pytest.mark.slow
def test_a_sine_is_forecast(tmp_path):
  y = 50 + 10 * np.sin(np.arange(400) / 4)
  forecaster = estimators.Forecaster(
    input_length=32,
    horizon=8,
    num_updates=400,
    learning_rate=1e-2,
    early_stopping=4,
    **cases.SMALL,
  )
  forecaster.fit(y[:320])
  # The mean of what is to come has 0.
  assert forecaster.score(y[300:]) > 0.8
  # Of a constant all is as in scikit-learn.
  assert forecaster.score(np.ones(100)) in (0, 1)
  forecast = forecaster.predict()
  assert forecast.shape == (8,)
  np.testing.assert_array_equal(forecast, forecaster.predict(y[:320]))
  forecaster.save(tmp_path / "model.safetensors")
  model = jaxseq.load(tmp_path / "model.safetensors")
  found = model.predict([y[:320, None]])
  np.testing.assert_array_equal(found["channel_0"], forecast)


@pytest.mark.slow
def test_intervals_of_a_series():
  y = np.random.default_rng(0).normal(size=60)
  options = {"input_length": 6, "horizon": 2, "num_updates": 2, **cases.SMALL}
  forecaster = estimators.Forecaster(
    intervals=True, validation_fraction=0.5, **options
  ).fit(y)
  found = {x: forecaster.predict_interval(level=x) for x in (80, 95)}
  assert found[80].shape == (2, 2)
  middle = forecaster.predict()[:, None]
  # The ends are rounded to float32 each.
  np.testing.assert_allclose(
    found[80].mean(1, keepdims=True), middle, rtol=1e-5
  )
  assert (found[95][:, 1] > found[80][:, 1]).all()
  # From the errors on the half that was held back, in the series' units.
  windows = np.lib.stride_tricks.sliding_window_view(y[30 - 6 :], 8)
  made = [forecaster.predict(window[:6]) for window in windows]
  errors = np.sort(np.abs(made - windows[:, 6:]), axis=0)
  # Of 29 windows the ceil(30 * 0.8)-th.
  np.testing.assert_allclose(
    found[80][:, 1] - middle[:, 0], errors[23], rtol=1e-4
  )
  later = forecaster.predict_interval(y[:20], level=95)
  assert later.mean(axis=1) == pytest.approx(forecaster.predict(y[:20]))
  # The ceil(30 * 0.9)-th, of any level that as many errors can tell.
  np.testing.assert_allclose(
    forecaster.predict_interval(level=90)[:, 1] - middle[:, 0],
    errors[26],
    rtol=1e-4,
  )
  with pytest.raises(ValueError, match="level: got 97, expected 1 to 96"):
    forecaster.predict_interval(level=97)
  with pytest.raises(ValueError, match="level: got 0.9, expected per cent"):
    forecaster.predict_interval(level=0.9)
  with pytest.raises(ValueError, match="got 2 windows to take intervals from"):
    forecaster.set_params(validation_fraction=0.05).fit(y)
  plain = estimators.Forecaster(**options).fit(y)
  with pytest.raises(ValueError, match="fitted with intervals=True"):
    plain.predict_interval()


@pytest.mark.slow
def test_forecasts_of_a_frame():
  frame = pd.DataFrame(
    np.random.default_rng(0).normal(size=(40, 2)), columns=["load", "wind"]
  )
  forecaster = estimators.Forecaster(
    input_length=6, horizon=3, num_updates=2, **cases.SMALL
  )
  assert forecaster.fit(frame).predict().shape == (3, 2)
  assert forecaster.model_.preparation.channels == ("load", "wind")
  with pytest.raises(ValueError, match="y: channels: got 1, expected 2"):
    forecaster.predict(np.ones(10))
  with pytest.raises(ValueError, match="y: got 4 times to train on"):
    forecaster.fit(frame[:4])
