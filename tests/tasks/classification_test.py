"""Classification: learns what can be learnt, and scores every example."""

import jax
import numpy as np
import optax
import pytest

from jaxseq import data
from jaxseq import nn
from jaxseq.tasks import base
from jaxseq.tasks import classification
from jaxseq.training import supervised

NETWORK = nn.NetworkConfig(
  mixer="gru", d_model=8, num_layers=1, pooling="mean", norm="batch"
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


def test_a_class_is_learnt():
  splits = _splits()
  problem = classification.make_problem(
    base.ArmConfig(NETWORK, batch_size=8), splits
  )
  optimizer = optax.adam(0.02)
  state = jax.jit(lambda key: supervised.init(problem, optimizer, key))(
    jax.random.key(0)
  )
  evaluate = jax.jit(problem.evaluate)
  before = evaluate(state.variables, problem.data)
  assert set(before) == {"accuracy", "test_loss", "valid_accuracy"}
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


def test_wrong_options():
  splits = _splits(with_valid=False)
  with pytest.raises(ValueError, match="pooling: got 'none'"):
    classification.make_problem(
      base.ArmConfig(nn.NetworkConfig(mixer="gru")), splits
    )
  with pytest.raises(ValueError, match="batch_size: got 41, expected at most"):
    classification.make_problem(base.ArmConfig(NETWORK, batch_size=41), splits)
