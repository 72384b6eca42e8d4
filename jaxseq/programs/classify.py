"""Classification of sequences, with any mixer; regression of numbers."""

import dataclasses
from typing import Any

from jaxseq.tasks import base
from jaxseq.tasks import classification
from jaxseq.tasks import regression
from jaxseq.tasks import task
from jaxseq.tasks.classification import figures as classification_figures
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import work as works


@dataclasses.dataclass(frozen=True)
class Config(regression.Options, base.DataComparison):
  """A comparison of networks on one data set, with `regression.Options`."""


def choose(splits: Any) -> task.Task:
  """Returns the task: classification, or regression for numbers."""
  numbers = splits.info.num_classes is None
  return regression.TASK if numbers else classification.TASK


TASK = dataclasses.replace(
  classification.TASK, adapt=lambda line, splits: choose(splits).of(splits)
)


def work(config: Config, program: experiment.Experiment) -> works.Work:
  """Returns the arms, with tables and pictures of their classes."""

  def show(directory, results):
    draws = program.mode == "train"
    classification_figures.show(directory, results, draw=draws)

  return dataclasses.replace(TASK.work(config), show=show)
