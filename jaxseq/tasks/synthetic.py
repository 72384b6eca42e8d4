"""Tasks that are sampled on the device, for ever new batches."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxseq import nn
from jaxseq.data import tokens
from jaxseq.tasks import base
from jaxseq.training import supervised

# Test batches come from keys that no run uses: those of runs are split off
# keys made of seeds, and this one is not.
_TEST_SEED = 0x7E57


def make_problem(
  arm: base.ArmConfig,
  task: str,
  options: Mapping[str, Any],
  *,
  test_batches: int = 16,
) -> supervised.Problem:
  """Returns the problem of learning a task of `jaxseq.data.tokens`.

  Args:
    arm: network and batch size; the network does not pool.
    task: name of the task.
    options: of the task.
    test_batches: batches of an evaluation; they are always the same.

  Returns:
    A problem whose evaluation gives "accuracy" over the scored elements,
    "solved" (the share of sequences with no mistake) and "test_loss" (nats);
    for tasks on signals "test_loss" is the mean squared error, the others are
    absent.

  Raises:
    ValueError: if the task or an option is unknown, or the network pools.
  """
  if arm.network.pooling != "none":
    raise ValueError(
      f"network.pooling: got {arm.network.pooling!r}, expected 'none', as "
      "every element has an output."
    )
  config = tokens.make_config(task, **options)
  draw = tokens.get(task).sample
  network = _network(arm, config)

  def init(key):
    batch = draw(jax.random.key(0), config, 1)
    return network.init(key, batch.inputs)

  def sample(key, update, data):
    del data
    return draw(jax.random.fold_in(key, update), config, arm.batch_size)

  def loss(variables, batch, carry, key):
    (outputs, _), collections = network.apply(
      variables,
      batch.inputs,
      train=True,
      rngs={"dropout": key},
      mutable=["batch_stats"],
    )
    metrics, _ = _score(outputs, batch)
    value = metrics.pop("loss")
    metrics.pop("solved", None)
    metrics = {f"train_{name}": x for name, x in metrics.items()}
    return value, supervised.Loss(metrics, collections, carry)

  def evaluate(variables, data):
    del data
    return accuracy_at(
      arm, task, options, variables, arm.batch_size, test_batches
    )

  return supervised.Problem(init, sample, loss, evaluate)


def accuracy_at(
  arm: base.ArmConfig,
  task: str,
  options: Mapping[str, Any],
  variables: Any,
  batch_size: int,
  num_batches: int,
) -> dict[str, jax.Array]:
  """Scores a network on a task, whose options may differ from the training's.

  Args:
    arm: network.
    task: name of the task.
    options: of the task; a length beyond that of the training, for one.
    variables: of the network.
    batch_size: sequences at once.
    num_batches: how often.

  Returns:
    The metrics of `make_problem`'s evaluation.
  """
  config = tokens.make_config(task, **options)
  draw = tokens.get(task).sample
  network = _network(arm, config)

  def score(key):
    batch = draw(key[0], config, batch_size)
    outputs, _ = network.apply(variables, batch.inputs)
    metrics, weight = _score(outputs, batch)
    metrics["test_loss"] = metrics.pop("loss")
    return metrics, weight

  keys = jax.random.split(jax.random.key(_TEST_SEED), num_batches)
  return base.average_over(score, keys, 1)


def chance(task: str, options: Mapping[str, Any]) -> float | None:
  """Returns the accuracy of a uniform guess; None for tasks on signals."""
  classes = tokens.make_config(task, **options).num_classes
  return None if classes is None else 1 / classes


def _network(arm, config):
  outputs = config.num_classes
  if outputs is None:
    outputs = config.outputs if hasattr(config, "outputs") else 1
  return nn.SequenceNetwork(arm.network, outputs, config.vocab_size)


def _score(outputs, batch):
  """Returns metrics of a batch and the number of scored elements."""
  mask = batch.mask
  if jnp.issubdtype(batch.targets.dtype, jnp.integer):
    loss, accuracy, weight = base.cross_entropy(outputs, batch.targets, mask)
    right = (jnp.argmax(outputs, axis=-1) == batch.targets) | ~mask
    solved = right.all(axis=-1).mean()
    return {"loss": loss, "accuracy": accuracy, "solved": solved}, weight
  error = jnp.mean((outputs - batch.targets) ** 2, axis=-1)
  weight = mask.sum()
  return {"loss": jnp.where(mask, error, 0).sum() / weight}, weight
