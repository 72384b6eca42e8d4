"""Forecaster, EventModel and DisentangledEncoder."""

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


@pytest.mark.slow
def test_events_come_at_their_rate():
  """Regular gaps of 2, and marks in turn."""
  times = [2.0 * np.arange(1, 20) + shift for shift in np.linspace(0, 1, 40)]
  marks = [np.array(["a", "b"])[np.arange(19) % 2] for _ in times]
  model = estimators.EventModel(
    num_updates=300, learning_rate=1e-2, d_model=16, random_state=0
  )
  model.fit(times, marks)
  found = model.predict(times[:1], marks[:1])
  coming = np.isnan(found["gap"])
  assert coming.sum() == 1
  # The gap is always 2.
  assert abs(found["gap_expected"][coming][0] - 2) < 0.5
  assert found["mark"][coming][0] == "b"
  assert model.score(times, marks) > -1


def test_marks_fit_times():
  with pytest.raises(ValueError, match="marks"):
    estimators.EventModel().fit([[1.0, 2.0]], [["a"]])


@pytest.mark.slow
def test_codes_and_back():
  X, _ = cases.waves()
  encoder = estimators.DisentangledEncoder(
    latent=3, num_updates=200, batch_size=32, random_state=0
  )
  codes = encoder.fit_transform(X)
  assert codes.shape == (60, 3)
  decoded = encoder.inverse_transform(codes)
  assert decoded.shape == (60, 30, 1)
  # Better than the mean of all series.
  error = np.square(decoded[..., 0] - X).mean()
  assert error < np.square(X - X.mean(0)).mean()
  assert encoder.score_samples(X).shape == (60,)
  assert encoder.get_feature_names_out().shape == (3,)
