"""Estimators of event logs and of documents."""

import pickle

import numpy as np
import pytest

import jaxseq
from jaxseq import estimators
from tests.estimators import cases

OPTIONS = {**cases.SMALL, "num_updates": 80, "learning_rate": 0.03}
# What comes at the end follows from the beginning.
CASES = [["web", "check", "refuse"], ["desk", "check", "accept"]] * 10
WORDS = {"sea": "ship wave salt", "farm": "cow field hay"}


def documents(count):
  """Documents of two sections, and where these begin."""
  rng = np.random.default_rng(0)
  sizes = [(rng.integers(1, 4), rng.integers(1, 4)) for _ in range(count)]
  return (
    [[WORDS["sea"]] * a + [WORDS["farm"]] * b for a, b in sizes],
    [[1] + [0] * (a - 1) + [1] + [0] * (b - 1) for a, b in sizes],
  )


def test_the_next_activity_depends_on_the_first(tmp_path):
  model = estimators.NextActivity(**OPTIONS).fit(CASES)
  assert model.classes_.tolist() == [
    *("accept", "check", "desk", "refuse", "web"),
    "(end)",
  ]
  asked = [["web", "check"], ["desk", "check"], CASES[0]]
  assert model.predict(asked).tolist() == ["refuse", "accept", "(end)"]
  probabilities = model.predict_proba(asked)
  np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
  # The first activity cannot be known.
  assert model.score(CASES) == pytest.approx(7 / 8)
  assert model.predictions(asked)["activity"][0] == "refuse"
  again = pickle.loads(pickle.dumps(model)).predict_proba(asked)
  np.testing.assert_array_equal(again, probabilities)
  model.save(tmp_path / "model.safetensors")
  loaded = jaxseq.load(tmp_path / "model.safetensors")
  assert (
    loaded.predict(asked)["activity"].tolist() == model.predict(asked).tolist()
  )


def test_cases_that_are_none_have_a_sentence():
  model = estimators.NextActivity(**{**OPTIONS, "num_updates": 2})
  with pytest.raises(ValueError, match="cases: got none, expected at least"):
    model.fit([])
  with pytest.raises(ValueError, match="case 1: got 'no event', expected one"):
    model.fit([["a"], []])
  with pytest.raises(ValueError, match="case 0: got 'open', expected one or"):
    model.fit(["open", "close"])
  model.fit(CASES)
  with pytest.raises(ValueError, match="case 0: activity: got 'mail', expect"):
    model.predict([["mail"]])


def test_sections_begin_where_the_words_change(tmp_path):
  X, y = documents(40)
  model = estimators.Segmenter(words=4, **OPTIONS).fit(X, y)
  assert model.score(X, y) > 0.95
  found = model.predict(X)
  assert (
    np.mean([np.array_equal(f, np.cumsum(s) - 1) for f, s in zip(found, y)])
    > 0.8
  )
  alone = model.predict_proba(X[:1])[0]
  assert alone.shape == (len(X[0]),)
  np.testing.assert_allclose(alone, model.predict_proba(X)[0], atol=1e-5)
  model.save(tmp_path / "model.safetensors")
  loaded = jaxseq.load(tmp_path / "model.safetensors")
  np.testing.assert_array_equal(
    loaded.predict(X)["section"], np.concatenate(found)
  )


def test_documents_that_are_none_have_a_sentence():
  X, y = documents(4)
  model = estimators.Segmenter(words=4, **{**OPTIONS, "num_updates": 2})
  for given, message in (
    (([], []), "documents: got '..', expected documents, each"),
    ((X, y[:2]), "starts: got '2 arrays', expected 4, one for each"),
    ((X, [y[0] * 2, *y[1:]]), "targets of document 0: got shape"),
    ((X, [[2] * len(y[0]), *y[1:]]), r"starts\[0\]: got \[2.*expected 0 and 1"),
    ((["one text", *X[1:]], y), "document 0: got .*expected a sequence of par"),
  ):
    with pytest.raises(ValueError, match=message):
      model.fit(*given)
