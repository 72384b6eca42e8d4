r"""Classification of sequences, with any mixer.

    python -m experiments.classify --config=configs/classify/digits.py \
      --workdir=DIR
    python -m experiments.classify --config=... --workdir=DIR --mode=evaluate

The first command trains every arm of the config (one mixer each), all seeds of
an arm as one program, and resumes where an earlier run stopped. It ends with a
table, `DIR/learning_curve.png` and `DIR/results.json`. The second command
evaluates the newest checkpoints. Data with numbers at every element in place of
classes, such as the pendulum's, make it a regression. Where an example is two
sequences, as in the Long Range Arena's Retrieval, they are encoded by the same
network, and its read-out compares them.
"""

import dataclasses
from typing import Literal

from jaxseq import data
from jaxseq.tasks import base
from jaxseq.tasks import classification
from jaxseq.tasks import regression
from jaxseq.training import app
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


_PROGRAM = experiment.Experiment("classify", Config)


def make_arms(
  config: Config, splits: data.Splits
) -> dict[str, supervised_arms.Arm]:
  """Builds every arm.

  Raises:
    ValueError: if an option is wrong.
  """
  unit = "pairs" if classification.is_paired(splits) else "sequences"
  made = {}
  for name in config.arms:
    if splits.info.num_classes is not None:
      arm = base.arm_config(config, name)
      problem = classification.Problem(arm, splits)
      made[name] = base.make_arm(
        config, arm, problem, "accuracy", unit, better="higher"
      )
    else:
      arm = base.arm_config(config, name, regression.ArmConfig)
      problem = regression.Problem(arm, splits)
      made[name] = base.make_arm(
        config, arm, problem, "mse", unit, better="lower"
      )
  return made


def main(argv: list[str]) -> None:
  """Runs the experiment that the flags describe."""
  del argv
  with _PROGRAM.setup() as config:
    splits = config.load()
    made = make_arms(config, splits)
  columns = {"accuracy": "accuracy", "test_loss": "loss (nats)"}
  if splits.info.num_classes is None:
    columns = {"mse": "mean squared error", "test_loss": "loss"}
  title = f"{config.data}: {next(iter(columns.values()))} on the test set"
  _PROGRAM.compare(
    config, made, title=title, subject=config.data, columns=columns
  )


if __name__ == "__main__":
  app.run_main(main)
