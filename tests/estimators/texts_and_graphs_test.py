"""Estimators of texts and of the events of graphs."""

import pickle

import numpy as np
import pandas as pd
import pytest

import jaxseq
from jaxseq import estimators
from tests.estimators import cases

OPTIONS = {**cases.SMALL, "num_updates": 80, "learning_rate": 0.03}
TEXTS = ["abcabcabcabcabc", "xyxyxyxyxyxy"] * 6
# Every node sends to the one after it, at any time.
TURN = np.random.default_rng(0).integers(0, 5, 60)
EVENTS = pd.DataFrame(
  {
    "source": [f"n{i}" for i in TURN],
    "destination": [f"n{(i + 1) % 5}" for i in TURN],
    "time": np.arange(60.0),
  }
)


def test_texts_are_continued_as_they_began(tmp_path):
  model = estimators.TextGenerator(
    length=8, new_tokens=6, temperature=0.0, **OPTIONS
  ).fit(TEXTS)
  assert model.predict(["abc", "xyx"]) == ["abcabcabc", "xyxyxyxyx"]
  probabilities = model.predict_proba(["abca", "xy"])
  assert probabilities.shape == (2, 256)
  likely = [chr(x) for x in probabilities.argmax(axis=1)]
  assert likely == ["b", "x"]
  # A text beside a longer one has the score that it has alone.
  each = [model.score([one]) for one in ("abcabc", "xyxyxyxyxyxy")]
  together = model.score(["abcabc", "xyxyxyxyxyxy"])
  np.testing.assert_allclose(together, np.average(each, weights=[6, 12]), 1e-5)
  assert model.score(TEXTS) > model.score(["cbacba"]) > -20
  again = pickle.loads(pickle.dumps(model))
  np.testing.assert_array_equal(
    again.predict_proba(["abca", "xy"]), probabilities
  )
  model.save(tmp_path / "model.safetensors")
  loaded = jaxseq.load(tmp_path / "model.safetensors")
  assert loaded.kind == "language"


def test_texts_stop_early_by_their_last_documents():
  model = estimators.TextGenerator(
    length=8, early_stopping=1, evaluations=2, **{**OPTIONS, "num_updates": 4}
  ).fit(TEXTS)
  assert len(model.history_["bits_per_token"]) > 0
  with pytest.raises(ValueError, match="texts: got 'one', expected a list"):
    model.predict("one")
  with pytest.raises(ValueError, match="text 1: got .int., exp"):
    model.fit(["one", 3])


def test_nodes_go_where_they_went(tmp_path):
  model = estimators.TemporalGraph(**OPTIONS).fit(EVENTS)
  nodes = ["n3", "n0"]
  assert model.predict(nodes).tolist() == ["n4", "n1"]
  # Times may come in any order, and say when each is asked.
  assert model.predict(nodes, [63.0, 61.0]).tolist() == ["n4", "n1"]
  later = EVENTS.assign(time=EVENTS["time"] + 60)
  assert model.score(later) > 0.9
  rows = model.predictions(nodes)
  assert rows["destination"][rows["rank"] == 1].tolist() == ["n4", "n1"]
  assert model.predict(later).tolist() == later["destination"].tolist()
  again = pickle.loads(pickle.dumps(model))
  assert again.predict(nodes).tolist() == ["n4", "n1"]
  model.save(tmp_path / "model.safetensors")
  loaded = jaxseq.load(tmp_path / "model.safetensors")
  assert loaded.kind == "temporal_graph"


def test_events_that_are_not_as_expected_have_a_sentence():
  model = estimators.TemporalGraph(**{**OPTIONS, "num_updates": 2})
  with pytest.raises(ValueError, match=r"TemporalGraph\(columns=\(SOURCE, DES"):
    model.fit(EVENTS.rename(columns={"source": "from"}))
  with pytest.raises(ValueError, match="the three columns source, destination"):
    model.fit("events.csv")
  model.fit(EVENTS)
  with pytest.raises(ValueError, match="59.0 or later: the training ended"):
    model.score(EVENTS)
  with pytest.raises(ValueError, match="node 1: got None, expected one name"):
    model.predict(["n1", None])
  with pytest.raises(
    ValueError, match="times: got 1, expected 2, one for each"
  ):
    model.predict(["n1", "n2"], [80.0])
