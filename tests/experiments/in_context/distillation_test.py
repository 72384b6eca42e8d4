"""Distillation: windows of one task each, and policies that play."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments.in_context import context_arms
from experiments.in_context import distillation
from experiments.in_context import learning_histories
from jaxseq.data import trajectories
from jaxseq.rl import policies
from jaxseq.training import supervised

CONFIG = context_arms.Config(
  env_id="DarkRoomCorner",
  env_options={"size": 3, "max_steps": 4, "goals": "training"},
  held_out={"goals": "held_out"},
  learner={"histories": 5, "episodes": 6},
  window=3,
  num_trials=2,
  shown=(1,),
  evaluation_tasks=3,
  arms={"gru": {}},
)
ARM = context_arms.ArmConfig(batch_size=5)


def _arm(**fields):
  stack = dataclasses.replace(
    ARM.network.stack,
    mixer="gru",
    d_model=4,
    num_layers=1,
    activation="none",
  )
  network = dataclasses.replace(ARM.network, stack=stack)
  return dataclasses.replace(ARM, network=network, **fields)


def _recorded():
  """Histories whose rewards are the numbers of their steps."""
  steps = 5 * 6 * 4
  rng = np.random.default_rng(0)
  return trajectories.from_flat(
    rng.integers(0, 3, (steps, 2)),
    rng.integers(0, 5, steps),
    np.arange(steps),
    np.arange(1, steps + 1) % 4 == 0,
  )


def test_windows_are_successive_episodes_of_one_task():
  problem = distillation.Problem(CONFIG, _arm(), _recorded())
  sample = jax.jit(problem.sample)
  starts = set()
  for update in range(8):
    batch = sample(jax.random.key(0), update, problem.data)
    steps = np.asarray(batch.rewards).astype(int)
    assert steps.shape == (5, 12)
    np.testing.assert_array_equal(np.diff(steps, axis=1), 1)
    history = steps // 24
    assert (history == history[:, :1]).all()
    # Each history once in so many rows.
    assert sorted(history[:, 0]) == list(range(5))
    np.testing.assert_array_equal(batch.starts, steps % 4 == 0)
    starts |= set((steps[:, 0] % 24).tolist())
  assert starts == {0, 4, 8, 12}
  whole = dataclasses.replace(CONFIG, window=0)
  problem = distillation.Problem(whole, _arm(), _recorded())
  batch = problem.sample(jax.random.key(0), 0, problem.data)
  assert batch.rewards.shape == (5, 24)
  np.testing.assert_array_equal(batch.rewards[:, 0] % 24, 0)


def test_without_memory_the_loss_is_that_of_each_episode_alone():
  problem = distillation.Problem(CONFIG, _arm(keep_memory=False), _recorded())
  variables = jax.jit(problem.init)(jax.random.key(0))
  batch = problem.sample(jax.random.key(1), 0, problem.data)
  loss, _ = jax.jit(problem.loss)(variables, batch, None, jax.random.key(2))
  # Windows of three episodes become rows of one.
  alone = jax.tree.map(lambda x: x.reshape(15, 4, *x.shape[2:]), batch)

  @jax.jit
  def log_prob(variables, part):
    seen = learning_histories.inputs(problem.trials, part)
    return problem.network.apply(variables, seen)[0].log_prob(part.actions)

  expected = -log_prob(variables, alone).mean()
  np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.slow
def test_a_distilled_policy_plays_and_is_saved(tmp_path):
  problem = distillation.Problem(CONFIG, _arm(), _recorded())
  variables = jax.jit(problem.init)(jax.random.key(0))
  metrics = jax.jit(problem.evaluate)(variables, problem.data)
  trials = metrics.pop(supervised.TALLIES)
  assert set(metrics) == {"return", "return_1"}
  np.testing.assert_array_equal(
    trials, [metrics["return_1"], metrics["return"]]
  )
  path = tmp_path / "policy.safetensors"
  policies.save(path, problem.agent, variables)
  policy = policies.load(path)
  assert policy.config == problem.agent
  options = dict(policy.config.env_options)["options"]
  assert dict(options)["goals"] == "held_out"
