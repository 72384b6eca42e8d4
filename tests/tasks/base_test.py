"""What the supervised problems share."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn
from jaxseq.tasks import base
from jaxseq.training import configuration
from jaxseq.training import recipes
from jaxseq.training.comparison import arms

Frozen = configuration.freeze


@dataclasses.dataclass(frozen=True)
class Comparison(base.Comparison):
  network: arms.Fields = Frozen({"stack": {"mixer": "gru", "d_model": 4}})
  optimizer: arms.Fields = Frozen(
    {"learning_rate": 0.1, "schedule": "constant"}
  )
  batch_size: int = 8
  depth: int = 2


@dataclasses.dataclass(frozen=True)
class MoreConfig(base.ArmConfig):
  depth: int = 1


def test_a_run_is_longer_than_its_warmup():
  network = nn.NetworkConfig(nn.StackConfig("gru", d_model=4))
  arm = base.ArmConfig(network, recipes.Recipe(warmup_steps=100))
  with pytest.raises(
    ValueError, match="num_updates: got 100, expected more than optimizer.warm"
  ):
    base.make_optimizer(arm, 100)


def test_an_arm_overrides_what_is_shared():
  config = Comparison(
    arms={"a": {}, "b": {"network": {"stack": {"d_model": 6}}, "depth": 3}}
  )
  first = arms.merge(config, "a", base.ArmConfig)
  assert first.network == nn.NetworkConfig(nn.StackConfig("gru", d_model=4))
  assert (first.optimizer.learning_rate, first.batch_size) == (0.1, 8)
  second = arms.merge(config, "b", MoreConfig)
  assert isinstance(second, MoreConfig)
  assert second.network.stack == nn.StackConfig("gru", d_model=6)
  assert second.depth == 3
  assert arms.merge(config, "a", MoreConfig).depth == 2
  with pytest.raises(ValueError, match="arms.b has no field 'depth'"):
    arms.merge(config, "b", base.ArmConfig)
  with pytest.raises(
    ValueError, match="batch_size: got 0, expected an integer of at least 1"
  ):
    base.ArmConfig(batch_size=0)


def test_the_optimiser_knows_the_parameters_of_the_mixer():
  network = nn.NetworkConfig(
    nn.StackConfig(
      "s5",
      mixer_options=(("ssm_size", 4), ("blocks", 1)),
      d_model=3,
      num_layers=1,
    )
  )
  arm = base.ArmConfig(network)
  recipe = dataclasses.replace(
    arm.optimizer,
    learning_rate=1e-2,
    ssm_learning_rate=1e-4,
    schedule="constant",
    max_grad_norm=None,
  )
  arm = dataclasses.replace(arm, optimizer=recipe)
  model = nn.SequenceNetwork(network, 2)
  variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 3, 2)))
  optimizer = base.make_optimizer(arm, 10)

  @jax.jit
  def step(variables):
    ones = jax.tree.map(jnp.ones_like, variables)
    return optimizer.update(ones, optimizer.init(variables), variables)[0]

  mixer = step(variables)["params"]["stack"]["layers_0"]["mixer"]
  # The first step of Adam is the learning rate, but for its epsilon.
  np.testing.assert_allclose(mixer["B"], -1e-4, rtol=1e-3)
  np.testing.assert_allclose(mixer["D"], -1e-2, rtol=1e-3)


@pytest.mark.parametrize(("count", "size"), [(10, 4), (8, 4), (3, 5), (1, 1)])
def test_averages_count_every_element_once(count, size):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(count, 3)).astype(np.float32)
  mask = rng.uniform(size=(count, 3)) < 0.5
  mask[0] = True

  def function(batch):
    x, mask = batch
    return {"mean": jnp.mean(x, where=mask)}, mask.sum()

  averages = jax.jit(lambda both: base.average_over(function, both, size))(
    (x, mask)
  )
  np.testing.assert_allclose(averages["mean"], x[mask].mean(), rtol=1e-5)


def test_a_batch_without_a_scored_element_counts_for_nothing():
  x = jnp.array([1.0, 2.0, 0.0, 0.0])

  def function(batch):
    return {"mean": batch.sum() / (batch > 0).sum()}, (batch > 0).sum()

  assert base.average_over(function, x, 2)["mean"] == 1.5


def test_cross_entropy():
  logits = jnp.array([[[1.0, 0.0], [0.0, 3.0], [5.0, 0.0]]])
  labels = jnp.array([[0, 0, 1]])
  mask = jnp.array([[True, True, False]])
  loss, accuracy, weight = base.cross_entropy(logits, labels, mask)
  expected = (np.log1p(np.exp(-1)) + np.log1p(np.exp(3))) / 2
  np.testing.assert_allclose(loss, expected, rtol=1e-6)
  assert (accuracy, weight) == (0.5, 2)
  loss, accuracy, weight = base.cross_entropy(logits, labels)
  np.testing.assert_allclose(accuracy, 1 / 3, rtol=1e-6)
  assert weight == 3
  loss, accuracy, weight = base.cross_entropy(logits, labels, mask & False)
  assert (loss, accuracy, weight) == (0, 0, 0)


def test_take_and_host():
  arrays = {"x": jnp.arange(6.0).reshape(3, 2), "none": None}
  taken = base.take(arrays, jnp.array([2, 0]))
  chex.assert_trees_all_equal(
    base.host(taken), {"x": np.array([[4.0, 5.0], [0.0, 1.0]]), "none": None}
  )


class _Drawing(base.ArrayProblem):
  """Its evaluations draw numbers."""

  def scores(self, variables, batch, key=None):
    return {"accuracy": jax.random.uniform(key)}, len(batch)


def test_evaluations_draw_the_same_numbers_for_the_same_batch():
  data = {"train": np.zeros(4), "test": np.zeros(4)}
  arm = base.ArmConfig(batch_size=2)
  problem = _Drawing(arm, None, data, 4)
  evaluate = jax.jit(problem.evaluate)
  first = evaluate({}, data)["accuracy"]
  assert first == evaluate({}, data)["accuracy"]
  # Two batches, which draw other numbers.
  alone = evaluate({}, {"test": data["test"][:2]})["accuracy"]
  assert first != alone
