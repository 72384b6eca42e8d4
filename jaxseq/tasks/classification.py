"""Classification of whole sequences, from arrays that fit on the device.

Data with `extras.second`, and with `extras.second_lengths` where the inputs
have lengths, are pairs of sequences with one class, such as the Long Range
Arena's Retrieval.
"""

import jax
import jax.numpy as jnp

from jaxseq import _validate
from jaxseq import data as data_lib
from jaxseq import nn
from jaxseq.tasks import base
from jaxseq.training import supervised


def is_paired(splits: data_lib.Splits) -> bool:
  """Returns whether an example is two sequences."""
  return splits.train.extras.second is not None


def make_problem(
  arm: base.ArmConfig, splits: data_lib.Splits
) -> supervised.Problem:
  """Returns the problem of learning the labels of sequences.

  Args:
    arm: network and batch size in examples; the network pools over time.
    splits: train and test examples, `info` with num_classes and, for tokens,
      vocab_size.

  Returns:
    A problem whose evaluation gives "accuracy" and "test_loss" (nats) on the
    test examples, and "valid_accuracy" where there are validation examples.

  Raises:
    ValueError: if the network does not pool, batches are larger than the
      training set, or the two halves of pairs do not fit together.
  """
  if arm.network.pooling == "none":
    raise ValueError("network.pooling: got 'none', expected 'mean' or 'last'.")
  size = splits.train.targets.shape[0]
  if arm.batch_size > size:
    raise ValueError(
      f"batch_size: got {arm.batch_size}, expected at most {size}, the number "
      "of training examples."
    )
  paired = is_paired(splits)
  _check_pairs(splits, paired)
  network = nn.SequenceNetwork(
    arm.network, splits.info.num_classes, splits.info.vocab_size, paired
  )
  held_out = {"": splits.test}
  if splits.valid is not None:
    held_out["valid_"] = splits.valid

  def sequences(batch):
    if not paired:
      return batch.inputs, batch.lengths
    inputs = jnp.stack([batch.inputs, batch.extras.second], axis=1)
    if batch.lengths is None:
      return inputs, None
    second = batch.extras.second_lengths
    return inputs, jnp.stack([batch.lengths, second], axis=1)

  def init(key):
    batch = jax.tree.map(lambda x: jnp.asarray(x[:1]), splits.train)
    inputs, lengths = sequences(batch)
    return network.init(key, inputs, lengths=lengths)

  def sample(key, update, data):
    index = supervised.draw(key, update, size, arm.batch_size)
    return base.take(data["train"], index)

  def loss(variables, batch, carry, key):
    inputs, lengths = sequences(batch)
    (logits, _), collections = network.apply(
      variables,
      inputs,
      lengths=lengths,
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
      inputs, lengths = sequences(batch)
      logits, _ = network.apply(variables, inputs, lengths=lengths)
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


def _check_pairs(splits, paired):
  """Checks that all parts have the second sequences, or none has."""
  for name, part in zip(("train", "valid", "test"), splits[:3]):
    if part is None:
      continue
    second, lengths = part.extras.second, part.extras.second_lengths
    _check_presence(
      f"{name}: extras.second", second, paired, "in the training part"
    )
    if not paired:
      continue
    if second.shape != part.inputs.shape:
      raise _validate.error(
        f"{name}: extras.second",
        f"shape {second.shape}",
        f"that of the inputs, {part.inputs.shape}",
      )
    _check_presence(
      f"{name}: extras.second_lengths",
      lengths,
      part.lengths is not None,
      "lengths are",
    )


def _check_presence(name, array, expected, where):
  """Checks that an array is there if it is expected, and only then."""
  if (array is not None) != expected:
    words = ("None", "an array") if expected else ("an array", "None")
    raise ValueError(
      f"{name}: got {words[0]}, expected {words[1]}, as {where}."
    )
