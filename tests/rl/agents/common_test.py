"""Numbers of a configuration that are arguments of a program."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import pytest

from jaxseq import nn
from jaxseq.rl.agents import common
from jaxseq.rl.agents import ppo
from jaxseq.rl.agents import r2d2
from tests.rl import toy

toy.register(PaidForAll=toy.Paid)

_SHARED = {
  "env_id": "JaxseqTest-PaidForAll",
  "network": toy.network(num_layers=0),
  "num_envs": 2,
  "num_minibatches": 1,
}
_CONFIGS = {
  ppo: ppo.Config(
    **_SHARED, rollout_length=8, total_steps=64, num_epochs=2, gamma=0.9
  ),
  r2d2: r2d2.Config(
    **dict(r2d2.Config.published)
    | _SHARED
    | {
      "sequence_length": 8,
      "burn_in": 4,
      "total_steps": 64,
      "batch_size": 2,
      "learning_starts": 2,
      "replay_sequences": 8,
    }
  ),
}
# Of each algorithm, values of two runs.
_SWEEPS = {
  ppo: {
    "learning_rate": (1e-3, 1e-2),
    "entropy_coef": (0.0, 0.1),
    "gamma": (0.9, 0.5),
    "clip": (0.2, 0.1),
    "gae_lambda": (1.0, 0.8),
    "value_coef": (1.0, 0.3),
    "max_grad_norm": (0.5, 5.0),
    "adam_epsilon": (1e-5, 1e-3),
  },
  r2d2: {"learning_rate": (1e-4, 1e-2), "gamma": (0.99, 0.5)},
}


@pytest.mark.slow
# `make test-slow` has the other.
@pytest.mark.parametrize(
  "algorithm",
  [
    pytest.param(ppo, id="ppo"),
    pytest.param(r2d2, id="r2d2", marks=pytest.mark.slow),
  ],
)
def test_runs_side_by_side_are_those_of_their_configurations(algorithm):
  config, sweep = _CONFIGS[algorithm], _SWEEPS[algorithm]
  runner = algorithm.init(config, jax.random.key(0))

  def train(overrides):
    return algorithm.train(config, runner, 3, overrides)

  stacked = {name: jnp.array(values) for name, values in sweep.items()}
  together, metrics = jax.vmap(train)(stacked)
  own = {name: values[1] for name, values in sweep.items()}
  alone, expected = algorithm.train(
    dataclasses.replace(config, **own), runner, 3
  )
  # Products of two of the numbers are rounded to float32 in a program, and
  # Adam's first steps magnify what gradients near 0 differ by.
  chex.assert_trees_all_close(
    jax.tree.map(lambda x: x[1], (together.variables, metrics)),
    (alone.variables, expected),
    rtol=1e-4,
    atol=1e-5,
  )
  first, second = (
    jax.tree.map(lambda x, i=i: x[i], together.variables["params"])
    for i in range(2)
  )
  with pytest.raises(AssertionError):
    chex.assert_trees_all_close(first, second, rtol=1e-4, atol=1e-5)


def test_only_numbers_of_the_program_can_be_overridden():
  config = _CONFIGS[ppo]
  assert common.override(config, None) is config
  with pytest.raises(ValueError, match="'num_envs'"):
    common.override(config, {"num_envs": 3})
  with pytest.raises(ValueError, match="a scalar: use jax.vmap"):
    common.override(config, {"gamma": jnp.ones(2)})
  assert config.gamma == 0.9
  assert common.override(config, {"gamma": 0.5}).gamma == 0.5


def test_a_mapping_of_options_is_pairs():
  config = dataclasses.replace(
    _CONFIGS[ppo], env_options={"limit": 3, "cut": 0.5}
  )
  pairs = ("cut", 0.5), ("limit", 3)
  assert config == dataclasses.replace(config, env_options=pairs)
  assert dataclasses.replace(config, env_options=list(pairs)) == config
  assert hash(config) == hash(dataclasses.replace(config))


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"env_options": ("k", 2)}, "env_options: got .'k', 2., expected pairs"),
    ({"env_params": {"k": [2]}}, "env_params: got .*, expected .* be hashed"),
    ({"network": nn.StackConfig()}, "network: got .*, expected a networks.Con"),
    ({"network": {"stack": {}}}, "network: got 'dict', expected a networks.Co"),
  ],
)
def test_fields_of_other_types_get_one_sentence(fields, message):
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(_CONFIGS[ppo], **fields)


@pytest.mark.parametrize(
  ("game", "limit", "cuts"),
  [
    # 52 cards, of which all but the first are answered.
    ("RepeatFirst", 52, False),
    ("RepeatFirst", 50, True),
    # Who matches no cards plays for ever.
    ("Concentration", 104, True),
    ("Concentration", 200, True),
  ],
)
def test_limits_are_bootstrapped_where_they_may_cut(game, limit, cuts):
  params = {"max_steps_in_episode": limit}
  config = dataclasses.replace(
    _CONFIGS[ppo], env_id=f"{game}Easy", env_params=params
  )
  assert common.bootstraps(config, ppo.player(config)) is cuts
