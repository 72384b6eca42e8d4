"""SequenceRegressor: whole series, every element, and streams."""

import numpy as np
import pytest

import jaxseq
from jaxseq import estimators
from jaxseq.training import supervised
from tests.estimators import cases


@pytest.mark.slow
def test_numbers_of_whole_series(tmp_path):
  X, y = cases.waves(classes=3)
  target = 100 + 10.0 * y
  regressor = estimators.SequenceRegressor(
    num_updates=150, learning_rate=2e-2, **cases.SMALL
  )
  regressor.fit(X, target)
  # The mean of the targets has 0.
  assert regressor.score(X, target) > 0.5
  mean, deviation = regressor.predict(X, return_std=True)
  assert mean.shape == deviation.shape == (60,)
  assert (deviation > 0).all()
  regressor.save(tmp_path / "model.safetensors")
  found = jaxseq.load(tmp_path / "model.safetensors").predict(X[:, :, None])
  np.testing.assert_array_equal(found["target_0"], mean)


@pytest.mark.slow
def test_streams_piece_by_piece(monkeypatch):
  """The states are carried: pieces are the whole, in prediction."""
  traced = []
  plain = supervised.update
  monkeypatch.setattr(
    supervised, "update", lambda *args: traced.append(0) or plain(*args)
  )
  rng = np.random.default_rng(0)
  x = rng.normal(size=(4, 24, 2))
  y = np.cumsum(x, axis=1)
  regressor = estimators.SequenceRegressor(
    stepwise=True, learning_rate=1e-2, **cases.SMALL
  )
  for start in (0, 8, 16):
    piece = slice(start, start + 8)
    regressor.partial_fit(x[:, piece], y[:, piece], carry=start > 0)
  assert regressor.n_updates_ == 3
  # Once with fresh states, and once with carried ones.
  assert len(traced) == 2
  whole = regressor.predict(x)
  pieces = [regressor.predict_stream(x[:, i : i + 8]) for i in (0, 8, 16)]
  # float32 rounding of numbers up to 10.
  np.testing.assert_allclose(np.concatenate(pieces, 1), whole, atol=1e-4)
  regressor.restart_stream()
  again = regressor.predict_stream(x[:, :8])
  np.testing.assert_array_equal(again, pieces[0])


@pytest.mark.parametrize("numbers", [(), (2,)])
def test_all_elements_are_scored_together(numbers):
  rng = np.random.default_rng(0)
  X, y = rng.normal(size=(3, 6, 2)), rng.normal(size=(3, 6, *numbers))
  regressor = estimators.SequenceRegressor(
    stepwise=True, num_updates=1, **cases.SMALL
  ).fit(X, y)
  for rows in (slice(None), slice(1)):
    true = y[rows].reshape(-1, *numbers)
    error = true - regressor.predict(X[rows]).reshape(-1, *numbers)
    share = np.square(error).sum(0) / np.square(true - true.mean(0)).sum(0)
    score = regressor.score(X[rows], y[rows])
    np.testing.assert_allclose(score, 1 - np.mean(share), rtol=1e-6)
  weighted = regressor.score(X, y, [1, 0, 0])
  np.testing.assert_allclose(weighted, score, rtol=1e-6)
  with pytest.raises(ValueError, match=r"y: got shape \(3, 5"):
    regressor.score(X, y[:, :5])


def test_other_numbers_of_streams_are_refused():
  X, y = np.zeros((3, 4, 1)), np.zeros((3, 4))
  regressor = estimators.SequenceRegressor(stepwise=True, **cases.SMALL)
  regressor.partial_fit(X, y).predict_stream(X)
  message = "X: got '2 series', expected 3, which go on where those before"
  with pytest.raises(ValueError, match=message):
    regressor.partial_fit(X[:2], y[:2], carry=True)
  with pytest.raises(ValueError, match=message):
    regressor.predict_stream(X[:2])
  assert regressor.n_updates_ == 1


def test_bad_arguments_are_named():
  X, y = cases.waves(8)
  regressor = estimators.SequenceRegressor(**cases.SMALL)
  with pytest.raises(ValueError, match="carry: got True, expected False"):
    regressor.partial_fit(X, y, carry=True)
  with pytest.raises(ValueError, match=r"y: got shape \(8, 2, 1\)"):
    regressor.fit(X, np.ones((8, 2, 1)))
