"""PPO on one device, and with its environments shared by several."""

import contextlib
import functools
import shutil

import jax
import numpy as np
import pytest

from jaxseq.rl import rl_arms
from jaxseq.rl.agents import ppo
from jaxseq.training import errors
from jaxseq.training import scalars
from jaxseq.training.comparison import run
from jaxseq.training.devices import device_mesh
from jaxseq.training.devices import placement

FIELDS = {
  # Ends by itself, or is cut off after 12 steps.
  "env_id": "PositionOnlyCartPoleEasy",
  "env_params": (("max_steps_in_episode", 12),),
  "network": {
    "stack": {"mixer": "gru", "d_model": 8, "num_layers": 1},
    "encoder_widths": (8,),
    # Large enough to be cut along "parameters".
    "head_widths": (128,),
  },
  "num_envs": 16,
  "rollout_length": 32,
  "total_steps": 2048,
  "num_epochs": 2,
  "num_minibatches": 2,
  "learning_rate": 1e-3,
}


def comparison_of(num_seeds=2, fields=FIELDS, **mesh):
  return rl_arms.Config(
    arms={"gru": {}},
    agent=fields,
    num_seeds=num_seeds,
    updates_per_chunk=2,
    chunks_per_checkpoint=1,
    evaluation_episodes=16,
    tensorboard=False,
    mesh=device_mesh.MeshConfig(**mesh),
  )


def initial(config):
  """Returns the start of a run, and where it lies."""
  runner = rl_arms.make_arms(config)["gru"].program(config).init()
  where = placement.state_placements(config.mesh, runner, "world")
  return runner, where


def two_updates(config):
  """Returns state and metrics after two updates, and operations of a device."""
  arm = rl_arms.agent_config(config, "gru")
  runner, where = initial(config)
  mesh = device_mesh.make(config.mesh)
  update = jax.jit(
    jax.vmap(functools.partial(ppo.update, arm)),
    out_shardings=(where, placement.everywhere(config.mesh)),
  )
  with jax.set_mesh(mesh) if mesh else contextlib.nullcontext():
    program = update.lower(runner).compile()
  runner, _ = program(runner)
  return *program(runner), program.cost_analysis()["flops"]


def check(actual, expected):
  # A few updates in float32, with sums in another order.
  for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected)):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.devices
@pytest.mark.parametrize(
  ("normalization", "mesh"),
  [
    ("returns", {"data": 2, "parameters": 2}),
    ("returns", {"data": 8}),
    ("popart", {"data": 4}),
  ],
  ids=str,
)
def test_the_same_updates_on_one_and_on_several_devices(normalization, mesh):
  fields = FIELDS | {"reward_normalization": normalization}
  alone, expected, work = two_updates(comparison_of(1, fields))
  config = comparison_of(1, fields, **mesh)
  shared, found, shared_work = two_updates(config)
  check(found, expected)
  check(shared.variables, alone.variables)
  check(shared.world.observation, alone.world.observation)
  count = config.mesh.data * config.mesh.parameters
  for leaf in jax.tree.leaves(shared.world):
    piece = leaf.sharding.shard_shape(leaf.shape)
    assert piece[1] == 16 // count, leaf.sharding
  kept = jax.tree.leaves((shared.variables, shared.opt_state))
  assert all(len(leaf.sharding.device_set) == count for leaf in kept)
  cut = {leaf.shape[1:] for leaf in kept if not leaf.is_fully_replicated}
  assert cut == ({(8, 128)} if config.mesh.parameters > 1 else set())
  # 0.55 of the operations by four: in so small a network much is not divided.
  assert shared_work < 0.7 * work, (shared_work, work)


def train(config, directory):
  return run.train(config, directory, rl_arms.make_arms(config))


def rows(directory):
  return scalars.column(scalars.read(directory / "gru"), "loss")


@pytest.mark.devices
@pytest.mark.slow
def test_a_run_of_eight_devices_goes_on_with_two_and_with_one(tmp_path):
  whole = tmp_path / "eight"
  results = train(comparison_of(data=4, parameters=2), whole)
  steps, expected = rows(whole)
  assert list(steps) == [512, 1024, 1536, 2048]
  for name, mesh in (("two", {"data": 2}), ("one", {})):
    path = tmp_path / name
    shutil.copytree(whole, path)
    shutil.rmtree(path / "gru/checkpoints/2048")
    continued = train(comparison_of(**mesh), path)
    check(rows(path), (steps, expected))
    check(continued["gru"]["training"], results["gru"]["training"])
    # Whole episodes: a single action that differs would change them.
    check(continued["gru"]["evaluation"], results["gru"]["evaluation"])


@pytest.mark.devices
def test_what_cannot_be_shared_out():
  with pytest.raises(errors.UserError, match="at most the 8 devices"):
    initial(comparison_of(data=16))
  arm = rl_arms.agent_config(comparison_of(), "gru")
  runner = jax.eval_shape(functools.partial(ppo.init, arm), jax.random.key(0))
  with jax.set_mesh(device_mesh.make(device_mesh.MeshConfig(data=3))):
    with pytest.raises(errors.UserError, match="3 groups of .* 8 environments"):
      jax.eval_shape(functools.partial(ppo.update, arm), runner)


def test_what_takes_no_mesh():
  with pytest.raises(ValueError, match="expected time=1 and split_data=0"):
    comparison_of(time=2)
  with pytest.raises(ValueError, match="expected time=1 and split_data=0"):
    comparison_of(split_data=True)
  config = rl_arms.Config(
    arms={"gru": {}}, algorithm="r2d2", mesh=device_mesh.MeshConfig(data=2)
  )
  with pytest.raises(errors.UserError, match="by r2d2, which takes no mesh"):
    rl_arms.agent_config(config, "gru")
