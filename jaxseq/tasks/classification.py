"""Classification of whole sequences, from arrays that fit on the device."""

import jax
import jax.numpy as jnp

from jaxseq import data as data_lib
from jaxseq import nn
from jaxseq.tasks import base
from jaxseq.training import supervised


def make_problem(
  arm: base.ArmConfig, splits: data_lib.Splits
) -> supervised.Problem:
  """Returns the problem of learning the labels of sequences.

  Args:
    arm: network and batch size; the network pools over time.
    splits: train and test examples, `info` with num_classes and, for tokens,
      vocab_size.

  Returns:
    A problem whose evaluation gives "accuracy" and "test_loss" (nats) on the
    test examples, and "valid_accuracy" where there are validation examples.

  Raises:
    ValueError: if the network does not pool, or batches are larger than the
      training set.
  """
  if arm.network.pooling == "none":
    raise ValueError("network.pooling: got 'none', expected 'mean' or 'last'.")
  size = splits.train.targets.shape[0]
  if arm.batch_size > size:
    raise ValueError(
      f"batch_size: got {arm.batch_size}, expected at most {size}, the number "
      "of training examples."
    )
  network = nn.SequenceNetwork(
    arm.network, splits.info.num_classes, splits.info.vocab_size
  )
  held_out = {"": splits.test}
  if splits.valid is not None:
    held_out["valid_"] = splits.valid

  def init(key):
    batch = jax.tree.map(lambda x: jnp.asarray(x[:1]), splits.train)
    return network.init(key, batch.inputs, lengths=batch.lengths)

  def sample(key, update, data):
    index = supervised.draw(key, update, size, arm.batch_size)
    return base.take(data["train"], index)

  def loss(variables, batch, carry, key):
    (logits, _), collections = network.apply(
      variables,
      batch.inputs,
      lengths=batch.lengths,
      train=True,
      rngs={"dropout": key},
      mutable=["batch_stats"],
    )
    value, accuracy, _ = base.cross_entropy(logits, batch.targets)
    return value, supervised.Loss(
      {"train_accuracy": accuracy}, collections, carry
    )

  def score(variables):
    def function(batch):
      logits, _ = network.apply(variables, batch.inputs, lengths=batch.lengths)
      value, accuracy, count = base.cross_entropy(logits, batch.targets)
      return {"test_loss": value, "accuracy": accuracy}, count

    return function

  def evaluate(variables, data):
    metrics = {}
    for prefix in held_out:
      means = base.average_over(
        score(variables), data[f"{prefix}test"], max(arm.batch_size, 128)
      )
      if prefix:
        metrics["valid_accuracy"] = means["accuracy"]
      else:
        metrics.update(means)
    return metrics

  arrays = {"train": splits.train} | {
    f"{prefix}test": part for prefix, part in held_out.items()
  }
  return supervised.Problem(init, sample, loss, evaluate, base.host(arrays))
