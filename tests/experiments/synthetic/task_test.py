"""Sampled tasks: fresh batches, fixed tests, other options afterwards."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.synthetic import task as synthetic
from jaxseq import nn
from jaxseq.data import tokens

ARM = synthetic.ArmConfig(
  nn.NetworkConfig(nn.StackConfig("gru", d_model=6, num_layers=1)), batch_size=3
)
MQAR = {"length": 8, "pairs": 2, "vocab_size": 8}
WORDS = {"group": "S3", "min_length": 5, "max_length": 5}
COPYING = {"blanks": 2, "memorise": 2, "vocab_size": 6}


def test_batches_and_metrics():
  problem = synthetic.Problem(ARM, "copying", COPYING, test_batches=2)
  variables = jax.jit(problem.init)(jax.random.key(0))
  sample = jax.jit(problem.sample)
  first = sample(jax.random.key(1), 0, None)
  again = sample(jax.random.key(1), 0, None)
  other = sample(jax.random.key(1), 1, None)
  np.testing.assert_array_equal(first.inputs, again.inputs)
  assert (first.inputs != other.inputs).any()
  assert first.inputs.shape == (3, 6)
  loss, extra = jax.jit(problem.loss)(variables, first, None, jax.random.key(2))
  network = nn.SequenceNetwork(ARM.network, 6, 6)
  logits, _ = jax.jit(network.apply)(variables, first.inputs)
  log_p = jax.nn.log_softmax(logits)
  picked = jnp.take_along_axis(log_p, first.targets[..., None], -1)[..., 0]
  np.testing.assert_allclose(loss, -picked[first.mask].mean(), rtol=1e-5)
  right = (jnp.argmax(logits, -1) == first.targets)[first.mask]
  np.testing.assert_allclose(extra.metrics["train_accuracy"], right.mean())
  evaluate = jax.jit(lambda variables: problem.evaluate(variables, None))
  metrics = evaluate(variables)
  assert set(metrics) == {"accuracy", "solved", "test_loss"}
  # A sequence is solved only if both of its tokens are.
  assert metrics["solved"] <= metrics["accuracy"]


def test_a_network_that_knows_scores_one():
  """Every element of this task is its own answer: the identity solves it."""
  options = {"group": "S3", "min_length": 1, "max_length": 1}
  config = tokens.make_config("group_words", **options)
  network = nn.SequenceNetwork(ARM.network, 6, config.vocab_size)
  problem = synthetic.Problem(ARM, "group_words", options)
  variables = jax.jit(problem.init)(jax.random.key(0))
  inputs = jnp.arange(6)[:, None]
  hidden = {**variables["params"]}
  logits, _ = jax.jit(network.apply)(variables, inputs)
  # The read-out is solved for: six tokens, six features and a bias.
  kernel, bias = (
    hidden["head"]["mlp"]["dense_0"][k] for k in ("kernel", "bias")
  )
  features = jnp.linalg.solve(kernel.T, (logits[:, 0] - bias).T).T
  weights = jnp.linalg.lstsq(features, 50 * jnp.eye(6))[0]
  hidden["head"] = {"mlp": {"dense_0": {"kernel": weights, "bias": 0 * bias}}}
  accuracy = jax.jit(
    lambda variables: synthetic.accuracy_at(
      ARM, "group_words", options, variables, 16, 2
    )
  )
  metrics = accuracy({"params": hidden})
  assert metrics["accuracy"] == metrics["solved"] == 1


@pytest.mark.slow
def test_tasks_on_signals_have_errors():
  problem = synthetic.Problem(ARM, "adding", {"length": 5}, test_batches=1)
  variables = jax.jit(problem.init)(jax.random.key(0))
  metrics = jax.jit(lambda v: problem.evaluate(v, None))(variables)
  assert set(metrics) == {"test_loss"}
  batch = jax.jit(problem.sample)(jax.random.key(0), 0, None)
  loss, _ = jax.jit(problem.loss)(variables, batch, None, jax.random.key(0))
  outputs, _ = jax.jit(nn.SequenceNetwork(ARM.network, 1).apply)(
    variables, batch.inputs
  )
  error = np.asarray(outputs - batch.targets)[:, -1]
  np.testing.assert_allclose(loss, np.mean(error**2), rtol=1e-5)


def _reading(reads, **stack):
  stack = nn.StackConfig("jrt", d_model=6, num_layers=2, **stack)
  network = nn.NetworkConfig(stack)
  return synthetic.ArmConfig(network, batch_size=3, reads=reads)


def test_sequences_are_read_twice():
  arm = dataclasses.replace(ARM, reads="twice")
  once = synthetic.Problem(ARM, "mqar", MQAR)
  twice = synthetic.Problem(arm, "mqar", MQAR)
  assert (once.time, twice.time) == (8, 16)
  key, update = jax.random.key(3), jnp.int32(0)
  batch = jax.jit(once.sample)(key, update, None)
  longer = jax.jit(twice.sample)(key, update, None)
  both = np.concatenate([batch.inputs, batch.inputs], axis=1)
  np.testing.assert_array_equal(longer.inputs, both)
  np.testing.assert_array_equal(longer.mask[:, 8:], batch.mask)
  np.testing.assert_array_equal(longer.targets[:, 8:], batch.targets)
  assert not longer.mask[:, :8].any()
  at = twice.keywords(longer)["at"]
  np.testing.assert_array_equal(at, 8 + once.keywords(batch)["at"])


@pytest.mark.slow
def test_a_prefix_is_seen_at_once():
  """The first element's output depends on the last one with a prefix only."""
  for reads, sees in (("prefix", True), ("once", False)):
    arm = _reading(reads, hybrid={"short_conv": {}})
    problem = synthetic.Problem(arm, "group_words", WORDS)
    variables = jax.jit(problem.init)(jax.random.key(0))
    batch = jax.jit(problem.sample)(jax.random.key(1), jnp.int32(0), None)

    @jax.jit
    def outputs(inputs):
      keywords = problem.keywords(batch)  # noqa: B023
      apply = problem.network.apply  # noqa: B023
      return apply(variables, inputs, **keywords)[0]  # noqa: B023

    changed = batch.inputs.at[:, -1].set((batch.inputs[:, -1] + 1) % 6)
    same = outputs(batch.inputs)[:, 0] == outputs(changed)[:, 0]
    assert same.all() != sees


def test_chance_and_wrong_options():
  assert synthetic.chance("copying", COPYING) == 1 / 6
  assert synthetic.chance("adding", {}) is None
  pooled = synthetic.ArmConfig(
    nn.NetworkConfig(nn.StackConfig("gru"), pooling="mean")
  )
  with pytest.raises(ValueError, match="pooling: got 'mean', expected 'none'"):
    synthetic.Problem(pooled, "copying", COPYING)
  with pytest.raises(ValueError, match="reads: got 'prefix', expected 'once'"):
    dataclasses.replace(ARM, reads="prefix")
  with pytest.raises(ValueError, match="options of task 'copying': got"):
    synthetic.Problem(ARM, "copying", {"blancs": 3})
