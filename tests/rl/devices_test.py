import subprocess
import sys

import jax
import pytest

from jaxseq.rl import devices
from jaxseq.rl import ppo

_FOUR_DEVICES = """
import dataclasses
import jax
jax.config.update("jax_num_cpu_devices", 4)
import numpy as np
from jaxseq.rl import devices
from jaxseq.rl import networks
from jaxseq.rl import ppo

one = ppo.Config(
  # Ends by itself, or is cut off after 12 steps.
  env_id="PositionOnlyCartPoleEasy",
  env_params=(("max_steps_in_episode", 12),),
  network=networks.Config(
    mixer="gru", d_model=8, num_layers=1, encoder_widths=(8,), head_widths=(8,)
  ),
  num_envs=16,
  rollout_length=32,
  total_steps=2048,
  num_epochs=2,
  num_minibatches=2,
  learning_rate=1e-3,
)

def run(config, key):
  runner = ppo.init(config, key)
  program = ppo.update.lower(config, runner).compile()
  runner, _ = program(runner)
  return *program(runner), program.cost_analysis()["flops"]

def check(actual, expected):
  # Two updates in float32, with sums in another order.
  for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected)):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)

keys = jax.random.split(jax.random.key(0), 2)
alone, metrics, work = run(one, keys[0])
assert len(alone.world.observation.sharding.device_set) == 1
"""

_SHARED = """
four = dataclasses.replace(one, devices=4)
shared, shared_metrics, shared_work = run(four, keys[0])
check(shared.variables, alone.variables)
check(shared.world.observation, alone.world.observation)
check(shared_metrics, metrics)
for leaf in jax.tree.leaves(shared.world):
  assert leaf.sharding.shard_shape(leaf.shape)[0] == 4, leaf.sharding
for leaf in jax.tree.leaves((shared.variables, shared.opt_state)):
  assert len(leaf.sharding.device_set) == 4 and leaf.is_fully_replicated
# 0.55 of the operations: in so small a network much is not divided.
assert shared_work < 0.7 * work, (shared_work, work)

# Two seeds on four devices have two each; three have a device each.
def double(x):
  return devices.spread(2 * x, 0)

for num_seeds, piece in ((2, (1, 4)), (3, (1, 8)), (1, (1, 2))):
  x = np.arange(8.0 * num_seeds).reshape(num_seeds, 8)
  y = devices.jit(double, num_seeds, 0)(x)
  np.testing.assert_array_equal(y, 2 * x)
  assert y.sharding.shard_shape(y.shape) == piece, (num_seeds, y.sharding)
"""

_SHARED_BY_SEEDS = """
rest = dataclasses.replace(one, devices=0)
init = devices.jit(lambda key: ppo.init(rest, key), 2, 0, one_by_one=True)
update = devices.jit(lambda runner: ppo.update(rest, runner), 2, 0)
runners, _ = update(init(keys))
runners, together = update(runners)
observation = runners.world.observation
assert observation.sharding.shard_shape(observation.shape)[:2] == (1, 8)
first = lambda tree: jax.tree.map(lambda x: x[0], tree)
check(first(runners.variables), alone.variables)
check(first(together), metrics)
assert together["grad_norm"][0] != together["grad_norm"][1]
"""


def _run(code):
  result = subprocess.run(
    [sys.executable, "-c", _FOUR_DEVICES + code],
    capture_output=True,
    text=True,
    timeout=100,
    check=False,
  )
  assert result.returncode == 0, result.stderr


def test_the_same_run_on_one_and_on_four_devices():
  _run(_SHARED)


@pytest.mark.slow
def test_the_same_run_with_two_devices_for_each_of_two_seeds():
  _run(_SHARED_BY_SEEDS)


def test_what_cannot_be_dealt_out():
  with pytest.raises(ValueError, match="devices: got 3, expected a divisor of"):
    ppo.Config(devices=3)
  with pytest.raises(ValueError, match="devices: got -1, expected 0 or more"):
    ppo.Config(devices=-1)
  there = jax.local_device_count()
  with pytest.raises(ValueError, match=f"expected at most the {there} that"):
    ppo.init(ppo.Config(num_envs=512, devices=64), jax.random.key(0))
  with pytest.raises(ValueError, match=f"expected at most the {there} that"):
    devices.jit(lambda x: x, 2, 64)


def test_one_device_leaves_all_as_it_is():
  tree = {"x": jax.numpy.arange(3)}
  assert devices.spread(tree, 1) is tree
  assert devices.replicate(tree, 1) is tree
  double = devices.jit(lambda x: 2 * x, 3, 1)
  assert list(double(tree["x"])) == [0, 2, 4]
