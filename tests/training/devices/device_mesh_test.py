"""The same run on one device and shared by eight."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseq import nn
from jaxseq.tasks import base
from jaxseq.training import checkpoint
from jaxseq.training import errors
from jaxseq.training import supervised
from jaxseq.training.devices import device_mesh
from jaxseq.training.devices import placement

_SEEDS = 2


def problem(time_axis=""):
  """A GRU that sums eight numbers, and a projection that is large enough."""
  network = nn.SequenceNetwork(
    nn.NetworkConfig(
      nn.StackConfig("gru", d_model=8, num_layers=1, time_axis=time_axis),
      pooling="last",
      head_widths=(128,),
    ),
    1,
  )
  inputs = np.random.default_rng(0).normal(size=(48, 8, 1)).astype(np.float32)
  data = {"inputs": inputs, "targets": inputs.sum(axis=1)}

  def score(variables, batch):
    out, _ = network.apply(variables, batch["inputs"])
    return jnp.mean((out - batch["targets"]) ** 2)

  def loss(variables, batch, carry, key):
    # Random numbers must not depend on how the work is shared.
    noise = jax.random.normal(key, batch["targets"].shape)
    noisy = {**batch, "targets": batch["targets"] + 0.01 * noise}
    return score(variables, noisy), supervised.Loss({}, {}, carry + 1)

  def evaluate(variables, data):
    # 48 examples in batches of 32: the last one does not come out even.
    return base.average_over(
      lambda batch: ({"mse": score(variables, batch)}, len(batch["targets"])),
      data,
      32,
    )

  return types.SimpleNamespace(
    init=lambda key: network.init(key, jnp.zeros((1, 8, 1))),
    sample=lambda key, update, data: base.take(
      data, supervised.draw(key, update, 48, 16)
    ),
    loss=loss,
    validate=evaluate,
    evaluate=evaluate,
    data=data,
    carry=jnp.zeros((16, 3)),
  )


_OPTIMIZER = optax.adam(1e-2)


def initial(config, task):
  def init(key):
    return supervised.init(task, _OPTIMIZER, key)

  keys = placement.keys(config, 3, _SEEDS)
  shapes = jax.eval_shape(jax.vmap(init), keys)
  where = placement.state_placements(config, shapes, "carry")
  make = placement.compiled(config, _SEEDS, init, out_shardings=where)
  return make(keys), where


def train(config, updates=4, task=None):
  if task is None:
    task = problem(device_mesh.TIME if config.time > 1 else "")
  state, where = initial(config, task)
  data = placement.share(config, _SEEDS, task.data)
  chunk = placement.compiled(
    config,
    _SEEDS,
    lambda state, data: supervised.train(
      task, _OPTIMIZER, state, data, updates
    ),
    shared=1,
    out_shardings=(where, placement.everywhere(config)),
  )
  state, metrics = chunk(state, data)
  evaluate = placement.compiled(config, _SEEDS, task.evaluate, shared=1)
  return state, jax.device_get({**metrics, **evaluate(state.variables, data)})


def mesh(**fields):
  return device_mesh.MeshConfig(**fields)


@pytest.mark.devices
@pytest.mark.parametrize(
  "config",
  [
    mesh(data=2, parameters=2, split_data=True),
    pytest.param(mesh(data=4, time=2), marks=pytest.mark.slow),
    pytest.param(mesh(data=0), marks=pytest.mark.slow),
    pytest.param(mesh(data=2, parameters=4), marks=pytest.mark.slow),
  ],
  ids=str,
)
def test_a_mesh_changes_no_number(config):
  alone, expected = train(mesh())
  state, metrics = train(config)
  # float32, sums in another order, four updates.
  for a, b in zip(jax.tree.leaves(metrics), jax.tree.leaves(expected)):
    np.testing.assert_allclose(a, b, rtol=1e-4)
  for a, b in zip(
    jax.tree.leaves(state.variables), jax.tree.leaves(alone.variables)
  ):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
  assert len(jax.tree.leaves(state.variables)[0].sharding.device_set) > 1


@pytest.mark.devices
def test_examples_that_cannot_be_shared_out():
  data = {"inputs": np.zeros((42, 3)), "mean": np.zeros(3)}
  with pytest.raises(errors.UserError, match="multiple of 8, .* got 42"):
    placement.share(mesh(data=8, split_data=True), 1, data)


@pytest.mark.devices
def test_where_the_arrays_lie():
  config = mesh(data=2, parameters=4, split_data=True)
  task = problem()
  state, _ = initial(config, task)
  large = [x for x in jax.tree.leaves(state.variables) if x[0].size >= 1024]
  assert large
  for kernel in large:
    assert (
      kernel.sharding.shard_shape(kernel.shape)[-1] == kernel.shape[-1] // 4
    )
  moments = [x for x in jax.tree.leaves(state.opt_state) if x[0].size >= 1024]
  assert len(moments) == 2 * len(large)
  assert all(not x.is_fully_replicated for x in moments)
  # Examples of the carry, and of the data, are shared out.
  assert state.carry.sharding.shard_shape(state.carry.shape) == (2, 2, 3)
  data = placement.share(config, _SEEDS, task.data)
  for x in jax.tree.leaves(data):
    assert x.sharding.shard_shape(x.shape)[0] == 6
  whole = placement.share(
    dataclasses.replace(config, split_data=False), _SEEDS, task.data
  )
  assert all(x.is_fully_replicated for x in jax.tree.leaves(whole))


@pytest.mark.slow
@pytest.mark.devices
def test_saved_by_eight_devices_and_restored_on_two(tmp_path):
  task = problem()
  state, _ = initial(mesh(data=2, parameters=4), task)
  fewer = mesh(parameters=2)
  template, where = initial(fewer, task)
  template = jax.tree.map(jnp.zeros_like, template._replace(key=state.key))
  template = jax.device_put(template, where)
  with checkpoint.Checkpointer(tmp_path) as checkpointer:
    checkpointer.save(7, state)
    step, restored = checkpointer.restore(template)
  assert step == 7
  for a, b, place in zip(
    jax.tree.leaves(restored), jax.tree.leaves(state), jax.tree.leaves(where)
  ):
    assert a.sharding.is_equivalent_to(place, a.ndim)
    if not jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
      np.testing.assert_array_equal(a, b)


@pytest.mark.devices
def test_what_cannot_be_shared_out():
  with pytest.raises(errors.UserError, match="expected at most the 8 devices"):
    device_mesh.make(mesh(data=4, time=4))
  with pytest.raises(errors.UserError, match="a product that divides the 8"):
    device_mesh.make(mesh(data=0, time=3))
  with pytest.raises(errors.UserError, match="3 groups of devices for the 16"):
    train(mesh(data=3))


def test_the_flag():
  base_config = mesh(parameters=2)
  parsed = device_mesh.parse(["data=0", "time=2", "split_data=1"], base_config)
  assert parsed == mesh(data=0, parameters=2, time=2, split_data=True)
  assert device_mesh.parse([], base_config) == base_config
  with pytest.raises(errors.UserError, match="got 'tme=2', expected NAME=NUM"):
    device_mesh.parse(["tme=2"], base_config)
  with pytest.raises(errors.UserError, match="got 'time=two', expected NAME="):
    device_mesh.parse(["time=two"], base_config)
  with pytest.raises(errors.UserError, match="got 'data=3', expected every na"):
    device_mesh.parse(["data=2", "data=3"], base_config)
  with pytest.raises(errors.UserError, match="split_data=0 or split_data=1"):
    device_mesh.parse(["split_data=3"], base_config)
  with pytest.raises(errors.UserError, match="mesh.time: got 0, .*at least 1"):
    device_mesh.parse(["time=0"], base_config)


def test_one_device_is_no_mesh():
  assert device_mesh.make(mesh()) is None
  tree = {"x": jnp.arange(3)}
  assert device_mesh.spread(tree) is tree
  assert device_mesh.spread_evenly(tree) is tree
  assert device_mesh.replicate(tree) is tree
  arm = base.ArmConfig()
  assert device_mesh.split_time(mesh(data=4), arm) is arm
  split = device_mesh.split_time(mesh(time=2), arm)
  assert split.network.stack.time_axis == device_mesh.TIME
