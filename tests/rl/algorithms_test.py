import dataclasses
import importlib

import jax
import pytest

from jaxseq.rl import algorithms
from jaxseq.rl import rl_arms
from jaxseq.rl.agents import ppo
from jaxseq.rl.agents import r2d2
from jaxseq.training import configuration
from jaxseq.training import errors


def parse(**options):
  shared = {"arms": {"a": {}, "b": {"gamma": 0.5}}}
  return configuration.from_config_dict(rl_arms.Config, shared | options)


def test_modules_and_their_configurations():
  assert {"ppo", "r2d2"} <= set(algorithms.names())
  for name in algorithms.names():
    module = algorithms.get(name)
    assert algorithms.of(module.Config()) is module
  assert algorithms.get("ppo") is ppo
  with pytest.raises(ValueError, match="algorithm: got 'dqn', expected one of"):
    algorithms.get("dqn")
  with pytest.raises(TypeError, match="config: got 3, expected an algorithm's"):
    algorithms.of(3)


def test_a_comparison_names_the_algorithm():
  config = parse(agent={"gamma": 0.9, "num_envs": 8})
  published = dict(ppo.Config.published)
  assert rl_arms.agent_config(config, "a") == ppo.Config(
    **published | {"gamma": 0.9, "num_envs": 8}
  )
  config = parse(agent_defaults="general", agent={"gamma": 0.9, "num_envs": 8})
  assert rl_arms.agent_config(config, "a") == ppo.Config(gamma=0.9, num_envs=8)
  config = parse(algorithm="r2d2", agent={"num_steps": 2})
  published = algorithms.published(r2d2.Config)
  assert rl_arms.agent_config(config, "a") == dataclasses.replace(
    published, num_steps=2
  )
  assert rl_arms.agent_config(config, "b") == dataclasses.replace(
    published, num_steps=2, gamma=0.5
  )
  with pytest.raises(errors.UserError, match="algorithm: got 'dqn'"):
    parse(algorithm="dqn")


def test_an_arm_has_an_algorithm_of_its_own():
  arms = {
    "old": {"gamma": 0.8, "num_epochs": 2},
    "other": {"algorithm": "r2d2", "burn_in": 20},
  }
  config = parse(arms=arms, agent={"num_envs": 8})
  changed = {"gamma": 0.8, "num_epochs": 2, "num_envs": 8}
  assert rl_arms.agent_config(config, "old") == ppo.Config(
    **dict(ppo.Config.published) | changed
  )
  assert rl_arms.agent_config(config, "other") == dataclasses.replace(
    algorithms.published(r2d2.Config), burn_in=20, num_envs=8
  )
  wrong = parse(arms={"x": {"algorithm": "dqn"}})
  with pytest.raises(errors.UserError, match="config.arms.x.algorithm: got"):
    rl_arms.agent_config(wrong, "x")
  # PPO has no burn-in.
  wrong = parse(arms={"x": {"burn_in": 8}})
  with pytest.raises(errors.UserError, match="no field 'burn_in'"):
    rl_arms.agent_config(wrong, "x")


@pytest.mark.parametrize("variant", [(), ("tiny",)])
def test_the_config_file(variant):
  module = importlib.import_module("configs.icrl.r2d2")
  config = configuration.from_config_dict(
    rl_arms.Config, module.get_config(*variant)
  )
  for name in config.arms:
    arm = rl_arms.agent_config(config, name)
    assert isinstance(arm, r2d2.Config)
    runner = jax.eval_shape(
      lambda key, arm=arm: r2d2.init(arm, key), jax.random.key(0)
    )
    assert len(runner.replay.items.action) == arm.replay_sequences
  with pytest.raises(ValueError, match="variant: got 'huge'"):
    module.get_config("huge")
