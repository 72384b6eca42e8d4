"""Learning from answers that a program checks."""

import dataclasses
import functools
import json
import pathlib
import re
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs.group_policy import sums
from experiments.group_policy import checked_answers
from experiments.group_policy import digit_sums
from experiments.group_policy import group_policy
from jaxseq import nn
from jaxseq.adapt import lora
from jaxseq.adapt import peft_file
from jaxseq.interop import network_file
from jaxseq.tasks import adaptation
from jaxseq.tasks import base
from jaxseq.tasks import losses
from jaxseq.training import supervised
from tests.experiments import programs


def _problem(name, **fields):
  config = sums.get_config()
  arm = checked_answers.TASK.arm_config(config, name)
  arm = dataclasses.replace(arm, **fields)
  source = checked_answers.TASK.load(config)
  problem = checked_answers.TASK.problem(arm, source, config)
  return problem, base.make_optimizer(arm, config.num_updates)


@pytest.mark.slow
def test_updates_follow_right_answers_and_then_rewards():
  problem, _ = _problem("gru", batch_size=8, group=4, warm_updates=1)
  variables = jax.jit(problem.init)(jax.random.key(0))
  batch = problem.sample(jax.random.key(1), 0, None)
  run = jax.jit(jax.grad(problem.loss, has_aux=True))
  warm, _ = run(variables, batch, None, jax.random.key(2))
  # At first no answer is right, no group has a spread, and nothing is learnt.
  later = problem.sample(jax.random.key(1), 1, None)
  assert batch.warm.all()
  assert not later.warm.any()
  none, extra = run(variables, later, None, jax.random.key(2))
  assert extra.metrics["reward"] == 0
  assert extra.metrics["flat_groups"] == 1
  sizes = [float(optax.tree.norm(each)) for each in (warm, none)]
  assert sizes[0] > 0.1
  assert sizes[1] == 0
  # In float32 the rollouts' log-probabilities are those of training.
  assert extra.metrics["mismatch"] < 1e-5


class _Endings(digit_sums.Sums):
  """Prompts whose answers are right if they begin with an even byte."""

  def reward(self, prompts, tokens, mask):
    """Returns 1 for about every second answer."""
    return (tokens[:, 0] % 2 == 0).astype(jnp.float32)


_NETWORK = nn.NetworkConfig(nn.StackConfig("gru", d_model=8, num_layers=1))


def test_later_updates_learn_from_the_same_answers_by_clipped_ratios():
  arm = checked_answers.ArmConfig(_NETWORK, batch_size=2, group=4)
  several = dataclasses.replace(arm, rollout_updates=2)
  once, twice = (
    checked_answers.Problem(each, _Endings(1)) for each in (arm, several)
  )
  key, network = jax.random.key(0), twice.network
  variables = jax.jit(network.init)(key, twice.sums.every()[:1])
  first, second, third = (twice.sample(key, i, None) for i in range(3))
  # The first of two updates is the only one of one.
  first_loss, second_loss = jax.jit(once.loss), jax.jit(twice.loss)
  value, extra = first_loss(variables, first, once.carry, key)
  same, drawn = second_loss(variables, first, twice.carry, key)
  assert same == value
  chex.assert_trees_all_equal(drawn.metrics, extra.metrics)
  # The second resumes from its answers and their log-probabilities.
  assert 0 < drawn.metrics["reward"] < 1
  moved = jax.tree.map(lambda x: np.float32(1.1) * np.asarray(x), variables)
  value, later = second_loss(moved, second, drawn.carry, jax.random.key(1))
  chex.assert_trees_all_equal(later.carry, drawn.carry)
  assert later.metrics["reward"] == drawn.metrics["reward"]

  @jax.jit
  def wanted(prompts, tokens, mask, old, gain):
    whole = jnp.concatenate([prompts, tokens], axis=1)
    logits, _ = network.apply(moved, whole[:, :-1])
    log_probs = losses.token_log_probs(logits[:, 3:], tokens, mask)
    return group_policy.loss(log_probs, old, gain, mask, arm.policy)

  want, ratios = wanted(*drawn.carry[:5])
  # Sums of float32 in another order.
  np.testing.assert_allclose(value, want, rtol=1e-4, atol=1e-6)
  assert ratios["clip_fraction"] > 0
  assert later.metrics["clip_fraction"] == ratios["clip_fraction"]
  flags = [bool(each.drawn.all()) for each in (first, second, third)]
  assert flags == [True, False, True]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "states"])
def test_a_base_stays_as_it_is_where_adapters_or_states_learn(method):
  network = nn.SequenceNetwork(_NETWORK, 256, 256)
  variables = jax.jit(network.init)(
    jax.random.key(1), jnp.zeros((1, 1), jnp.int32)
  )
  arm = checked_answers.ArmConfig(
    _NETWORK, batch_size=2, group=4, method=method, rollout_updates=2
  )
  problem = checked_answers.AdaptedProblem(
    arm, _Endings(1), 2, adaptation.Base(network, variables)
  )
  before = jax.tree.map(np.array, problem.data["base"])
  optimizer = optax.sgd(1.0)
  state = supervised.init(problem, optimizer, jax.random.key(0), problem.data)
  update = jax.jit(functools.partial(supervised.update, problem, optimizer))
  for _ in range(3):
    state, metrics = update(state, problem.data)
  chex.assert_trees_all_equal(problem.data["base"], before)
  assert metrics["mismatch"] < 1e-5  # They are drawn with what has learned.
  # What has learned is beside it, and changes what the network says.
  (own, *_), (new, *_) = (
    network.apply(each, problem.sums.every()[:1])
    for each in (variables, problem.served(state.variables, problem.data))
  )
  assert np.abs(own - new).max() > 1e-4
  trained = jax.tree.leaves(state.variables["params"])
  weights = jax.tree.leaves(variables["params"])
  assert sum(map(np.size, trained)) < sum(map(np.size, weights))


@pytest.mark.slow
def test_a_run_goes_on_from_the_network_of_another(monkeypatch, tmp_path):
  config = "configs/group_policy/sums.py:tiny"
  options = "--config.num_seeds=1", "--config.tensorboard=False"
  first, second = tmp_path / "first", tmp_path / "second"
  call = functools.partial(programs.call, monkeypatch, "group_policy", config)
  call(first, "--arms=gru", *options)
  path = first / "gru/network.safetensors"
  begun = f"--config.base={path}", "--config.network={}"
  arms = "--config.arms={'lora': {'method': 'lora'}}"
  call(second, *begun, arms, *options)
  network, variables = network_file.load(path)
  adapters = peft_file.read(second / "lora/adapter", path)
  assert any(np.any(each.b) for each in adapters.values())
  _, merged = network_file.load(second / "lora/network.safetensors")
  chex.assert_trees_all_close(
    merged, lora.merge(variables, adapters), rtol=1e-5, atol=1e-6
  )


@pytest.fixture
def brief(tmp_path, monkeypatch):
  """The file with a reward that the page on adapting shows."""
  page = (pathlib.Path(__file__).parents[2] / "docs/adapting.md").read_text()
  blocks = re.findall(r"```python\n(def score.*?)```", page, re.DOTALL)
  (tmp_path / "brief.py").write_text("\n".join(blocks))
  monkeypatch.syspath_prepend(tmp_path)
  yield "brief:score"
  sys.modules.pop("brief", None)


def test_the_reward_of_the_page_scores_right_sums(brief):
  config = dataclasses.replace(sums.get_config(), reward=brief)
  source = checked_answers.TASK.load(config)
  prompts = source.sums.every()[:2]
  right = source.sums.answers(prompts)
  np.testing.assert_allclose(source.reward(prompts, *right), [0.8, 0.8])
  task = checked_answers.TASK.of(source)
  assert task.metric == next(iter(task.columns)) == "test_reward"


@pytest.mark.slow
def test_a_run_with_a_reward_of_ones_own(brief, monkeypatch, tmp_path):
  workdir = tmp_path / "run"
  programs.call(
    monkeypatch,
    "group_policy",
    "configs/group_policy/sums.py:tiny",
    workdir,
    *("--arms=gru", "--config.tensorboard=False", f"--config.reward={brief}"),
  )
  lines = (workdir / "gru/metrics.jsonl").read_text().splitlines()
  seen = {}
  for line in lines:
    seen |= json.loads(line)
  means = [x for key, x in seen.items() if key.split("/")[-1] == "test_reward"]
  # Wrong answers lose 0.1 for each of their bytes.
  assert means, seen
  assert -0.3 <= np.mean(means) < 0


def test_a_reward_that_is_not_there_is_refused():
  config = dataclasses.replace(sums.get_config(), reward="no_rewards:score")
  with pytest.raises(ValueError, match="reward: got 'no_rewards:score', expec"):
    checked_answers.TASK.load(config)


def test_what_needs_a_base_is_refused():
  config = dataclasses.replace(
    sums.get_config(), arms={"a": {"method": "lora"}}
  )
  with pytest.raises(
    ValueError, match="method: got 'lora', expected 'full' wi"
  ):
    checked_answers.TASK.work(config)
  with pytest.raises(ValueError, match="adapter_dropout: got 0.1, expected 0:"):
    checked_answers.ArmConfig(adapter_dropout=0.1)


def test_a_reference_is_refused():
  policy = dataclasses.replace(checked_answers.ArmConfig().policy, beta=0.1)
  with pytest.raises(ValueError, match="policy.beta: got 0.1, expected 0, as"):
    checked_answers.ArmConfig(policy=policy)


def _successes(problem, optimizer):
  """Yields the share of right answers after every 200 updates."""
  init = jax.jit(lambda key: supervised.init(problem, optimizer, key))
  train = jax.jit(
    lambda state: supervised.train(problem, optimizer, state, None, 200)[0]
  )
  evaluate = jax.jit(lambda variables: problem.evaluate(variables, None))
  state = init(jax.random.key(0))
  for _ in range(10):
    state = train(state)
    yield float(evaluate(state.variables)["success"])


@pytest.mark.slow
def test_rewards_are_what_teaches():
  results = {}
  for name in ("gru", "shuffled"):
    problem, optimizer = _problem(name)
    results[name] = list(_successes(problem, optimizer))
  assert results["gru"][0] < 0.3
  assert results["gru"][-1] > 0.9
  assert results["shuffled"][-1] < 0.5
