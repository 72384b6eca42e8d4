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
  forecast = forecaster.predict()
  assert forecast.shape == (8,)
  np.testing.assert_array_equal(forecast, forecaster.predict(y[:320]))
  forecaster.save(tmp_path / "model.safetensors")
  model = jaxseq.load(tmp_path / "model.safetensors")
  found = model.predict([y[:320, None]])
  np.testing.assert_array_equal(found["channel_0"], forecast)


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
