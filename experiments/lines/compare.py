"""All mixers on one task, with equally many parameters."""

import dataclasses
from typing import Literal

from jaxseq import _validate
from jaxseq import data
from jaxseq.data import tokens
from jaxseq.models import predict_mode
from jaxseq.models import run_models
from jaxseq.tasks import base
from jaxseq.tasks import budget
from jaxseq.tasks import classification
from jaxseq.tasks import synthetic
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import supervised_arms


@dataclasses.dataclass(frozen=True)
class Config(base.Comparison):
  """A comparison of mixers.

  Attributes:
    kind: "classify": a data set of `jaxseq.data`; "synthetic": a task of
      `jaxseq.data.tokens`.
    task: name of the set or task.
    task_options: of the set's loader, or of the task.
    budget: number of parameters; None keeps the widths of the config.
  """

  _: dataclasses.KW_ONLY
  kind: Literal["classify", "synthetic"]
  task: str
  task_options: arms.Fields = arms.EMPTY
  budget: int | None = None

  def __post_init__(self):
    super().__post_init__()
    if self.budget is not None:
      _validate.positive("budget", self.budget)


def make_arms(
  config: Config, splits: data.Splits | None
) -> dict[str, supervised_arms.Arm]:
  """Builds every arm, with its width fitted to the budget.

  Args:
    config: the comparison.
    splits: the data set; None of a task that is sampled.

  Raises:
    ValueError: if an option is wrong.
  """
  width, pairs = 1, False
  if splits is not None:
    inputs = splits.train.inputs
    outputs, vocab = splits.info.num_classes, splits.info.vocab_size
    width, time = inputs.shape[-1], inputs.shape[1]
    pairs = classification.is_paired(splits)
    time *= 2 if pairs else 1
  else:
    task = tokens.make_config(config.task, **config.task_options)
    outputs, vocab, time = task.num_classes, task.vocab_size, task.time
    if outputs is None:
      expected = "a task on tokens, not signals"
      raise _validate.error("task", config.task, expected)
  made = {}
  kind = base.ArmConfig if splits is not None else synthetic.ArmConfig
  for name in config.arms:
    arm = base.arm_config(config, name, kind)
    if config.budget is not None:
      network = budget.fit_width(
        arm.network, outputs, vocab, width, config.budget, pairs=pairs
      )
      arm = dataclasses.replace(arm, network=network)
    if splits is not None:
      problem = classification.Problem(arm, splits)
    else:
      problem = synthetic.Problem(arm, config.task, config.task_options)
    # Told in the table: the arm is as wide as its budget lets it be.
    sizes = {
      "d_model": arm.network.stack.d_model,
      "state_bytes": budget.state_bytes(arm.network),
    }
    made[name] = base.make_arm(
      config,
      arm,
      problem,
      "accuracy",
      "tokens",
      better="higher",
      examples=arm.batch_size * time,
      more=lambda *unused, sizes=sizes: sizes,
    )
  return made


def main(program: experiment.Experiment) -> None:
  """Runs the experiment that the flags describe."""
  if predict_mode.predicts(program):
    return
  with program.setup() as config:
    splits = None
    if config.kind == "classify":
      splits = data.load(config.task, **config.task_options)
    made = make_arms(config, splits)
    directory = program.open_directory(config)
  if splits is None:
    splits = next(iter(made.values())).problem.splits()
  columns = {
    "d_model": "width",
    "accuracy": "test accuracy",
    "state_bytes": "state (bytes)",
  }
  program.compare(
    config,
    made,
    directory,
    title=config.task,
    columns=columns,
    ylabel="accuracy",
    each=run_models.writer(
      program, config, directory, "classification", made, splits
    ),
  )
