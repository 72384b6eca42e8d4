"""Files of trained policies."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxseq.interop import described_file
from jaxseq.rl import encoders
from jaxseq.rl import evaluate
from jaxseq.rl import policies
from jaxseq.rl.agents import ppo
from jaxseq.rl.agents import r2d2
from tests.rl import toy

toy.register(PaidAgain=toy.Paid)

_CONFIG = ppo.Config(
  env_id="JaxseqTest-PaidAgain",
  env_params=(("max_steps_in_episode", 4),),
  network=toy.network("mamba2", 8),
  normalize_observation=True,
  num_envs=2,
  rollout_length=4,
  num_minibatches=1,
  total_steps=64,
)


def test_a_policy_is_saved_loaded_and_played(tmp_path):
  path = tmp_path / "agent.safetensors"
  runner, key = ppo.init(_CONFIG, jax.random.key(0)), jax.random.key(1)
  policies.save(path, _CONFIG, runner.variables)
  config, variables = policies.load(path)
  assert config == _CONFIG
  jax.tree.map(np.testing.assert_array_equal, variables, runner.variables)
  scores = evaluate.evaluate(config, variables, key, num_episodes=2)
  np.testing.assert_array_equal(scores["episode_return"], [4, 4])


@pytest.mark.parametrize(
  "config",
  [
    r2d2.Config(
      env_options=(("tasks", ("Reacher-misc",)), ("games", 2)),
      network=dataclasses.replace(
        toy.network(), encoder=encoders.Config(image_shape=(64, 64, 4))
      ),
    ),
    dataclasses.replace(
      _CONFIG,
      network=toy.network("mamba2", 8, num_layers=2),
      segment_length=2,
      truncate_gradient=True,
    ),
  ],
)
def test_every_option_survives(tmp_path, config):
  path = tmp_path / "agent.safetensors"
  policies.save(path, config, {"params": {"a": np.ones((64, 10))}})
  found = policies.load(path)
  assert found.config == config
  assert hash(found.config) == hash(config)


def test_what_is_no_policy_gets_one_sentence(tmp_path):
  path = tmp_path / "agent.safetensors"
  weights = {"params": {"a": np.ones(2)}}
  with pytest.raises(TypeError, match="expected an algorithm's Config"):
    policies.save(path, object(), weights)
  policies.save(path, _CONFIG, weights)
  content = bytearray(path.read_bytes())
  content[-1] ^= 1
  path.write_bytes(content)
  with pytest.raises(ValueError, match="no whole policy: its SHA-256 differs"):
    policies.load(path)
  described = {"format": 1, "algorithm": "sac", "config": {}, "versions": {}}
  described_file.write(path, described, weights)
  with pytest.raises(ValueError, match="algorithm: got 'sac'"):
    policies.load(path)
  described_file.write(
    path, described | {"algorithm": "ppo"}, {"statistics": {"a": np.ones(2)}}
  )
  with pytest.raises(ValueError, match="fields: got .*'mean'"):
    policies.load(path)
  described |= {"algorithm": "ppo", "config": {"colour": 1}}
  described_file.write(path, described, weights)
  with pytest.raises(ValueError, match="no field 'colour'"):
    policies.load(path)
