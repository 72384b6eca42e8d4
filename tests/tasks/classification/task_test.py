"""Classification: learns what can be learnt, and scores every example."""

import jax
import numpy as np
import optax
import pytest

from configs.classify import digits
from experiments.graph_sequences import data as graphs
from jaxseq import data
from jaxseq import nn
from jaxseq.tasks import base
from jaxseq.tasks import classification
from jaxseq.training import supervised
from tests import drawn

PAIRS = nn.NetworkConfig(
  nn.StackConfig("gru", d_model=8, num_layers=1, norm="none"),
  pooling="mean",
  head_widths=(16,),
)
NETWORK = nn.NetworkConfig(
  nn.StackConfig("gru", d_model=8, num_layers=1, norm="batch"), pooling="mean"
)


def _splits(with_valid=True):
  """The class is which of two channels is the louder; padding is loud too."""
  rng = np.random.default_rng(0)

  def part(count):
    labels = rng.integers(0, 2, count).astype(np.int32)
    lengths = rng.integers(3, 7, count).astype(np.int32)
    x = rng.normal(size=(count, 6, 2)).astype(np.float32)
    x[np.arange(count), :, labels] += 2
    x[np.arange(6) >= lengths[:, None]] = 9
    return data.ArrayDataset(x, labels, lengths)

  info = data.Info("loud?", "here", "none needed", num_classes=2)
  valid = part(10) if with_valid else None
  return data.Splits(part(40), valid, part(150), info)


@pytest.mark.slow
def test_a_class_is_learnt():
  splits = _splits()
  problem = classification.Problem(
    base.ArmConfig(NETWORK, batch_size=8), splits
  )
  optimizer = optax.adam(0.02)
  state = jax.jit(lambda key: supervised.init(problem, optimizer, key))(
    jax.random.key(0)
  )
  evaluate = jax.jit(problem.evaluate)
  before = evaluate(state.variables, problem.data)
  names = {"accuracy", "tallies", "test_loss", "valid_accuracy"}
  assert set(before) == names
  state, metrics = jax.jit(
    lambda state, data: supervised.train(problem, optimizer, state, data, 60)
  )(state, problem.data)
  assert set(metrics) == {"loss", "grad_norm", "train_accuracy"}
  after = evaluate(state.variables, problem.data)
  assert after["test_loss"] < before["test_loss"]
  assert after["accuracy"] > 0.85
  # Batch norm has learnt its statistics.
  mean = state.variables["batch_stats"]["stack"]["layers_0"]["norm"]["mean"]
  assert np.abs(mean).max() > 1e-3

  # All 150 examples in one batch, in place of a whole one of 128 and the rest.
  network = nn.SequenceNetwork(NETWORK, 2)
  logits, _ = jax.jit(
    lambda variables, x, n: network.apply(variables, x, lengths=n)
  )(state.variables, splits.test.inputs, splits.test.lengths)
  right = np.argmax(logits, axis=-1) == splits.test.targets
  np.testing.assert_allclose(after["accuracy"], right.mean(), rtol=1e-6)


def _pairs():
  """The class is whether both of a pair have the same channel louder."""

  def part(splits_part, half):
    first, second = (
      data.take(splits_part, rows)
      for rows in (np.arange(half), np.arange(half, 2 * half))
    )
    return data.ArrayDataset(
      first.inputs,
      (first.targets == second.targets).astype(np.int32),
      first.lengths,
      data.Extras(second=second.inputs, second_lengths=second.lengths),
    )

  train, _, test, info = _splits(with_valid=False)
  return data.Splits(part(train, 20), None, part(test, 75), info)


@pytest.mark.slow
def test_pairs_are_compared():
  splits = _pairs()
  problem = classification.Problem(base.ArmConfig(PAIRS, batch_size=20), splits)
  optimizer = optax.adam(0.02)
  state = jax.jit(lambda key: supervised.init(problem, optimizer, key))(
    jax.random.key(0)
  )
  state, _ = jax.jit(
    lambda state, data: supervised.train(problem, optimizer, state, data, 150)
  )(state, problem.data)
  evaluate = jax.jit(problem.evaluate)
  accuracy = evaluate(state.variables, problem.data)["accuracy"]
  # Each half alone says nothing of the class.
  assert accuracy > 0.8
  # Padding is 9, and nothing comes of it.
  clean = jax.tree.map(np.copy, problem.data)
  inputs, _, lengths, extras = clean["test"]
  inputs[np.arange(6) >= lengths[:, None]] = 0
  extras.second[np.arange(6) >= extras.second_lengths[:, None]] = 0
  np.testing.assert_allclose(
    evaluate(state.variables, clean)["test_loss"],
    evaluate(state.variables, problem.data)["test_loss"],
    rtol=1e-6,
  )


def test_wrong_pairs():
  splits = _pairs()
  extras = splits.test.extras

  def check(test, message):
    with pytest.raises(ValueError, match=message):
      classification.Problem(
        base.ArmConfig(PAIRS, batch_size=4), splits._replace(test=test)
      )

  check(
    splits.test._replace(extras=data.Extras()),
    "test: extras.second: got None, expected an array, as in the training",
  )
  check(
    splits.test._replace(extras=extras._replace(second=extras.second[:, 1:])),
    r"test: extras.second: got shape \(75, 5, 2\), .* \(75, 6, 2\)",
  )
  check(
    splits.test._replace(extras=extras._replace(second_lengths=None)),
    "test: extras.second_lengths: got None, expected an array, as lengths are",
  )
  check(
    splits.test._replace(lengths=None),
    "second_lengths: got an array, expected None, as lengths are",
  )


def test_wrong_options():
  splits = _splits(with_valid=False)
  with pytest.raises(
    ValueError, match="pooling: got 'none', expected 'mean' or 'last'"
  ):
    classification.Problem(
      base.ArmConfig(nn.NetworkConfig(nn.StackConfig("gru"))), splits
    )
  with pytest.raises(
    ValueError, match="batch_size: got 41, .* 40, .*; set --config.batch_size"
  ):
    classification.Problem(base.ArmConfig(NETWORK, batch_size=41), splits)


def test_attention_takes_the_clusters_of_nodes():
  splits = graphs.load(order="tree", nodes=9, train=4, valid=2, test=2)
  clusters = splits.test.extras.clusters
  biased = {"bidirectional": True, "tree_levels": clusters.shape[-1]}
  stack = nn.StackConfig.alternating(
    "gru", ("attention", biased), d_model=4, num_layers=2
  )
  arm = base.ArmConfig(nn.NetworkConfig(stack, pooling="last"), batch_size=2)
  problem = classification.Problem(arm, splits)
  variables = drawn.variables(problem)
  arguments = classification.TASK.outputs.arguments(
    problem.network, splits.test
  )
  assert set(arguments) == {"inputs", "lengths", "clusters"}
  compute = jax.jit(classification.compute, static_argnums=0)
  rows = compute(problem.network, variables, arguments)
  scores, _ = jax.jit(problem.scores)(variables, splits.test)
  chance = np.asarray(rows["probability"])[np.arange(2), splits.test.targets]
  np.testing.assert_allclose(
    scores["test_loss"], -np.log(chance).mean(), rtol=1e-5
  )
  arguments["clusters"] = clusters[:, ::-1]
  other = compute(problem.network, variables, arguments)
  assert (other["probability"] != rows["probability"]).all()


@pytest.mark.slow
def test_gradients_of_pictures_with_dark_borders():
  """The network of the config learns from exact zeros once they are shifted."""
  config = digits.get_config("positions")
  options = dict(config.data_options)
  assert options.pop("normalize")
  mixer_options = config.arms["md_tpe"]["network"]["stack"]["mixer_options"]
  stack = nn.StackConfig(
    "lightnet", mixer_options, d_model=8, activation="none"
  )
  network = nn.NetworkConfig(stack, pooling="mean")

  def norm(normalize):
    splits = data.load("digits", **options, normalize=normalize)
    problem = classification.Problem(base.ArmConfig(network, 4), splits)
    batch = base.first(problem.data["train"])

    def loss(variables):
      return problem.scores(variables, batch)[0]["test_loss"]

    variables = jax.jit(problem.init)(jax.random.key(0))
    return optax.tree.norm(jax.jit(jax.grad(loss))(variables))

  # A slope of 1 / sqrt(epsilon) at each norm: their product squared is inf.
  assert np.isinf(norm(False))
  assert norm(True) < 100
