"""The environment of the ablation: what its agents are not told."""

import jax
import numpy as np

from configs.icrl import ablation
from jaxseq.rl import rl_arms
from jaxseq.rl import wrappers
from jaxseq.rl.agents import ppo
from jaxseq.rl.envs import registry
from jaxseq.training import configuration


def test_every_arm_can_play():
  config = configuration.from_config_dict(
    rl_arms.Config, ablation.get_config("CountRecallEasy")
  )
  agents = [rl_arms.agent_config(config, name) for name in config.arms]
  assert len(set(agents)) == 6
  for arm in agents:
    assert ppo.player(arm).env_params.max_steps_in_episode > 0


def test_flags_are_stale():
  config = ablation.get_config("RepeatFirstEasy")
  name = config.arms["stale_flags"]["env_id"]
  stale, params = registry.make(name)
  whole = wrappers.FlattenHistory(registry.make("RepeatFirstEasy")[0])

  def play(env):
    def step(state, key):
      observation, state, _, terminated, *_ = env.step(key, state, 2, params)
      return state, (observation, terminated)

    first, state = env.reset(jax.random.key(0), params)
    keys = jax.random.split(jax.random.key(1), 120)
    return first, *jax.lax.scan(step, state, keys)[1]

  first, seen, ended = jax.jit(lambda: play(stale))()
  expected_first, expected, expected_ended = jax.jit(lambda: play(whole))()
  np.testing.assert_array_equal(ended, expected_ended)
  assert ended.sum() == 2
  # Of the very first step they are told, of those after an end they are not.
  np.testing.assert_array_equal(first, expected_first)
  np.testing.assert_array_equal(seen[~ended], expected[~ended])
  np.testing.assert_array_equal(seen[ended, :-5], expected[ended, :-5])
  np.testing.assert_array_equal(seen[ended, -5:], [[0, 0, 1, 0, 0]] * 2)
  np.testing.assert_array_equal(expected[ended, -5:], [[0, 0, 0, 0, 1]] * 2)
