"""Recommendation: what is scored, masked, recommended, and learnt."""

import dataclasses
import types

import jax
import numpy as np
import pytest

from configs.recommend import quickstart
from jaxseq import data
from jaxseq import nn
from jaxseq.data.sources import interactions
from jaxseq.tasks import base
from jaxseq.tasks import recommendation
from jaxseq.tasks.recommendation import arms as recommendation_arms
from jaxseq.tasks.recommendation import baselines as item_baselines
from jaxseq.tasks.recommendation import item_linear
from jaxseq.tasks.recommendation import item_streams
from jaxseq.tasks.recommendation import metrics as item_metrics
from jaxseq.tasks.recommendation import network as item_network
from jaxseq.tasks.recommendation import task as recommendation_task
from jaxseq.training import recipes
from jaxseq.training import supervised
from tests.models import cases


def _arm(d_model=8, batch_size=4, pooling="none", mixer="gru", **options):
  both = options.get("loss") == "masked"
  stack = nn.StackConfig(
    mixer, d_model=d_model, num_layers=1, bidirectional=both
  )
  network = nn.NetworkConfig(stack, pooling=pooling)
  recipe = recipes.Recipe(learning_rate=1e-2, warmup_steps=0)
  return recommendation_arms.ArmConfig(
    network, recipe, batch_size=batch_size, **options
  )


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["full", "masked"])
def test_a_network_learns_what_follows(loss):
  splits = data.load("item_chains", users=300, items=25, events=8)
  arm = _arm(d_model=24, batch_size=50, loss=loss)
  problem = recommendation.make(arm, splits)
  optimizer = base.make_optimizer(arm, 250)
  state = supervised.init(problem, optimizer, jax.random.key(0))
  state, _ = jax.jit(
    lambda state, data: supervised.train(problem, optimizer, state, data, 250)
  )(state, problem.data)
  found = jax.jit(problem.evaluate)(state.variables, problem.data)
  known = item_baselines.histories(splits, "test")
  popular = item_baselines.popular(known)
  floor = item_metrics.floor(popular, splits, "test", False)
  # The item that follows is the next one in about .8 of the cases; the MRR of
  # the most popular items is .24.
  assert found["mrr"] > 0.7
  assert floor["mrr"] < 0.5
  assert found["valid_ndcg_10"] > 0.7


def test_the_newest_items_are_read_whatever_stands_behind():
  case = cases.case("recommendation")
  network, variables = case.model.network, case.model.variables
  rng = np.random.default_rng(0)
  items = rng.integers(1, 15, (3, 9)).astype(np.int32)
  lengths = np.array([2, 3, 9], np.int32)
  length = network.length
  assert length == 3
  apply = jax.jit(network.apply, static_argnames="last")
  found = apply(variables, items, lengths, last=True)
  for row, count, logits in zip(items, lengths, found):
    read = row[max(count - length, 0) : count][None]
    alone = apply(variables, read, np.array([read.shape[1]]))
    # Sums in another order, in float32.
    np.testing.assert_allclose(logits, alone[0, -1], rtol=1e-5, atol=1e-6)


def test_a_network_of_both_sides_is_asked_behind_the_newest():
  splits = data.load("item_chains", users=8, items=14, events=6)
  problem = recommendation.make(_arm(loss="masked"), splits)
  network = problem.network
  variables = jax.jit(problem.init)(jax.random.key(0))
  items = np.array([[3, 1, 4, 9, 9], [2, 7, 1, 8, 5]], np.int32)
  lengths = np.array([2, 5], np.int32)
  apply = jax.jit(network.apply, static_argnames="last")
  found = apply(variables, items, lengths, last=True)
  assert network.length == 3
  for logits, row in zip(found, ([3, 1, 0], [8, 5, 0])):
    read = apply(variables, np.array([row]), np.array([3]))
    np.testing.assert_allclose(read[0, -1], logits, rtol=1e-5, atol=1e-6)
  with pytest.raises(ValueError, match="masked: got True, expected False"):
    item_streams.Users(network, variables)
  stack = nn.StackConfig("gru", d_model=8)
  with pytest.raises(ValueError, match="bidirectional: got 'False in layer 0"):
    recommendation_arms.ArmConfig(nn.NetworkConfig(stack), loss="masked")
  both = nn.NetworkConfig(nn.StackConfig("gru", bidirectional=True))
  recommendation_arms.ArmConfig(both, loss="autoencode")
  with pytest.raises(
    ValueError, match="got True, .* the next item is predicted"
  ):
    recommendation_arms.ArmConfig(both)


def test_a_network_starts_from_ease():
  splits = data.load("item_chains", users=60, items=25, events=8)
  problem = recommendation.make(_arm(from_ease=True), splits)
  variables = jax.jit(problem.init)(jax.random.key(0))
  known = variables[item_network.ITEMS]["scores"]

  def row(regularization, part):
    # As the rows of the table: for the test part with that for validation.
    fitted = {"valid": "train", "test": "test"}[part]
    histories = item_baselines.histories(splits, fitted)
    inverse = item_baselines.ease_inverse(histories.has, regularization)
    decay = float(known["decay"])
    ease = item_baselines.ease(histories, decay, inverse=inverse)

    def newest(items, lengths):
      read = problem.network.newest(items, lengths)[:2]
      return ease(*map(np.asarray, read))

    return item_metrics.floor(newest, splits, part, False)["ndcg_10"]

  found = jax.jit(problem.evaluate)(variables, problem.data)
  rows = {
    (row(one, "valid"), row(one, "test"))
    for one in item_metrics.REGULARIZATIONS
  }
  pair = found["valid_ndcg_10"], found["ndcg_10"]
  assert any(pair == pytest.approx(one, abs=1e-5) for one in rows)
  # So does the model that is saved.
  saved = item_linear.calibrate(problem.network, variables, splits)
  metrics = jax.jit(problem.measure)(saved, problem.data["test"])
  assert metrics["ndcg_10"] == pytest.approx(found["ndcg_10"])
  # What EASE knows is not trained, and how much it counts is.
  gradient = jax.grad(
    lambda params: problem.loss(
      {**variables, "params": params},
      data.take(splits.train, slice(0, 4)),
      None,
      jax.random.key(1),
    )[0]
  )(variables["params"])
  assert gradient["scores"]["gain"] != 0
  with pytest.raises(ValueError, match="from_ease: got True, expected False"):
    _arm(from_ease=True, loss="sampled")
  many = interactions.make_splits(
    [np.arange(1, 9, dtype=np.int32)],
    [interactions.leave_one_out(8)],
    interactions.InteractionSource(items=tuple(map(str, range(3000)))),
    10,
    "memory",
  )
  network = recommendation_arms.make_network(_arm(from_ease=True), many)
  assert not network.linear


def test_what_is_rebuilt_needs_items_with_vectors():
  for options in ({"items": "text"}, {"gaps": True, "mixer": "s5"}):
    with pytest.raises(ValueError, match="loss: got 'autoencode', expected an"):
      _arm(loss="autoencode", **options)


def test_the_share_of_items_told_is_the_same_in_batches_of_any_size():
  rng = np.random.default_rng(3)
  histories = [rng.integers(1, 7, n, np.int32) for n in [4] * 4 + [12] * 4]
  splits = interactions.make_splits(
    histories,
    [interactions.leave_one_out(len(one)) for one in histories],
    interactions.InteractionSource(items=tuple("abcdef")),
    10,
    "memory",
  )
  problem = recommendation.make(_arm(loss="autoencode"), splits)
  variables = problem.init(jax.random.key(0))
  shares = []
  for problem.at_least in (4, 8):
    measured = problem.measure(variables, problem.data["test"])
    shares.append(measured["rebuilt"])
  np.testing.assert_allclose(*shares, rtol=1e-5)


@pytest.mark.slow
def test_items_are_told_from_one_vector_and_rank_the_rest():
  # Nothing follows from the item before: all has to come from the vector.
  options = {"users": 200, "items": 12, "events": 6, "length": 4}
  splits = data.load("item_chains", follow=0.0, **options)
  arm = _arm(d_model=32, batch_size=50, loss="autoencode")
  problem = recommendation.make(arm, splits)
  optimizer = base.make_optimizer(arm, 800)
  state = supervised.init(problem, optimizer, jax.random.key(0))
  state, _ = jax.jit(
    lambda state, data: supervised.train(problem, optimizer, state, data, 800)
  )(state, problem.data)
  measured = jax.jit(problem.evaluate)(state.variables, problem.data)
  # By how popular items are, and which are there already, it is some .25.
  assert measured["rebuilt"] > 0.6
  network, batch = problem.network, base.first(problem.data["test"])
  items, lengths, _ = network.newest(batch.inputs, batch.lengths)
  every = network.apply(state.variables, items, lengths)
  share = jax.nn.softmax(every)[0, : lengths[0]].mean(axis=0)
  ranked = network.apply(state.variables, *problem.inputs(batch), last=True)
  np.testing.assert_allclose(np.exp(ranked[0]), share, rtol=1e-4, atol=1e-7)
  with pytest.raises(ValueError, match="rebuilds: got True, expected False"):
    item_streams.Users(network, state.variables)


def test_items_that_a_user_has_taken_are_recommended_on_demand_alone():
  model = cases.case("recommendation").model
  taken = [list(range(12)), [3], [3, 4]]
  found = model.predict(taken)
  users = [set(found["item"][found["id"] == name]) for name in "012"]
  # Of 14 items two are left for the first.
  assert users[0] == {"12", "13"}
  assert [len(user) for user in users[1:]] == [10, 10]
  assert "3" not in users[1] | users[2]
  assert found["rank"].tolist() == [1, 2, *range(1, 11), *range(1, 11)]
  best = found["score"][2:12]
  assert np.all(np.diff(best) <= 0)
  repeating = dataclasses.replace(
    model, network=model.network.clone(repeats=True)
  )
  again = repeating.predict([list(range(14))])
  assert len(again["item"]) == 10


def test_targets_that_were_taken_before_are_told(caplog, monkeypatch):
  monkeypatch.setattr(item_metrics, "floors", lambda *arguments: {})
  monkeypatch.setattr(item_baselines, "factors", lambda known: None)
  histories = [np.arange(1, 5, dtype=np.int32)] * 40
  histories[:5] = [np.array([1, 2, 3, 1], np.int32)] * 5
  source = data.sources.interactions.InteractionSource(items=tuple("abcd"))
  parts = [data.sources.interactions.leave_one_out(4)] * 40
  splits = data.sources.interactions.make_splits(
    histories, parts, source, 4, "here"
  )
  few = splits._replace(test=data.take(splits.test, slice(5, None)))
  config = types.SimpleNamespace(repeats=False)
  recommendation_task._baselines(few, config, "test")
  recommendation_task._baselines(splits, config, "valid")
  config.repeats = True
  recommendation_task._baselines(splits, config, "test")
  assert not caplog.text
  config.repeats = False
  recommendation_task._baselines(splits, config, "test")
  assert "5 of 40 test targets had been taken before" in caplog.text
  assert "--config.repeats=True" in caplog.text


def test_wrong_data_and_networks_are_refused():
  splits = data.load("item_chains", users=8, items=14, events=6)
  with pytest.raises(ValueError, match="network.pooling: got 'mean'"):
    recommendation.make(_arm(pooling="mean"), splits)
  with pytest.raises(ValueError, match="the data: got .*histories of items"):
    recommendation.make(_arm(), data.load("hawkes", train=6, horizon=5.0))


def test_the_config_for_a_table_takes_one_of_few_users(tmp_path):
  path = tmp_path / "ratings.csv"
  rows = [f"u{n // 5},i{n * n % 11},{n}" for n in range(20 * 5)]
  path.write_text("\n".join(["user,item,time", *rows]))
  config = quickstart.get_config("table")
  splits = data.load(config.data, path=path)
  arm = recommendation_arms.ArmConfig(
    cases.network(), batch_size=config.batch_size
  )
  assert recommendation.make(arm, splits).size == 20
  arm = dataclasses.replace(arm, batch_size=64)
  message = "64, expected at most 20, .* examples; set --config.batch_size"
  with pytest.raises(ValueError, match=message):
    recommendation.make(arm, splits)


def test_a_sample_is_scored_as_among_all_items():
  case = cases.case("recommendation")
  network, variables = case.model.network, case.model.variables
  rng = np.random.default_rng(0)
  items, targets = rng.integers(1, 15, (2, 2, 3)).astype(np.int32)
  others = rng.integers(1, 15, (2, 5)).astype(np.int32)
  lengths = np.array([3, 3], np.int32)
  every = jax.jit(network.apply)(variables, items, lengths)
  positive, negative = network.apply(
    variables, items, lengths, targets, others, method="compare"
  )
  rows = np.arange(2)[:, None, None]
  at = np.arange(3)[:, None]
  # Products of float32 in another order.
  close = {"rtol": 1e-5, "atol": 1e-6}
  np.testing.assert_allclose(
    positive, every[rows, at, targets[..., None] - 1][..., 0], **close
  )
  np.testing.assert_allclose(
    negative, every[rows, at, others[:, None] - 1], **close
  )


def test_an_arm_has_the_problem_of_its_loss():
  splits = data.load("item_chains", users=8, items=14, events=6)
  losses = "full", "sampled", "gbce", "masked", "autoencode"
  made = [type(recommendation.make(_arm(loss=x), splits)) for x in losses]
  assert len(set(made)) == len(losses)
  assert made[0] is recommendation.Problem
  with pytest.raises(
    ValueError, match="arm: got .loss 'sampled' and items 'ids'"
  ):
    recommendation.Problem(_arm(loss="sampled"), splits)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["sampled", "gbce"])
def test_losses_over_a_sample_reach_what_they_look_at(loss):
  splits = data.load("item_chains", users=8, items=14, events=6)
  problem = recommendation.make(_arm(loss=loss, negatives=3), splits)
  variables = jax.jit(problem.init)(jax.random.key(0))
  batch = base.first(problem.data["train"])
  (value, told), grads = jax.value_and_grad(problem.loss, has_aux=True)(
    variables, batch, None, jax.random.key(1)
  )
  assert np.isfinite(value)
  assert told.metrics == {}
  moved = grads["params"]["network"]["embed"]["embedding"]
  rows = np.flatnonzero(np.abs(moved).max(axis=1))
  # Three that are read, one more that is a target, and three of the sample.
  assert 0 not in rows
  assert 3 < len(rows) <= 7


@pytest.mark.slow
def test_gaps_reach_the_mixer_and_are_asked_for():
  splits = data.load("item_chains", users=8, items=14, events=6)
  with pytest.raises(ValueError, match="gaps: got True, expected False for"):
    _arm(gaps=True)
  arm = _arm(mixer="s5", gaps=True)
  with pytest.raises(ValueError, match="gaps: got True, expected False, or da"):
    recommendation.make(arm, splits)
  splits = splits._replace(
    **{
      part: one._replace(
        extras=one.extras._replace(
          gaps=np.full(one.inputs.shape, gap, np.float32)
        )
      )
      for part, one, gap in zip(("train", "valid", "test"), splits, (1, 1, 3))
    }
  )
  problem = recommendation.make(arm, splits)
  variables = jax.jit(problem.init)(jax.random.key(0))
  # Gaps of 1 are none.
  plain = recommendation.make(_arm(mixer="s5"), splits)
  losses = [
    float(one.scores(variables, problem.data[part])[0]["test_loss"])
    for part in ("valid", "test")
    for one in (problem, plain)
  ]
  assert losses[0] == pytest.approx(losses[1], rel=1e-5)
  assert abs(losses[2] - losses[3]) > 1e-6
