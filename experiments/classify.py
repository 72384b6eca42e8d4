r"""Classification of sequences, with any mixer.

    python -m experiments.classify --config=configs/classify/digits.py \
      --workdir=DIR
    python -m experiments.classify --config=... --workdir=DIR --mode=evaluate
    python -m experiments.classify --workdir=DIR --mode=predict \
      --arm=NAME --data=new.csv --output=predictions.csv

The first command trains every arm of the config (one mixer each), all seeds of
an arm as one program, and resumes where an earlier run stopped. It ends with a
table, `DIR/learning_curve.png`, `DIR/results.json` and the trained model of
each arm, `DIR/ARM/model.safetensors`. The second command evaluates the newest
checkpoints, the third predicts the classes of a file. Data with numbers at
every element in place of classes, such as the pendulum's, make it a regression.
Where an example is two sequences, as in the Long Range Arena's Retrieval, they
are encoded by the same network, and its read-out compares them.
"""

import dataclasses
import functools
from typing import Literal

from jaxseq import data
from jaxseq.models import predict_mode
from jaxseq.models import run_models
from jaxseq.tasks import base
from jaxseq.tasks import classification
from jaxseq.tasks import classification_figures
from jaxseq.tasks import confusion
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


_PROGRAM = experiment.Experiment("classify", Config, modes=predict_mode.MODES)
predict_mode.define_flags()


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
        config,
        arm,
        problem,
        "accuracy",
        unit,
        better="higher",
        figures=functools.partial(
          confusion.figures, classes=splits.info.classes
        ),
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
  if predict_mode.predicts(_PROGRAM):
    return
  with _PROGRAM.setup() as config:
    splits = config.load()
    made = make_arms(config, splits)
    directory = _PROGRAM.open_directory(config)
  kind = "classification"
  columns = {
    "accuracy": "accuracy",
    "test_loss": "loss (nats)",
    "ece": "calibration error",
  }
  if splits.info.num_classes is None:
    kind = "regression"
    columns = {"mse": "mean squared error", "test_loss": "loss"}
  title = f"{config.data}: {next(iter(columns.values()))} on the test set"
  results = _PROGRAM.compare(
    config,
    made,
    directory,
    title=title,
    subject=config.data,
    columns=columns,
    each=run_models.writer(_PROGRAM, config, directory, kind, made, splits),
  )
  classification_figures.show(directory, results, draw=_PROGRAM.mode == "train")


if __name__ == "__main__":
  app.run_main(main)
