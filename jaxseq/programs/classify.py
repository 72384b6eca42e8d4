"""Classification of sequences, with any mixer; regression of numbers."""

import dataclasses
from typing import Any
from typing import Literal

from jaxseq.programs import line
from jaxseq.tasks import base
from jaxseq.tasks import classification
from jaxseq.tasks import classification_figures
from jaxseq.tasks import regression
from jaxseq.tasks import task as tasks
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import supervised_arms


@dataclasses.dataclass(frozen=True)
class Config(base.DataComparison):
  """A comparison of networks on one data set.

  Attributes:
    gaps: see `regression.ArmConfig`; of a regression only.
    image_size: see `regression.ArmConfig`; of a regression only.
  """

  _: dataclasses.KW_ONLY
  gaps: Literal["scale", "append", "ignore"] = "append"
  image_size: int = 0


def choose(splits: Any) -> tasks.Task:
  """Returns the line of work: of classes, or of numbers."""
  numbers = splits.info.num_classes is None
  return regression.TASK if numbers else classification.TASK


def make_arms(config: Config, splits: Any) -> dict[str, supervised_arms.Arm]:
  """Builds every arm.

  Raises:
    ValueError: if an option is wrong.
  """
  return choose(splits).arms(config, splits)


def main(program: experiment.Experiment) -> None:
  """Runs the experiment that the flags describe."""

  def show(config, directory, results):
    del config
    draws = program.mode == "train"
    classification_figures.show(directory, results, draw=draws)

  line.main(program, choose, show)
