"""Tasks whose batches are sampled on the device, new for each update."""

from collections.abc import Mapping
import dataclasses
from typing import Any
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import nn
from jaxseq import validate
from jaxseq.data import datasets
from jaxseq.data import sources
from jaxseq.data import tokens
from jaxseq.mixers import jrt
from jaxseq.tasks import base
from jaxseq.tasks import budget
from jaxseq.tasks import task as lines
from jaxseq.training import supervised
from jaxseq.training import tables
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import work as works
from jaxseq.training.devices import processes
from jaxseq.types import PyTree

# Test batches come from keys that no run uses: those of runs are split off
# keys made of seeds, and this one is not.
_TEST_SEED = 0x7E57


@dataclasses.dataclass(frozen=True)
class ArmConfig(base.ArmConfig):
  """Options of an arm's reading, network and training.

  Attributes:
    reads: a sequence from its first element to its last, "once" or "twice" (in
      a row, like the prompts of arXiv:2407.05483; only the second reading is
      scored), or as a "prefix", whose elements the mixers `jrt` see all at
      once.
  """

  reads: Literal["once", "twice", "prefix"] = "once"

  def __post_init__(self):
    super().__post_init__()
    if self.reads == "prefix" and not any(_prefixed(self)):
      expected = "'once' or 'twice' without the mixer 'jrt'"
      raise validate.error("reads", self.reads, expected)


class Problem(base.Scored):
  """Learning a task of `jaxseq.data.tokens`.

  Args:
    arm: network and batch size; the network does not pool.
    task: name of the task.
    options: options of the task.
    test_batches: number of batches of an evaluation, always the same ones.

  Attributes:
    time: number of elements that the network reads.

  Raises:
    ValueError: if the task or an option is unknown, or the network pools.
  """

  data: None = None
  carry: None = None
  part: arms.Part = "test"

  def __init__(
    self,
    arm: ArmConfig,
    task: str,
    options: Mapping[str, Any],
    *,
    test_batches: int = 16,
  ):
    base.check_pooling(arm.network, False, "every element has an output")
    self.arm, self.task, self.options = arm, task, options
    self.test_batches = test_batches
    self.config = tokens.make_config(task, **options)
    self.time = self.config.time * (2 if arm.reads == "twice" else 1)
    self.network = _network(arm, self.config)
    classes = arm.reads == "once" and self.config.num_classes is not None
    # Saved models read each sequence once.
    self.kind = "classification" if classes else ""

  def init(self, key: jax.Array) -> base.PyTree:
    """Returns the initial variables of the network."""
    batch = tokens.get(self.task).sample(jax.random.key(0), self.config, 1)
    return self.network.init(key, batch.inputs)

  def sample(
    self, key: jax.Array, update: jax.Array, data: None
  ) -> tokens.TokenBatch:
    """Draws a fresh batch."""
    key = jax.random.fold_in(key, update)
    draw = tokens.get(self.task).sample
    return _read(self.arm, draw(key, self.config, self.arm.batch_size))

  def keywords(self, batch: tokens.TokenBatch) -> dict[str, Any]:
    """Returns the mixers' options, and the elements to predict."""
    return _keywords(self.arm, self.config, batch)

  def score(
    self, outputs: tuple[jax.Array, PyTree], batch: tokens.TokenBatch
  ) -> tuple[dict[str, jax.Array], jax.Array]:
    """Returns the metrics of `evaluate`, and the number of scored elements."""
    return _score(outputs[0], batch, _scored(batch, self.config))

  def evaluate(self, variables: base.PyTree, data: None) -> supervised.Metrics:
    """Scores the test batches.

    Returns:
      "accuracy" over the scored elements, "solved" (the share of sequences
      without a mistake) and "test_loss" (nats); for tasks on signals only
      "test_loss", the mean squared error.
    """
    return accuracy_at(
      self.arm,
      self.task,
      self.options,
      variables,
      self.arm.batch_size,
      self.test_batches,
    )

  def splits(self) -> datasets.Splits:
    """Returns a few sequences of the task in the form of a data set."""
    key = jax.random.key(_TEST_SEED)
    batch = tokens.get(self.task).sample(key, self.config, 2)
    part = datasets.ArrayDataset(
      *map(np.asarray, (batch.inputs, batch.targets))
    )
    info = datasets.Info(
      f"the task {self.task}",
      "sampled",
      "none needed",
      self.config.num_classes,
      self.config.vocab_size,
      preparation=sources.TokenSource(vocab_size=self.config.vocab_size),
    )
    return datasets.Splits(part, None, part, info)

  # No batch is seen twice in training, so there is no validation part.
  validate = evaluate


def accuracy_at(
  arm: ArmConfig,
  task: str,
  options: Mapping[str, Any],
  variables: PyTree,
  batch_size: int,
  num_batches: int,
) -> dict[str, jax.Array]:
  """Scores a network on a task, whose options may differ from training.

  Args:
    arm: options of the network.
    task: name of the task.
    options: options of the task, for example a greater length.
    variables: variables of the network.
    batch_size: sequences per batch.
    num_batches: number of batches.

  Returns:
    The metrics of `Problem.evaluate`.
  """
  config = tokens.make_config(task, **options)
  draw = tokens.get(task).sample
  network = _network(arm, config)

  def score(key):
    batch = _read(arm, draw(key[0], config, batch_size))
    keywords = _keywords(arm, config, batch)
    outputs, _ = network.apply(variables, batch.inputs, **keywords)
    return _score(outputs, batch, _scored(batch, config))

  keys = jax.random.split(jax.random.key(_TEST_SEED), num_batches)
  return base.average_over(score, keys, 1)


def chance(task: str, options: Mapping[str, Any]) -> float | None:
  """Returns the accuracy of a uniform guess; None for tasks on signals."""
  classes = tokens.make_config(task, **options).num_classes
  return None if classes is None else 1 / classes


def share(value: float, count: int) -> str:
  """Returns a share of independent answers with its 95 % interval (Wilson's).

  Args:
    value: the share.
    count: number of answers.
  """
  z2 = 1.96**2 / count
  middle = (value + z2 / 2) / (1 + z2)
  half = np.sqrt(z2 * (value * (1 - value) + z2 / 4)) / (1 + z2)
  return f"{value:.3f} ({middle - half:.3f} to {middle + half:.3f})"


def _network(arm, config):
  outputs = config.num_classes
  if outputs is None:
    outputs = config.outputs if hasattr(config, "outputs") else 1
  return nn.SequenceNetwork(arm.network, outputs, config.vocab_size)


def _asked(network, inputs, at, shared, train=False):
  """Reads the prefix that groups of rows share once, then each row's rest."""
  rows, length = shared
  _, states = network(inputs[::rows, :length], train=train)
  count = len(inputs)
  states = jax.tree.map(lambda x: jnp.repeat(x, rows, 0)[:count], states)
  return network(inputs[:, length:], states, at=at - length, train=train)


def _read(arm, batch):
  """Returns a batch as the arm reads it."""
  if arm.reads != "twice":
    return batch
  inputs = jnp.concatenate([batch.inputs, batch.inputs], axis=1)
  targets, mask = (
    jnp.concatenate([jnp.zeros_like(x), x], axis=1)
    for x in (batch.targets, batch.mask)
  )
  return tokens.TokenBatch(inputs, targets, mask)


def _prefixed(arm):
  """Returns which of the mixers have the option `prefix`."""
  stack = arm.network.stack
  return [isinstance(each, jrt.Config) for each in stack.mixers]


def _keywords(arm, config, batch):
  """Returns the keyword arguments of a network on a batch."""
  options, shared = None, getattr(config, "shared", (1, 0))
  if shared[0] > 1 and arm.reads == "once":
    at = _scored(batch, config)
    return {"at": at, "shared": shared, "method": _asked}
  if arm.reads == "prefix":
    whole = {"prefix": batch.inputs.shape[1]}
    options = tuple(whole if each else {} for each in _prefixed(arm))
  return {"at": _scored(batch, config), "options": options}


def _scored(batch, config):
  """Returns indices of scored elements, (batch, n); None if not constant."""
  count = getattr(config, "scored", None)
  if count is None:
    return None
  return jnp.argsort(~batch.mask, axis=-1, stable=True)[:, :count]


def _score(outputs, batch, at):
  """Returns metrics of a batch and the number of scored elements."""
  if at is not None:
    targets, mask = (
      jnp.take_along_axis(x, at, axis=-1) for x in (batch.targets, batch.mask)
    )
    batch = batch._replace(targets=targets, mask=mask)
  mask = batch.mask
  if jnp.issubdtype(batch.targets.dtype, jnp.integer):
    loss, accuracy, weight = base.cross_entropy(outputs, batch.targets, mask)
    right = (jnp.argmax(outputs, axis=-1) == batch.targets) | ~mask
    solved = right.all(axis=-1).mean()
    return {"accuracy": accuracy, "solved": solved, "test_loss": loss}, weight
  error = jnp.mean((outputs - batch.targets) ** 2, axis=-1)
  weight = mask.sum()
  return {"test_loss": jnp.where(mask, error, 0).sum() / weight}, weight


class Source(NamedTuple):
  """The source of sampled sequences.

  Attributes:
    task: name of the task in `jaxseq.data.tokens`.
    options: options of the task.
  """

  task: str
  options: Mapping[str, Any]


def _adapted(line, source):
  """Returns the task with losses instead of accuracies, for signals."""
  if chance(*source) is not None:
    return line
  columns = {"test_loss": "mean squared error"}
  state = {"state_bytes": line.columns["state_bytes"]}
  return dataclasses.replace(
    line, metric="test_loss", columns=columns | state, kind=""
  )


def _more(config, arm, source):
  """Returns a function for the state size and tests of `test_options`."""
  task, options = source

  def measure(program, variables, *unused):
    further = {
      label: program.measure(
        lambda variables, changes=changes: accuracy_at(
          arm,
          task,
          {**options, **changes},
          variables,
          config.further_batch_size,
          config.further_batches,
        ),
        variables,
      )
      for label, changes in config.test_options.items()
    }
    sizes = {"state_bytes": budget.state_bytes(arm.network)}
    return sizes | ({"further": further} if further else {})

  return measure


TASK = lines.Task(
  name="synthetic",
  arm=ArmConfig,
  problem=lambda arm, source, config: Problem(
    arm, *source, test_batches=config.test_batches
  ),
  metric="accuracy",
  better=None,
  unit="tokens",
  columns={
    "accuracy": "accuracy",
    "solved": "whole sequences",
    "state_bytes": "state (bytes)",
  },
  kind="classification",
  title="{subject}",
  load=lambda config: Source(config.task, config.task_options),
  splits=lambda source, arms: next(iter(arms.values())).problem.splits(),
  adapt=_adapted,
  examples=lambda arm, problem: arm.batch_size * problem.time,
  more=_more,
)


@dataclasses.dataclass(frozen=True)
class Config(base.TaskComparison):
  """A comparison of networks on one task of `jaxseq.data.tokens`.

  Attributes:
    test_options: further tests after the training: by label, the options of the
      task that differ.
    test_batches: batches of an evaluation.
    further_batch_size: sequences per batch in the further tests.
    further_batches: number of batches of each of them.
    further_metric: metric that is reported for them, such as "solved"; the
      first column of the results if empty. Shares of single answers come with
      95 % confidence intervals.
  """

  _: dataclasses.KW_ONLY
  test_options: Mapping[str, Mapping[str, Any]] = arms.EMPTY
  test_batches: int = 16
  further_batch_size: int = 8
  further_batches: int = 8
  further_metric: str = ""

  def __post_init__(self):
    super().__post_init__()
    if self.further_metric:
      columns = ("accuracy", "solved", "test_loss")
      validate.choice("further_metric", self.further_metric, columns)
    validate.fields(
      self, positive=("test_batches", "further_batch_size", "further_batches")
    )
    for options in ({}, *self.test_options.values()):
      tokens.make_config(self.task, **{**self.task_options, **options})


def work(config: Config, program: experiment.Experiment) -> works.Work:
  """Returns the arms, and the table of further tests."""
  del program
  work = TASK.work(config)

  def show(directory, results):
    del directory
    if not config.test_options or not processes.is_first():
      return
    columns = work.options["columns"]
    metric = config.further_metric or next(iter(columns))
    labels = tables.natural_order(config.test_options)
    cell, rows = tables.mean_std, []
    options = dict(config.task_options)
    if getattr(tokens.make_config(config.task, **options), "scored", None) == 1:
      count = config.further_batches * config.further_batch_size

      def cell(values):
        return share(np.mean(values), count * np.size(values))

      guess = share(chance(config.task, options), count * config.num_seeds)
      rows = [["chance", *[guess] * len(labels)]]
    tables.show(
      ["arm", *labels],
      [
        *(
          [name, *(cell(x["further"][k][metric]) for k in labels)]
          for name, x in results.items()
        ),
        *rows,
      ],
      title=f"{config.task}, {columns.get(metric, metric)} under other options",
    )

  return dataclasses.replace(work, show=show)
