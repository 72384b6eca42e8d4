"""SequenceClassifier: forms of series, early stopping, updates, files."""

import pickle

import numpy as np
import pandas as pd
import pytest

import jaxseq
from jaxseq import estimators
from tests.estimators import cases


@pytest.fixture(scope="module")
def fitted():
  X, y = cases.waves()
  classifier = estimators.SequenceClassifier(
    num_updates=40, learning_rate=1e-2, **cases.SMALL
  )
  return classifier.fit(X, np.array(["slow", "fast"])[y]), X


@pytest.mark.slow
def test_probabilities_and_labels(fitted):
  classifier, X = fitted
  assert classifier.classes_.tolist() == ["fast", "slow"]
  probability = classifier.predict_proba(X)
  # Sums of two numbers in float64.
  np.testing.assert_allclose(probability.sum(1), 1, rtol=1e-12)
  assert np.array_equal(
    classifier.predict(X), classifier.classes_[probability.argmax(1)]
  )
  assert classifier.history_["update"][-1] == classifier.n_updates_ == 40


def test_a_saved_model_says_the_same(fitted, tmp_path):
  classifier, X = fitted
  classifier.save(tmp_path / "model.safetensors")
  model = jaxseq.load(tmp_path / "model.safetensors")
  predicted = model.predict(X[:, :, None])
  assert np.array_equal(predicted["class"], classifier.predict(X))
  copy = pickle.loads(pickle.dumps(classifier))
  assert np.array_equal(copy.predict_proba(X), classifier.predict_proba(X))
  named = classifier.predictions(X)
  assert set(named) >= {"id", "class", "probability_fast", "probability_slow"}


def test_forms_of_the_same_series(fitted):
  classifier, X = fitted
  X = X[:4]
  expected = classifier.predict_proba(X)
  frame = pd.DataFrame({"wave": [pd.Series(row) for row in X]})
  forms = [
    X[:, :, None],
    [row[:, None] for row in X],
    list(X),
    X.tolist(),
    pd.DataFrame(X),
    frame,
  ]
  for form in forms:
    np.testing.assert_array_equal(classifier.predict_proba(form), expected)


@pytest.mark.slow
def test_ragged_series_of_aeon_stop_early():
  X, y = cases.waves(90)
  rng = np.random.default_rng(1)
  ragged = [np.stack([row, -row])[:, : rng.integers(20, 31)] for row in X]
  classifier = estimators.SequenceClassifier(
    num_updates=400,
    learning_rate=3e-2,
    early_stopping=3,
    validation_fraction=0.3,
    channels_first=True,
    **cases.SMALL,
  )
  classifier.fit(ragged, y)
  assert classifier.n_features_in_ == 2
  # Chance is 0.5; two frequencies are told apart at once.
  assert classifier.score(ragged, y) > 0.8
  best = np.argmax(classifier.history_["valid_accuracy"])
  assert classifier.n_updates_ == classifier.history_["update"][best]


@pytest.mark.slow
def test_updates_go_on_after_pickling():
  X, y = cases.waves()

  def updated(copied):
    one = estimators.SequenceClassifier(learning_rate=1e-2, **cases.SMALL)
    for _ in range(3):
      one.partial_fit(X, y, classes=[0, 1, 2])
      if copied:
        one = pickle.loads(pickle.dumps(one))
    assert one.n_updates_ == 3
    return one.predict_proba(X)

  probability = updated(copied=False)
  assert probability.shape == (60, 3)
  np.testing.assert_array_equal(probability, updated(copied=True))


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.01, 0.0])
def test_an_odd_first_example_spoils_no_updates(share):
  """Such as that of a machine that stands still."""

  def series(count, seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, count)
    phase = rng.uniform(0, 6, (count, 1))
    angle = 2 * np.pi * (1 + y[:, None]) * np.linspace(0, 1, 30) + phase
    x = np.stack([np.sin(angle), rng.normal(size=(count, 30))], axis=-1)
    return 20 + 5 * (x + 0.2 * rng.normal(size=x.shape)), y

  (X, y), later = series(270, 0), series(200, 1)
  options = {"learning_rate": 3e-3, **cases.SMALL, "d_model": 16}
  scores = []
  for first in (1.0, share):
    classifier = estimators.SequenceClassifier(**options)
    for number, (x, label) in enumerate(zip(X, y)):
      x = x * first if number == 0 else x
      classifier.partial_fit(x[None], [label], classes=[0, 1, 2])
    scores.append(classifier.score(*later))
  # With the scale of the first example it is 0.3, which is chance.
  assert scores[1] > scores[0] - 0.05 > 0.6


@pytest.mark.slow
def test_missing_values_have_a_treatment():
  X, y = cases.waves()
  X[::7, 3] = np.nan
  options = {"num_updates": 2, **cases.SMALL}
  with pytest.raises(ValueError, match="contains NaN"):
    estimators.SequenceClassifier(**options).fit(X, y)
  with pytest.raises(ValueError, match="got nan at example 0, element 3"):
    estimators.SequenceClassifier(**options).fit(X[:, :, None], y)
  masked = estimators.SequenceClassifier(missing="mask", **options).fit(X, y)
  assert np.isfinite(masked.predict_proba(X)).all()


def test_bad_arguments_are_named(fitted):
  classifier, X = fitted
  with pytest.raises(ValueError, match="X: channels: got 2, expected 1, as in"):
    classifier.predict(np.ones((3, 5, 2)))
  small = estimators.SequenceClassifier(**cases.SMALL)
  with pytest.raises(ValueError, match="y: got one class"):
    small.fit(X, np.zeros(60))
  with pytest.raises(ValueError, match="y: got None in row 1, expected a cl"):
    small.fit(X, np.array(["a", None] * 30, object))
  with pytest.raises(ValueError, match="y: got 3 of them, expected 60"):
    small.fit(X, [0, 1, 0])
  with pytest.raises(ValueError, match="mixer"):
    estimators.SequenceClassifier(mixer="grru").fit(X, np.arange(60) % 2)
