"""Classification of whole sequences, from arrays that fit on the device.

Data with `extras.second`, and with `extras.second_lengths` if the inputs have
lengths, are pairs of sequences with one class, such as the Long Range Arena's
Retrieval.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq import nn
from jaxseq import validate
from jaxseq.tasks import base
from jaxseq.tasks import outputs
from jaxseq.tasks import sizes
from jaxseq.tasks import summary_baselines
from jaxseq.tasks import summary_start
from jaxseq.tasks import task
from jaxseq.tasks.classification import confusion
from jaxseq.training import supervised
from jaxseq.types import PyTree


def is_paired(splits: data.Splits) -> bool:
  """Returns whether each example is a pair of sequences."""
  return splits.train.extras.second is not None


class Problem(base.ArrayProblem):
  """Predicting the labels of sequences.

  Args:
    arm: network and batch size in examples; the network pools over time.
    splits: train and test examples, `info` with num_classes and, for tokens,
      vocab_size.

  Raises:
    ValueError: if the network does not pool, batches are larger than the
      training set, or the two sequences of pairs do not fit together.
  """

  at_least = 128

  def __init__(self, arm: base.ArmConfig, splits: data.Splits):
    base.check_pooling(arm.network, True, "a sequence has one class")
    self.paired = is_paired(splits)
    _check_pairs(splits, self.paired)
    info = splits.info
    network = nn.SequenceNetwork(
      arm.network, info.num_classes, info.vocab_size, self.paired
    )
    parts: dict[str, Any] = base.parts(splits)
    self.starts_from_data = arm.network.summaries
    if self.starts_from_data:
      parts[summary_start.NAME] = summary_start.of_classes(splits)
      # On few examples the loss selects variables more reliably.
      self.metric, self.better = "test_loss", "lower"
    super().__init__(arm, network, parts, len(splits.train.targets))

  def init(
    self, key: jax.Array, data: dict[str, Any] | None = None
  ) -> base.PyTree:
    """Returns the initial variables of the network, see `summary_start`."""
    data = self.data if data is None else data
    batch = base.first(data["train"])
    inputs, keywords = self.inputs(batch), self.keywords(batch)
    variables = self.network.init(key, *inputs, **keywords)
    return summary_start.begun(variables, data.get(summary_start.NAME))

  def inputs(self, batch: data.ArrayDataset) -> tuple[jax.Array | None, ...]:
    """Returns the network's arguments, see `network_inputs`."""
    return network_inputs(batch, self.paired)

  def keywords(self, batch: data.ArrayDataset) -> dict[str, Any]:
    """Returns the keyword arguments for its mixers, see `mixer_options`."""
    return mixer_options(self.network, batch.extras.clusters)

  def scores(
    self,
    variables: base.PyTree,
    batch: data.ArrayDataset,
    key: jax.Array | None = None,
  ) -> tuple[dict[str, Any], jax.Array]:
    """Returns `score` of the network on a batch, and its confusion counts.

    The tallies are the `confusion.Counts`, divided by the batch size.
    """
    del key
    predicted = self.network.apply(
      variables, *self.inputs(batch), **self.keywords(batch)
    )
    metrics, count = self.score(predicted, batch)
    counts = confusion.count(predicted[0], batch.targets)
    shares = jax.tree.map(lambda x: x / count, counts)
    return {**metrics, supervised.TALLIES: shares}, count

  def evaluate(
    self, variables: base.PyTree, data: base.PyTree
  ) -> supervised.Metrics:
    """Scores the parts that are not trained on; adds the test's confusions."""
    metrics = super().evaluate(variables, data)
    size = len(data["test"].targets)
    counts = jax.tree.map(lambda x: x * size, metrics[supervised.TALLIES])
    return {**metrics, supervised.TALLIES: counts}

  def score(
    self, outputs: tuple[jax.Array, base.PyTree], batch: data.ArrayDataset
  ) -> tuple[dict[str, jax.Array], jax.Array]:
    """Returns "accuracy" and "test_loss", the mean cross-entropy in nats."""
    loss, accuracy, count = base.cross_entropy(outputs[0], batch.targets)
    return {"test_loss": loss, "accuracy": accuracy}, count


def network_inputs(
  batch: data.ArrayDataset, paired: bool
) -> tuple[jax.Array | None, ...]:
  """Returns inputs, None for states and resets, and lengths; pairs stacked."""
  inputs, lengths = batch.inputs, batch.lengths
  if paired:
    second = batch.extras.second_lengths
    inputs = jnp.stack([inputs, batch.extras.second], axis=1)
    if lengths is not None:
      lengths = jnp.stack([lengths, second], axis=1)
  return inputs, None, None, lengths


def mixer_options(
  network: nn.SequenceNetwork, clusters: jax.Array | None
) -> dict[str, Any]:
  """Returns the options of mixers that use the clusters of elements.

  Args:
    network: network whose mixers may be attention with `tree_levels`.
    clusters: (*batch, time, levels), as in extras, or None.

  Returns:
    Keyword arguments of the network; empty if no mixer uses clusters.
  """
  wants = [
    getattr(each, "tree_levels", 0) > 0 for each in network.config.stack.mixers
  ]
  if clusters is None or not any(wants):
    return {}
  options = tuple({"clusters": clusters} if x else {} for x in wants)
  return {"options": options}


def _check_pairs(splits, paired):
  """Checks that all parts have second sequences, or that no part has."""
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
      raise validate.error(
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
  """Checks that an array is present exactly if it is expected."""
  if (array is not None) != expected:
    words = ("None", "an array") if expected else ("an array", "None")
    raise ValueError(
      f"{name}: got {words[0]}, expected {words[1]}, as {where}."
    )


def _adapted(line, splits):
  """Returns the task with a data set's class names."""
  return dataclasses.replace(
    line,
    unit="pairs" if is_paired(splits) else line.unit,
    figures=functools.partial(confusion.figures, classes=splits.info.classes),
  )


def _arguments(network, dataset):
  """Returns "inputs", "lengths" if padded, and "clusters" if used."""
  inputs, _, _, lengths = network_inputs(dataset, network.pairs)
  clusters = dataset.extras.clusters
  if not mixer_options(network, clusters):
    clusters = None
  return outputs.present(inputs=inputs, lengths=lengths, clusters=clusters)


def compute(
  network: nn.SequenceNetwork,
  variables: PyTree,
  arguments: dict[str, jax.Array],
) -> dict[str, jax.Array]:
  """Returns "class" (n,) and "probability" (n, classes), or per element."""
  lengths = arguments.get("lengths")
  options = mixer_options(network, arguments.get("clusters"))
  logits, _ = network.apply(
    variables, arguments["inputs"], None, None, lengths, **options
  )
  classes = jnp.argmax(logits, axis=-1).astype(jnp.int32)
  return {"class": classes, "probability": jax.nn.softmax(logits)}


def _predict(model, examples):
  """Returns a row for each example, or for each element without pooling."""
  arrays = model.outputs(examples.dataset)
  count = model.network.num_outputs
  names = model.preparation.classes or tuple(map(str, range(count)))
  words, shown = np.array(names), np.ones(len(examples.ids), bool)
  columns = {"id": np.array(examples.ids)}
  if arrays["class"].ndim == 2:
    shown = data.datasets.inside(examples.dataset, arrays["class"].shape[1])
    columns = outputs.rows(examples.ids, shown, "element")
  columns["class"] = words[arrays["class"]][shown]
  columns |= outputs.probabilities(names, arrays["probability"], shown)
  if examples.labeled:
    targets = np.asarray(examples.dataset.targets)
    columns["target"] = outputs.class_names(names, targets)[shown]
  return columns, arrays


TASK = task.Task(
  name="classification",
  arm=base.ArmConfig,
  problem=lambda arm, splits, config: Problem(arm, splits),
  metric="accuracy",
  better="higher",
  unit="sequences",
  columns={
    "accuracy": "accuracy",
    "test_loss": "loss (nats)",
    "ece": "calibration error",
  },
  kind="classification",
  outputs=outputs.Outputs(
    network=nn.SequenceNetwork,
    arguments=_arguments,
    compute=compute,
    predict=_predict,
    # Pairs have an axis before the time axis.
    time_axis=lambda network: 2 if network.pairs else 1,
  ),
  adapt=_adapted,
  baselines=lambda splits, config, part: summary_baselines.of_classes(
    splits, part
  ),
  count=sizes.examples,
  sized=lambda splits: sizes.series_start(splits, 1),
  own_files=task.OwnFiles(network={"pooling": "mean"}),
)
