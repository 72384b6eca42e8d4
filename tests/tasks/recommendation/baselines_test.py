"""Floors of recommendation: what they count, and the closed form of EASE."""

import numpy as np
import pytest
from scipy import sparse

from jaxseq import data
from jaxseq.data.sources import interactions
from jaxseq.tasks.recommendation import baselines as item_baselines
from jaxseq.tasks.recommendation import metrics as item_metrics


def test_ease_is_that_of_the_reference(golden):
  known = golden("recsys/ease")
  has = sparse.csr_array(known["interactions"])
  regularization = float(known["regularization"])
  inverse = item_baselines.ease_inverse(has, regularization)
  weights = item_baselines.ease_weights(inverse)
  np.testing.assert_allclose(weights, known["weight"], atol=1e-12)
  later = item_baselines.ease_with_user(inverse, known["new_row"])
  np.testing.assert_allclose(
    item_baselines.ease_weights(later), known["weight_with_new_row"], atol=1e-12
  )
  # By the items of each user in any order, without recency.
  rows = [np.flatnonzero(row) + 1 for row in known["interactions"]]
  lengths = np.array(list(map(len, rows)))
  items = np.zeros((len(rows), lengths.max()), int)
  for place, row in enumerate(rows):
    items[place, : len(row)] = row
  score = item_baselines.ease(
    item_baselines.Histories(has, None, None), 1.0, inverse=inverse
  )
  np.testing.assert_allclose(score(items, lengths), known["scores"], atol=1e-12)


def splits_of(histories, items, length=2):
  source = interactions.InteractionSource(items=tuple(map(str, range(items))))
  histories = [np.array(one, np.int32) for one in histories]
  parts = [interactions.leave_one_out(len(one)) for one in histories]
  return interactions.make_splits(histories, parts, source, length, "here")


def test_what_comes_before_a_part_is_known_and_no_more():
  # The last user, with two items, is for training alone.
  splits = splits_of([[1, 2, 3, 4, 5, 6], [2, 3, 1, 4], [6, 5]], 6)
  for part, ends in (("train", -2), ("valid", -2), ("test", -1)):
    known = item_baselines.histories(splits, part)
    rows = [[1, 2, 3, 4, 5, 6][:ends], [2, 3, 1, 4][:ends], [6, 5]]
    has = np.zeros((3, 6))
    follows = np.zeros((6, 6))
    for user, row in enumerate(rows):
      has[user, np.array(row) - 1] = 1
      np.add.at(follows, (np.array(row[:-1]) - 1, np.array(row[1:]) - 1), 1)
    np.testing.assert_array_equal(known.has.toarray(), has)
    np.testing.assert_array_equal(known.counts, has.sum(axis=0))
    np.testing.assert_array_equal(known.follows.toarray(), follows)


def test_floors_score_what_they_count():
  splits = splits_of([[1, 2, 3, 4, 5], [2, 3, 1, 4], [3, 1, 2, 5, 4]], 6, 50)
  known = item_baselines.histories(splits, "test")
  items, lengths = splits.test.inputs, splits.test.lengths
  popular = item_baselines.popular(known)(items, lengths)
  np.testing.assert_array_equal(popular[0], [3, 3, 3, 1, 1, 0])
  markov = item_baselines.markov(known)(items, lengths)
  # After 1 came 2 twice, which is one of the most popular.
  assert markov[1].argmax() == 1
  assert markov[1].max() == 2.5
  cosine = item_baselines.neighbors(known, 0.5)(items, lengths)
  together = known.has.toarray().T @ known.has.toarray()
  norms = np.sqrt(np.maximum(np.diag(together), 1))
  cosines = together / norms / norms[:, None]
  np.fill_diagonal(cosines, 0)
  weights = np.array([0.125, 0.25, 0.5, 1, 0, 0])
  np.testing.assert_allclose(cosine[0], weights @ cosines)


def test_floors_of_a_set_have_all_metrics():
  splits = data.load("item_chains", users=60, items=15, events=6)
  found = item_metrics.floors(splits, "test", False)
  assert list(found) == [
    *("most popular", "Markov", "item-kNN, recency", "EASE", "EASE, recency")
  ]
  for values in found.values():
    assert set(values) == {
      *("ndcg_10", "hit_rate_10", "mrr", "coverage", "novelty")
    }
    assert np.isfinite(list(values.values())).all()
  users = item_metrics.strongest(splits, False)
  assert users.shape == (60,)
  wanted = found["EASE, recency"]["ndcg_10"]
  assert users.mean() == pytest.approx(wanted, rel=1e-5)
  # Most items are followed by one that is theirs.
  assert found["Markov"]["mrr"] > found["most popular"]["mrr"] + 0.1


def test_popular_items_are_ranked_among_what_is_new():
  splits = data.load("item_chains", users=40, items=15, events=5)
  scorer = item_baselines.popular(item_baselines.histories(splits, "test"))
  found = item_metrics.floor(scorer, splits, "test", False)
  counts = np.bincount(splits.test.inputs.ravel(), minlength=16)
  ranks = []
  for history, row in zip(splits.test.inputs, splits.test.targets):
    target = row[-1]
    others = [i for i in range(1, 16) if i not in history and i != target]
    higher = sum(counts[i] > counts[target] for i in others)
    equal = sum(counts[i] == counts[target] for i in others)
    ranks.append(1 + higher + equal / 2)
  assert found["mrr"] == pytest.approx(np.mean(1 / np.array(ranks)), rel=1e-6)


def test_without_its_package_a_line_says_how_als_is_a_row(monkeypatch, caplog):
  splits = data.load("item_chains", users=60, items=15, events=6)
  known = item_baselines.histories(splits, "test")
  monkeypatch.setattr(
    item_baselines.importlib.util, "find_spec", lambda _: None
  )
  assert item_baselines.factors(known) is None
  assert "Install it with pip install implicit." in caplog.text


def test_factors_by_als_know_more_than_what_is_popular():
  pytest.importorskip("implicit")
  splits = data.load("item_chains", users=60, items=15, events=6)
  known = item_baselines.histories(splits, "test")
  scorer = item_baselines.factors(known)
  found = item_metrics.floor(scorer, splits, "test", False)
  popular = item_baselines.popular(known)
  popular = item_metrics.floor(popular, splits, "test", False)
  assert found["ndcg_10"] > popular["ndcg_10"]
