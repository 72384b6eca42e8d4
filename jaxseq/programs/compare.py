"""All mixers on one task, with equally many parameters."""

import dataclasses
from typing import Literal
from typing import NamedTuple

from jaxseq import data
from jaxseq import validate
from jaxseq.tasks import base
from jaxseq.tasks import budget
from jaxseq.tasks import classification
from jaxseq.tasks import task
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import work as works


@dataclasses.dataclass(frozen=True)
class Config(base.TaskComparison):
  """A comparison of mixers on a data set.

  Attributes:
    kind: "classify": a data set of `jaxseq.data`.
    budget: number of parameters; None keeps the widths of the config.
  """

  _: dataclasses.KW_ONLY
  kind: Literal["classify"]
  budget: int | None = None

  def __post_init__(self):
    super().__post_init__()
    if self.budget is not None:
      validate.positive("budget", self.budget)


class Compared(NamedTuple):
  """The task of a comparison, with the sizes of its networks.

  Attributes:
    line: the task.
    sizes: classes, tokens and features, see `budget.fit_width`.
    pairs: whether an example is two sequences.
    time: elements of an example.
  """

  line: task.Task
  sizes: tuple[int | None, int | None, int]
  pairs: bool
  time: int


def of_data(config: Config) -> Compared:
  """Returns the classification of a data set.

  Raises:
    ValueError: see `data.load`.
  """
  splits = data.load(config.task, **config.task_options)
  inputs, pairs = splits.train.inputs, classification.is_paired(splits)
  sizes = splits.info.num_classes, splits.info.vocab_size, inputs.shape[-1]
  line = dataclasses.replace(
    classification.TASK.of(splits), load=lambda config: splits, figures=None
  )
  return Compared(line, sizes, pairs, inputs.shape[1] * (2 if pairs else 1))


def work(config: Config, program: experiment.Experiment) -> works.Work:
  """Returns every arm, with its width fitted to the budget."""
  del program
  return work_on(config, of_data(config))


def work_on(config: Config, compared: Compared) -> works.Work:
  """Returns every arm on a task, with its width fitted to the budget.

  Raises:
    ValueError: if no width fits.
  """
  line, sizes, pairs, time = compared

  def fit(arm, source, config):
    del source
    if config.budget is None:
      return arm
    network = budget.fit_width(arm.network, *sizes, config.budget, pairs=pairs)
    return dataclasses.replace(arm, network=network)

  def more(config, arm, source):
    del config, source
    # The table shows the width that fits the budget.
    columns = {
      "d_model": arm.network.stack.d_model,
      "state_bytes": budget.state_bytes(arm.network),
    }
    return lambda *measured: columns

  return dataclasses.replace(
    line,
    adapt=lambda line, source: line,
    better="higher",
    unit="tokens",
    columns={
      "d_model": "width",
      "accuracy": "test accuracy",
      "state_bytes": "state (bytes)",
    },
    title="{subject}",
    ylabel="accuracy",
    examples=lambda arm, problem: arm.batch_size * time,
    fit=fit,
    more=more,
  ).work(config)
