"""Recommendation: what is scored, masked, recommended, and learnt."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxseq import data
from jaxseq import nn
from jaxseq.tasks import base
from jaxseq.tasks import recommendation
from jaxseq.training import recipes
from jaxseq.training import supervised
from tests.models import cases


def _arm(d_model=8, batch_size=4, pooling="none", **options):
  stack = nn.StackConfig("gru", d_model=d_model, num_layers=1)
  network = nn.NetworkConfig(stack, pooling=pooling)
  recipe = recipes.Recipe(learning_rate=1e-2, warmup_steps=0)
  return recommendation.ArmConfig(
    network, recipe, batch_size=batch_size, **options
  )


@pytest.mark.slow
def test_a_network_learns_what_follows():
  splits = data.load("item_chains", users=300, items=25, events=8)
  arm = _arm(d_model=24, batch_size=50)
  problem = recommendation.Problem(arm, splits)
  optimizer = base.make_optimizer(arm, 250)
  state = supervised.init(problem, optimizer, jax.random.key(0))
  state, _ = jax.jit(
    lambda state, data: supervised.train(problem, optimizer, state, data, 250)
  )(state, problem.data)
  found = jax.jit(problem.evaluate)(state.variables, problem.data)
  floor = recommendation.popular(splits, "test", False)
  # The item that follows is the next one in about .8 of the cases; the MRR of
  # the most popular items is .24.
  assert found["mrr"] > 0.7
  assert floor["mrr"] < 0.5
  assert found["valid_ndcg_10"] > 0.7


def test_popular_items_are_counted_and_ranked():
  splits = data.load("item_chains", users=40, items=15, events=5)
  found = recommendation.popular(splits, "test", False)
  targets = splits.train.targets
  counts = np.bincount(targets[targets > 0], minlength=16)
  ranks = []
  for history, row in zip(splits.test.inputs, splits.test.targets):
    target = row[-1]
    others = [i for i in range(1, 16) if i not in history and i != target]
    higher = sum(counts[i] > counts[target] for i in others)
    equal = sum(counts[i] == counts[target] for i in others)
    ranks.append(1 + higher + equal / 2)
  np.testing.assert_allclose(
    found["mrr"], np.mean(1 / np.array(ranks)), rtol=1e-6
  )
  assert "test_loss" not in found


def test_the_newest_items_are_read_whatever_stands_behind():
  case = cases.case("recommendation")
  network, variables = case.model.network, case.model.variables
  rng = np.random.default_rng(0)
  items = rng.integers(1, 15, (3, 9)).astype(np.int32)
  lengths = np.array([2, 3, 9], np.int32)
  length = network.length
  assert length == 3
  found = network.apply(variables, items, lengths, last=True)
  for row, count, logits in zip(items, lengths, found):
    read = row[max(count - length, 0) : count][None]
    alone = network.apply(variables, read, np.array([read.shape[1]]))
    # Sums in another order, in float32.
    np.testing.assert_allclose(logits, alone[0, -1], rtol=1e-5, atol=1e-6)


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


def test_wrong_data_and_networks_are_refused():
  splits = data.load("item_chains", users=8, items=14, events=6)
  with pytest.raises(ValueError, match="network.pooling: got 'mean'"):
    recommendation.Problem(_arm(pooling="mean"), splits)
  with pytest.raises(ValueError, match="the data: got .*histories of items"):
    recommendation.Problem(_arm(), data.load("hawkes", train=6, horizon=5.0))
