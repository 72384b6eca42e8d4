"""Ranks under ties, and the metrics of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.tasks import ranking


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["sasrec_prenorm", "sasrec_postnorm"])
@pytest.mark.parametrize("kind", ["metric", "metric_repeats_allowed"])
def test_metrics_are_those_of_the_reference(golden, name, kind):
  known = golden(f"recsys/{name}")
  padding = np.zeros_like(known["seen"])
  padding[:, 0] = True
  barred = known["seen"] if kind == "metric" else padding
  place = ranking.ranks(known["scores"], known["target"], ~barred)
  np.testing.assert_array_equal(place.average, known[f"{kind}/rank"])
  mrr = ranking.reciprocal_rank(place).mean()
  np.testing.assert_allclose(mrr, known[f"{kind}/MRR"], rtol=1e-12)
  for k in (1, 5, 10, 20):
    for metric, label in ((ranking.hit_rate, "HR"), (ranking.ndcg, "NDCG")):
      wanted = known[f"{kind}/{label}@{k}"]
      np.testing.assert_allclose(metric(place, k).mean(), wanted, rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_ties_count_as_the_mean_over_their_orders(golden):
  known = golden("recsys/tied_ranks")
  place = ranking.ranks(known["scores"], known["target"])
  np.testing.assert_array_equal(place.average, known["rank_average"])
  k = int(known["k"])
  for found, name in (
    (ranking.hit_rate(place, k), "hr_expected"),
    (ranking.ndcg(place, k), "ndcg_expected"),
    (ranking.reciprocal_rank(place), "mrr_average"),
  ):
    np.testing.assert_allclose(found.mean(), known[name], rtol=1e-12)
  for name in ("sasrec_prenorm", "sasrec_postnorm"):
    known = golden(f"recsys/{name}")
    allowed = np.arange(known["scores_tied"].shape[1]) > 0
    tied = ranking.ranks(known["scores_tied"], known["target"], allowed)
    np.testing.assert_array_equal(tied.average, known["metric_tied/rank"])


def test_a_constant_scorer_is_as_good_as_chance():
  scores, targets = jnp.zeros((4, 50)), jnp.arange(4)
  place = ranking.ranks(scores, targets)
  np.testing.assert_array_equal(place.average, 25.5)
  np.testing.assert_allclose(ranking.hit_rate(place, 10), 10 / 50)
  worth = (1 / np.log2(np.arange(2, 12))).sum() / 50
  np.testing.assert_allclose(ranking.ndcg(place, 10), worth, rtol=1e-6)


def test_what_is_nan_comes_last():
  scores = jnp.array([jnp.nan, 1.0, -jnp.inf, 0.0])
  assert float(ranking.ranks(scores, jnp.array(0)).average) == 3.5
  assert float(ranking.ranks(scores, jnp.array(3)).average) == 2.0


def test_the_target_competes_also_where_it_is_not_allowed():
  scores = jnp.array([3.0, 2.0, 1.0])
  allowed = jnp.array([False, False, True])
  assert float(ranking.ranks(scores, jnp.array(1), allowed).average) == 1.0
  assert float(ranking.ranks(scores, jnp.array(2), allowed).average) == 1.0


def test_recall_is_the_share_of_several_targets():
  scores = jnp.array([[5.0, 4.0, 3.0, 2.0, 1.0]])
  place = ranking.ranks(scores[:, None], jnp.array([[0, 2, 4]]))
  relevant = jnp.array([[True, True, True]])
  assert float(ranking.recall(place, relevant, 3)[0]) == pytest.approx(2 / 3)
  relevant = jnp.array([[True, False, True]])
  assert float(ranking.recall(place, relevant, 3)[0]) == 0.5
  with pytest.raises(ValueError, match="k: got 0"):
    ranking.recall(place, relevant, 0)


@pytest.mark.usefixtures("x64")
def test_coverage_novelty_and_gini_are_those_of_the_reference(golden):
  known = golden("recsys/beyond_accuracy")
  count, best = int(known["num_items"]), known["recommended"] - 1
  exposed = ranking.exposure(best, np.ones_like(best, bool), count)
  pairs = np.unique(
    np.stack([known["train_user"], known["train_item"]]), axis=1
  )
  users = np.bincount(pairs[1] - 1, minlength=count)
  total = len(np.unique(pairs[0]))
  # Exposure is float32.
  for value, name in (
    (ranking.coverage(exposed), "coverage"),
    (ranking.novelty(exposed, users, total), "novelty"),
    (ranking.gini(exposed), "gini"),
  ):
    np.testing.assert_allclose(value, known[name], rtol=1e-6)


def test_ranks_among_a_sample_come_with_a_warning():
  scores = jnp.tile(jnp.arange(50.0), (400, 1))
  target = jnp.full(400, 30)
  allowed = jnp.arange(50) % 2 == 1
  with pytest.warns(UserWarning, match="among 10 sampled .*no ranks among all"):
    place = ranking.sampled(
      jax.random.key(0), scores, target, jnp.tile(allowed, (400, 1)), 10
    )
  # Ten of the 25 that are allowed, of which ten are higher: the deviation of a
  # mean over 400 is .06.
  assert abs(float(place.higher.mean()) - 4) < 0.3
  assert float(place.higher.max()) <= 10
  with pytest.warns(UserWarning, match="among 49"):
    every = ranking.sampled(jax.random.key(0), scores, target, allowed, 49)
  np.testing.assert_array_equal(every.higher, 10)


def test_differences_are_paired_by_user():
  rng = np.random.default_rng(0)
  reference = rng.random(50)
  above = 0.1 + 0.01 * rng.normal(size=(2, 50))
  mean, error = ranking.paired(reference + above, reference)
  np.testing.assert_allclose(mean, above.mean(axis=1))
  # Two seeds, and 50 users who differ by 1 from one another.
  assert error == pytest.approx(0.01 / np.sqrt(2 * 50), rel=0.3)
