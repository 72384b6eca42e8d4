"""Classifiers that begin as the linear model of summaries."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxseq import data
from jaxseq import nn
from jaxseq.tasks import base
from jaxseq.tasks import classification

_NETWORK = nn.NetworkConfig(
  nn.StackConfig("gru", d_model=4, num_layers=1), pooling="mean", summaries=True
)


def _splits():
  """Noisy series of three levels, of unequal lengths."""
  rng = np.random.default_rng(0)
  level = rng.integers(0, 3, 90).astype(np.int32)
  x = rng.normal(size=(90, 6, 2)) + 0.6 * level[:, None, None]
  part = data.ArrayDataset(np.float32(x), level, rng.integers(2, 7, 90))
  info = data.Info(
    "Made",
    "memory",
    "",
    num_classes=3,
  )
  parts = (data.take(part, np.arange(90) % 3 == i) for i in range(3))
  return data.Splits(*parts, info)


def test_a_classifier_begins_as_the_row_of_the_table():
  splits = _splits()
  arm = base.ArmConfig(_NETWORK, batch_size=4)
  problem = classification.Problem(arm, splits)
  variables = problem.init(jax.random.key(0))
  found = problem.measure(variables, problem.data["test"])
  rows = classification.TASK.baselines(splits, None, "test")
  for name, value in rows["linear on summaries"].items():
    # The row is computed in float64.
    np.testing.assert_allclose(found[name], value, rtol=1e-5)


def test_it_is_trained_from_there_and_kept_by_the_loss():
  problem = classification.Problem(
    base.ArmConfig(_NETWORK, batch_size=4), _splits()
  )
  assert (problem.metric, problem.better) == ("test_loss", "lower")
  plain = dataclasses.replace(_NETWORK, summaries=False)
  other = classification.Problem(base.ArmConfig(plain, batch_size=4), _splits())
  assert other.metric is None
  assert not other.starts_from_data
  batch = problem.sample(jax.random.key(1), 0, problem.data)

  def loss(variables):
    return problem.loss(variables, batch, None, jax.random.key(2))[0]

  gradients = jax.grad(loss)(problem.init(jax.random.key(0)))["params"]
  for name in ("summaries", "head"):
    assert max(abs(x).max() for x in jax.tree.leaves(gradients[name])) > 0


def test_other_data_are_refused():
  splits = _splits()
  tokens = splits.train._replace(inputs=np.zeros((30, 6), np.int32))
  with pytest.raises(ValueError, match="network.summaries: got True"):
    classification.Problem(
      base.ArmConfig(_NETWORK, batch_size=4), splits._replace(train=tokens)
    )
