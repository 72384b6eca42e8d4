"""Recordings: whole episodes, without favor for the short ones; levels."""

import dataclasses
import types

from gymnax.environments import spaces
import jax
import numpy as np
import pytest

from jaxseq import nn
from jaxseq.data import trajectories
from jaxseq.rl import algorithms
from jaxseq.rl import conditioned_players
from jaxseq.rl import recording
from jaxseq.rl.agents import ppo
from jaxseq.tasks import decision
from jaxseq.training import finite
from tests.rl import toy

toy.register(AimRecorded=toy.Aim)

CONFIG = dataclasses.replace(
  algorithms.published(ppo.Config),
  env_id="CartPole-v1",
  env_params=(("max_steps_in_episode", 12),),
  network=toy.network(d_model=4, num_layers=0),
  rollout_length=8,
  total_steps=64,
  **toy.QUICK | {"num_envs": 2},
)
PENDULUM = dataclasses.replace(
  CONFIG,
  env_id="Pendulum-v1",
  env_params=(("max_steps_in_episode", 5),),
)


@pytest.mark.parametrize(
  "config", [CONFIG, pytest.param(PENDULUM, marks=pytest.mark.slow)]
)
def test_one_whole_episode_of_each_environment(config):
  variables = ppo.init(config, jax.random.key(0)).variables
  recorded = recording.record(config, variables, jax.random.key(1), 6)
  known = trajectories.statistics(recorded)
  limit = dict(config.env_params)["max_steps_in_episode"]
  assert known.lengths.shape == (6,)
  assert known.lengths.max() <= limit
  np.testing.assert_array_equal(
    recorded.timesteps[recorded.dones], known.lengths - 1
  )
  if config is CONFIG:
    # A reward of 1 at every step.
    np.testing.assert_array_equal(known.returns, known.lengths)
    assert recorded.observations.shape[1:] == (4,)
    assert set(np.unique(recorded.actions)) == {0, 1}
    # Within an episode the place moves by 0.02 times the speed.
    same = ~recorded.dones[:-1]
    moved = np.diff(recorded.observations[:, 0])[same]
    speed = recorded.observations[:-1, 1][same]
    np.testing.assert_allclose(moved, 0.02 * speed, atol=1e-6)
  else:
    np.testing.assert_array_equal(known.lengths, 5)
    assert recorded.actions.shape == (30, 1)
    assert np.abs(recorded.actions).max() <= 2


@pytest.mark.parametrize("scales", [False, True])
def test_actions_are_those_of_the_environment(scales):
  config = dataclasses.replace(
    CONFIG,
    env_id="JaxseqTest-AimRecorded",
    env_params=(),
    scale_actions=scales,
  )
  variables = ppo.init(config, jax.random.key(0)).variables
  recorded = recording.record(config, variables, jax.random.key(1), 4)
  assert recorded.actions.min() >= 200
  assert recorded.actions.max() <= 300
  if scales:
    paid = 100 - np.abs(recorded.actions[:, 0] - 260)
    np.testing.assert_allclose(recorded.rewards, paid, rtol=1e-5)


@pytest.mark.slow
def test_levels(monkeypatch):
  # The returns that are seen at the five looks at the policy.
  means = iter([10.0, 14.0, 16.0, 15.0, 20.0])
  monkeypatch.setattr(
    recording.evaluate,
    "evaluate",
    lambda *_, **__: {"episode_return": np.full(3, next(means))},
  )
  told = []
  levels = recording.train_levels(
    CONFIG,
    jax.random.key(0),
    checkpoints=4,
    report=lambda steps, mean: told.append((steps, mean)),
  )
  assert [level.mean_return for level in levels.values()] == [10, 16, 20]
  assert list(levels) == ["random", "medium", "expert"]
  assert told == [(0, 10), (16, 14), (32, 16), (48, 15), (64, 20)]
  first, _, last = (jax.tree.leaves(x.variables) for x in levels.values())
  assert any((a != b).any() for a, b in zip(first, last))
  with pytest.raises(ValueError, match="checkpoints: got 5, expected 1 to 4"):
    recording.train_levels(CONFIG, jax.random.key(0), checkpoints=5)


@pytest.mark.slow
def test_an_agent_that_diverges_is_not_recorded(tmp_path):
  # The first step of Adam has the size of its learning rate, which float32
  # holds; the second one, of the same update, meets values that overflow.
  config = dataclasses.replace(CONFIG, learning_rate=1e38, num_epochs=2)
  with pytest.raises(
    finite.NotFinite, match="the recorded agent, seed 0: at step 16 "
  ) as caught:
    recording.load_or_make(
      tmp_path, config, jax.random.key(0), 6, checkpoints=4
    )
  assert caught.value.exit_code == 3
  assert not (tmp_path / recording.RECORDED).exists()


@pytest.mark.slow
def test_play_asks_the_model_step_by_step():
  arm = decision.ArmConfig(
    nn.NetworkConfig(
      nn.StackConfig("gru", d_model=4, num_layers=1, activation="none")
    )
  )
  player = ppo.player(CONFIG)
  actions = conditioned_players.actions_of(player)
  assert actions == decision.Actions("discrete", 2)
  model = decision.make_model(arm, actions, 12)
  variables = ppo.init(CONFIG, jax.random.key(0)).variables
  recorded = recording.record(CONFIG, variables, jax.random.key(1), 4)
  scale = decision.scales(recorded)
  windows = trajectories.windows(recorded, np.zeros(1, np.int32), 3)
  init = jax.jit(model.init)
  variables = init(jax.random.key(2), *decision.inputs(arm, windows, scale))

  @jax.jit
  def achieved(variables):
    return conditioned_players.achieved(
      arm, model, variables, scale, player, jax.random.key(3), (5.0, 12.0), 2
    )

  metrics = achieved(variables)
  assert set(metrics) == {"return", "return_5", "return_12"}
  assert metrics["return"] == metrics["return_12"]
  # What the model says is what is played: pushed to one side, the pole falls.
  head = variables["params"]["head"]
  stuck = jax.tree.map(lambda x: x, variables)
  stuck["params"]["head"] = {
    "kernel": 0 * head["kernel"],
    "bias": np.array([5.0, 0.0], np.float32),
  }
  assert 8 <= achieved(stuck)["return"] <= 10.5


def test_actions_that_have_no_bounds():
  actions = conditioned_players.actions_of(ppo.player(PENDULUM))
  assert actions == decision.Actions("continuous", 1, (-2.0,), (2.0,))
  player = ppo.player(PENDULUM)
  space = spaces.Box(-np.inf, np.inf, (1,))
  env = types.SimpleNamespace(action_space=lambda params: space)
  with pytest.raises(ValueError, match="expected Discrete, or a Box of finite"):
    conditioned_players.actions_of(player._replace(env=env))
