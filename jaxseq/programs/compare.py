"""All mixers on one task, with equally many parameters."""

import dataclasses
from typing import Literal

from jaxseq import data
from jaxseq import validate
from jaxseq.data import tokens
from jaxseq.tasks import base
from jaxseq.tasks import budget
from jaxseq.tasks import classification
from jaxseq.tasks import synthetic
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import work as works


@dataclasses.dataclass(frozen=True)
class Config(base.TaskComparison):
  """A comparison of mixers, on a data set or on a task of `jaxseq.data.tokens`.

  Attributes:
    kind: "classify": a data set of `jaxseq.data`; "synthetic": a task of
      `jaxseq.data.tokens`.
    budget: number of parameters; None keeps the widths of the config.
  """

  _: dataclasses.KW_ONLY
  kind: Literal["classify", "synthetic"]
  budget: int | None = None

  def __post_init__(self):
    super().__post_init__()
    if self.budget is not None:
      validate.positive("budget", self.budget)


def _of_data(config):
  """Returns the task on a data set, its networks' sizes, and its elements."""
  splits = data.load(config.task, **config.task_options)
  inputs, pairs = splits.train.inputs, classification.is_paired(splits)
  sizes = splits.info.num_classes, splits.info.vocab_size, inputs.shape[-1]
  line = dataclasses.replace(
    classification.TASK.of(splits), load=lambda config: splits, figures=None
  )
  return line, sizes, pairs, inputs.shape[1] * (2 if pairs else 1)


def _of_tokens(config):
  """Returns the same as `_of_data` for a sampled task."""
  options = tokens.make_config(config.task, **config.task_options)
  if options.num_classes is None:
    expected = "a task on tokens, not signals"
    raise validate.error("task", config.task, expected)
  line = dataclasses.replace(
    synthetic.TASK,
    problem=lambda arm, source, config: synthetic.Problem(arm, *source),
  )
  return line, (options.num_classes, options.vocab_size, 1), False, options.time


def work(config: Config, program: experiment.Experiment) -> works.Work:
  """Returns every arm, with its width fitted to the budget."""
  del program
  of = {"classify": _of_data, "synthetic": _of_tokens}[config.kind]
  line, sizes, pairs, time = of(config)

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
