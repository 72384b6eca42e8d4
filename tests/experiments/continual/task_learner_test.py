"""The loop of continual learning, its methods and its bytes."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.continual import floors
from experiments.continual import methods
from experiments.continual import rounds
from experiments.continual import task_learner
from experiments.continual import task_streams
from jaxseq import data
from jaxseq import nn
from jaxseq.tasks import base
from jaxseq.training import recipes
from jaxseq.training import supervised

ARM = task_learner.ArmConfig(
  nn.NetworkConfig(),
  recipes.Recipe(learning_rate=1e-2, weight_decay=0.0, warmup_steps=0),
  batch_size=16,
  widths=(8, 4),
  budget=2000,
)


def _stream(tasks=2, classes=4, each=40):
  """Classes that are four points of the plane, with some noise."""
  rng = np.random.default_rng(0)
  labels = np.tile(np.arange(classes, dtype=np.int32), each)
  angle = 2 * np.pi * labels / classes
  points = np.stack([np.cos(angle), np.sin(angle)], axis=1)
  x = points + 0.1 * rng.normal(size=points.shape)
  part = data.ArrayDataset(x[:, None].astype(np.float32), labels)
  info = data.Info("points", "made here", "none", num_classes=classes)
  return task_streams.make(data.Splits(part, None, part, info), tasks)


def _learner(method, **fields):
  arm = dataclasses.replace(ARM, method=method, **fields)
  return methods.METHODS[method](arm, _stream(), 200)


@pytest.mark.parametrize("method", methods.METHODS)
def test_bytes_are_those_of_all_arrays(method):
  learner = _learner(method)
  shapes = jax.eval_shape(
    jax.vmap(learner.init), jax.random.split(jax.random.key(0), 3)
  )
  report = rounds.kept(learner, shapes)
  leaves = jax.tree.leaves({k: x for k, x in shapes.items() if k != "record"})
  total = sum(math.prod(x.shape[1:]) * x.dtype.itemsize for x in leaves)
  if method == "joint":
    # Two numbers in a byte each, and the class.
    total += 160 * 3
  assert report["bytes"] == total
  if learner.remembers:
    # Not one exemplar more would be within the budget.
    each = 3 + 16 * learner.stores_logits
    assert total <= ARM.budget < total + each or learner.size == 160
    assert report["exemplars"] == learner.size
  else:
    assert report["exemplars"] == (160 if method == "joint" else 0)


def _run(learner):
  """All tasks of a seed; returns the variables."""
  optimizer = base.make_optimizer(learner.arm, learner.updates)

  def run(key, data):
    state = supervised.init(learner, optimizer, key)
    for task in range(learner.stream.tasks):
      if task:
        variables = learner.begin(state.variables, key)
        opt_state = optimizer.init({"params": variables["params"]})
        state = state._replace(variables=variables, opt_state=opt_state)
      state, _ = supervised.train(
        learner, optimizer, state, data, learner.updates
      )
      state = state._replace(variables=learner.end(state.variables, data, key))
    return state.variables

  return jax.jit(run)(jax.random.key(1), learner.data)


@pytest.mark.slow
@pytest.mark.parametrize("method", methods.METHODS)
def test_methods_learn_and_remember(method):
  learner = _learner(method)
  variables = _run(learner)
  table = np.asarray(variables["record"]["class"])
  np.testing.assert_allclose(table[0, 0], 1, atol=0.05)
  np.testing.assert_allclose(table[1, 1], 1, atol=0.1)
  forgets = method == "finetune"
  assert table[1, 0] < 0.5 if forgets else table[1, 0] > 0.8, table
  if learner.remembers:
    memory = variables["memory"]
    counts = np.bincount(np.asarray(memory.targets)[np.asarray(memory.filled)])
    assert (counts > 0).all()
    # Stored inputs still have their labels.
    x = np.asarray(learner.load(memory.inputs))[np.asarray(memory.filled), 0]
    angle = np.arctan2(x[:, 1], x[:, 0]) / (np.pi / 2)
    labels = np.asarray(memory.targets)[np.asarray(memory.filled)]
    np.testing.assert_array_equal(np.round(angle) % 4, labels)
  if method == "memo":
    # The first block is as it was when the second began with a copy of it.
    assert not np.array_equal(
      *variables["params"]["special"]["dense_0"]["kernel"]
    )


@pytest.mark.parametrize("order", ["sorted", "shuffled"])
def test_information_is_that_of_all_classes_of_a_task(order):
  """Also where the examples of a task come class by class."""
  stream = _stream()
  rows = np.argsort(stream.train.targets, kind="stable")
  if order == "shuffled":
    each = np.random.default_rng(0).permutation(80)
    rows = np.concatenate([rows[:80][each], rows[80:][each]])
  stream = dataclasses.replace(stream, train=data.take(stream.train, rows))

  def information(count):
    """Of the biases of the first task's two classes, before any training."""
    arm = dataclasses.replace(
      ARM, method="ewc", fisher=count, information="empirical"
    )
    learner = methods.EWC(arm, stream, 200)
    key = jax.random.key(0)
    ended = learner.end(learner.init(key), learner.data, key)
    return ended["statistics"]["information"]["head"]["bias"][:2]

  np.testing.assert_allclose(information(40), information(80), rtol=0.25)


def test_a_sequence_network_stands_in_front():
  stack = nn.StackConfig("gru", d_model=4, num_layers=1)
  network = nn.NetworkConfig(stack, pooling="mean")
  learner = _learner("memo", network=network, budget=8000)
  key = jax.random.key(0)

  def all_of_it(key, data):
    variables = learner.init(key)
    assert "sequence" in variables["params"]
    batch = learner.sample(key, jnp.zeros((), jnp.int32), data)
    _, extra = learner.loss(variables, batch, None, key)
    ended = learner.end({**variables, **extra.collections}, data, key)
    return variables, learner.begin(ended, key)

  before, after = jax.eval_shape(all_of_it, key, learner.data)
  shapes = [
    jax.tree.map(lambda x: (x.shape, x.dtype), tree) for tree in (before, after)
  ]
  assert shapes[0] == shapes[1]


def test_tasks_have_their_classes():
  stream = _stream()
  assert stream.sizes == (80, 80)
  for update, classes in ((0, {0, 1}), (100, {2, 3})):
    index = stream.draw(jax.random.key(0), jnp.asarray(update), 100, 80)
    assert len(set(index.tolist())) == 80
    assert set(stream.train.targets[index].tolist()) == classes


def test_levels_without_training():
  found = floors.levels(_stream(), 300)
  assert found["class means of inputs"]["accuracy"] == 1
  assert found["class means of inputs"]["bytes"] == 4 * 3 * 4
  assert found["nearest exemplar"]["accuracy"] == 1
  # 98 exemplars of 3 bytes, and how many were seen.
  assert found["nearest exemplar"]["bytes"] == 298


def test_what_is_refused():
  with pytest.raises(ValueError, match="budget: got 100, of which .* are held"):
    _learner("replay", budget=100)
  with pytest.raises(ValueError, match="optimizer.weight_decay: got 0.1"):
    _learner("memo", optimizer=recipes.Recipe(weight_decay=0.1))
  with pytest.raises(ValueError, match="tasks: got 3, expected a divisor of 4"):
    _stream(3)
  network = nn.NetworkConfig(nn.StackConfig("gru", dropout=0.1), pooling="mean")
  with pytest.raises(ValueError, match="no dropout and no batch norm"):
    dataclasses.replace(ARM, network=network)
  stack = nn.StackConfig("gru", layers=({}, {"norm": "batch"}))
  network = nn.NetworkConfig(stack, pooling="mean")
  with pytest.raises(ValueError, match="no dropout and no batch norm"):
    dataclasses.replace(ARM, network=network)


def test_series_are_read_as_far_as_they_go():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(8, 6, 2)).astype(np.float32)
  labels = np.tile(np.arange(4, dtype=np.int32), 2)
  lengths = np.array([3, 6, 5, 4, 6, 3, 4, 5])
  part = data.ArrayDataset(x, labels, lengths)
  info = data.Info("series", "made here", "none", num_classes=4)
  stream = task_streams.make(data.Splits(part, None, part, info), 2)
  stack = nn.StackConfig("gru", d_model=4, num_layers=1)
  network = nn.NetworkConfig(stack, pooling="mean")
  arm = dataclasses.replace(
    ARM, method="finetune", network=network, batch_size=2, budget=9000
  )
  learner = methods.METHODS["finetune"](arm, stream, 4)
  variables = jax.jit(learner.init)(jax.random.key(0))
  inputs = stream.train.inputs
  # Stored as 256 levels, elements that are not there are still none.
  stored = np.asarray(learner.load(learner.store(jnp.asarray(inputs))))
  there = stored[..., -1] > stream.middle
  np.testing.assert_array_equal(there, inputs[..., -1] > stream.middle)
  assert sorted(there.sum(axis=1)) == sorted(lengths)
  changed = np.where(there[..., None], inputs, 7.0)
  changed[..., -1] = inputs[..., -1]
  read = jax.jit(learner._scores)
  np.testing.assert_array_equal(
    read(variables, inputs), read(variables, changed)
  )
  with pytest.raises(ValueError, match="pooling: got 'none', expected 'mean'"):
    methods.METHODS["finetune"](
      dataclasses.replace(ARM, batch_size=2), stream, 4
    )


def test_a_batch_of_more_than_a_task_has_is_refused_before_training():
  for method in methods.METHODS:
    with pytest.raises(ValueError, match="batch_size: got 81, .* at most 80, "):
      _learner(method, batch_size=81)
  # 16 new ones beside 64 that others draw from what they keep.
  _learner("joint", replay=64)
  with pytest.raises(ValueError, match="batch_size . replay: got 81, .* 80, "):
    _learner("joint", replay=65)
