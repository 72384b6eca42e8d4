"""Agents whose memory is S5 and attention in turn, by config alone.

With feed-forward halves, activations in bfloat16 and rematerialized layers.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.icrl import quickstart
from configs.icrl import r2d2 as r2d2_config
from jaxseq.rl import algorithms
from jaxseq.rl import rl_arms
from jaxseq.rl import rollout
from jaxseq.training import checkpoint
from jaxseq.training import configuration

CONFIGS = {"ppo": quickstart, "r2d2": r2d2_config}


def arm(name):
  """Returns the configuration of the tiny variant."""
  config = configuration.from_config_dict(
    rl_arms.Config, CONFIGS[name].get_config("hybrid_tiny")
  )
  return rl_arms.agent_config(config, "hybrid")


def same(actual, expected):
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected)):
    if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
      a, b = jax.random.key_data(a), jax.random.key_data(b)
    np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ppo", "r2d2"])
def test_a_run_is_finite_and_goes_on_from_a_checkpoint(name, tmp_path):
  config = arm(name)
  stack = config.network.stack
  assert (stack.mixer, stack.hybrid[0][0]) == ("s5", "attention")
  assert stack.remat
  assert (stack.feedforward, stack.dtype) == ("swiglu", "bfloat16")
  algorithm = algorithms.of(config)
  train = functools.partial(algorithm.train, config, num_updates=2)
  start = algorithm.init(config, jax.random.key(0))
  middle, _ = train(start)
  end, metrics = train(middle)
  assert np.isfinite(metrics["loss"]).all()
  for leaf in jax.tree.leaves(end.variables):
    assert leaf.dtype == jnp.float32
    assert np.isfinite(leaf).all()
  layers = end.variables["params"]["memory"]
  assert "Lambda_re" in layers["layers_0"]["mixer"]
  assert "W_o" in layers["layers_1"]["mixer"]
  assert all("feedforward" in layers[f"layers_{i}"] for i in range(2))
  before = jax.tree.leaves(start.variables["params"]["memory"])
  for old, new in zip(before, jax.tree.leaves(layers)):
    assert (old != new).any()

  with checkpoint.Checkpointer(tmp_path) as checkpoints:
    checkpoints.save(2, middle)
    step, restored = checkpoints.restore(jax.eval_shape(lambda: middle))
  assert step == 2
  again, repeated = train(restored)
  same((again, repeated), (end, metrics))


@pytest.mark.slow
@pytest.mark.parametrize(
  "scan_layers", [pytest.param(False, marks=pytest.mark.slow), True]
)
def test_ratio_is_one_before_the_first_optimizer_step(scan_layers):
  config = arm("ppo")
  if scan_layers:
    changes = {"hybrid": (), "scan_layers": True}
    stack = dataclasses.replace(config.network.stack, **changes)
    network = dataclasses.replace(config.network, stack=stack)
    config = dataclasses.replace(config, network=network)
  algorithm = algorithms.of(config)
  player = algorithm.player(config)
  runner = algorithm.init(config, jax.random.key(0))

  @jax.jit
  def collect(world, key):
    return rollout.collect(player, runner.variables, world, key, 64)

  before, _ = collect(runner.world, jax.random.key(1))
  _, taken = collect(before, jax.random.key(2))
  taken = jax.tree.map(lambda x: np.swapaxes(x, 0, 1), taken)
  assert taken.reset.any()
  policy, value, _ = jax.jit(player.network.apply)(
    runner.variables, taken.observation, before.memory, taken.reset
  )
  # Roundings of bfloat16, 2^-8 of each number: of logits of 0.01 to 0.1, and of
  # values near 1, which a product of each half of a layer adds to. A step and a
  # sequence round in other places: their values lie 0.0054 apart on average.
  ratio = jnp.exp(policy.log_prob(taken.action) - taken.log_prob)
  np.testing.assert_allclose(ratio, 1, rtol=0, atol=2e-3)
  error = value - taken.value
  assert jnp.sqrt(jnp.mean(error**2)) < 2**-7
  assert jnp.max(jnp.abs(error)) < 0.06
  # With the flags a step late the values are others.
  late = np.roll(taken.reset, 1, axis=1)
  _, value, _ = jax.jit(player.network.apply)(
    runner.variables, taken.observation, before.memory, late
  )
  assert np.abs(value - taken.value).max() > 0.1


@pytest.mark.parametrize("name", ["ppo", "r2d2"])
def test_the_ssm_learning_rate_is_that_of_all_mixers(name):
  config = dataclasses.replace(arm(name), ssm_learning_rate_factor=0.1)
  assert config.network.stack.ssm_parameters == (
    "B",
    "Lambda_im",
    "Lambda_re",
    "log_step",
  )
  attention = dataclasses.replace(
    config.network.stack, mixer="attention", mixer_options=(), hybrid=()
  )
  network = dataclasses.replace(config.network, stack=attention)
  with pytest.raises(ValueError, match="'attention' names no parameters"):
    dataclasses.replace(config, network=network)
