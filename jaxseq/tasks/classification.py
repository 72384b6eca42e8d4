"""Classification of whole sequences, from arrays that fit on the device.

Data with `extras.second`, and with `extras.second_lengths` where the inputs
have lengths, are pairs of sequences with one class, such as the Long Range
Arena's Retrieval.
"""

import jax
import jax.numpy as jnp

from jaxseq import _validate
from jaxseq import data
from jaxseq import nn
from jaxseq.tasks import base
from jaxseq.training import supervised


def is_paired(splits: data.Splits) -> bool:
  """Returns whether an example is two sequences."""
  return splits.train.extras.second is not None


class Problem(base.ArrayProblem):
  """Learning the labels of sequences.

  Args:
    arm: network and batch size in examples; the network pools over time.
    splits: train and test examples, `info` with num_classes and, for tokens,
      vocab_size.

  Raises:
    ValueError: if the network does not pool, batches are larger than the
      training set, or the two halves of pairs do not fit together.
  """

  def __init__(self, arm: base.ArmConfig, splits: data.Splits):
    base.check_pooling(arm.network, True, "a sequence has one class")
    self.paired = is_paired(splits)
    _check_pairs(splits, self.paired)
    info = splits.info
    network = nn.SequenceNetwork(
      arm.network, info.num_classes, info.vocab_size, self.paired
    )
    parts = base.parts(splits)
    super().__init__(arm, network, parts, len(splits.train.targets))

  def init(self, key: jax.Array) -> base.PyTree:
    """Returns the variables of the network."""
    inputs, lengths = self._sequences(base.first(self.data["train"]))
    return self.network.init(key, inputs, lengths=lengths)

  def loss(
    self,
    variables: base.PyTree,
    batch: data.ArrayDataset,
    carry: None,
    key: jax.Array,
  ) -> tuple[jax.Array, supervised.Loss]:
    """Returns the mean cross-entropy in nats."""
    inputs, lengths = self._sequences(batch)
    (logits, _), collections = base.in_training(
      self.network, variables, key, inputs, lengths=lengths
    )
    value, accuracy, _ = base.cross_entropy(logits, batch.targets)
    return value, supervised.Loss(
      {"train_accuracy": accuracy}, collections, carry
    )

  def evaluate(
    self, variables: base.PyTree, data: base.PyTree
  ) -> supervised.Metrics:
    """Scores the examples that are not trained on.

    Returns:
      "accuracy" and "test_loss" (nats) of the test examples, and
      "valid_accuracy" where there are validation examples.
    """

    def score(batch):
      inputs, lengths = self._sequences(batch)
      logits, _ = self.network.apply(variables, inputs, lengths=lengths)
      value, accuracy, count = base.cross_entropy(logits, batch.targets)
      return {"test_loss": value, "accuracy": accuracy}, count

    metrics = self.average(score, data["test"], 128)
    if "valid" in data:
      valid = self.average(score, data["valid"], 128)
      metrics["valid_accuracy"] = valid["accuracy"]
    return metrics

  def _sequences(self, batch):
    """Returns inputs and lengths, of pairs side by side."""
    if not self.paired:
      return batch.inputs, batch.lengths
    inputs = jnp.stack([batch.inputs, batch.extras.second], axis=1)
    if batch.lengths is None:
      return inputs, None
    second = batch.extras.second_lengths
    return inputs, jnp.stack([batch.lengths, second], axis=1)


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
