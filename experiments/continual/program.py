"""Continual learning of classes: a comparison of methods against forgetting."""

import dataclasses
import functools
from typing import Any
from typing import Literal

import numpy as np

from experiments.continual import floors
from experiments.continual import methods
from experiments.continual import rounds
from experiments.continual import task_learner
from experiments.continual import task_streams
from experiments.continual import transfer
from jaxseq.tasks import base
from jaxseq.tasks import task
from jaxseq.training import per_seed
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import work as works
from jaxseq.training.devices import processes


@dataclasses.dataclass(frozen=True)
class Config(base.DataComparison):
  """A comparison of methods on the classes of a data set, task after task.

  Attributes:
    tasks: number of tasks, which share `num_updates` equally.
    budget: see `task_learner.ArmConfig`, also for the following ones.
    stored: storage format of exemplars.
    replay: number of exemplars drawn in an update.
    widths: widths of the dense blocks.
  """

  _: dataclasses.KW_ONLY
  tasks: int = 5
  budget: int = 34_000
  stored: Literal["levels", "float32"] = "levels"
  replay: int = 32
  widths: tuple[int, ...] = (32, 16)


def _problem(arm, stream, config):
  """Returns the learner of an arm."""
  return methods.METHODS[arm.method](arm, stream, rounds.updates(config))


def _figures(tallies):
  """Returns results by seed from the tables of accuracies."""
  tables = [np.asarray(tallies[name]) for name in ("class", "task")]
  rows = [transfer.results(*pair) for pair in zip(*tables)]
  # The evaluation itself measures the accuracies.
  names = [name for name in rows[0] if name.removeprefix("task_") != "accuracy"]
  out = {name: per_seed.PerSeed(row[name] for row in rows) for name in names}
  return out | {"tables": per_seed.of(dict(zip(("class", "task"), tables)))}


TASK = task.Task(
  name="continual",
  arm=task_learner.ArmConfig,
  problem=_problem,
  metric="accuracy",
  better=None,
  unit="examples",
  title="{subject}, task after task, on the test set",
  columns={
    "accuracy": "class-incremental accuracy",
    "incremental": "mean over tasks",
    "forgetting": "forgetting",
    "backward_transfer": "backward transfer",
    "task_accuracy": "task-incremental accuracy",
    "task_incremental": "its mean over tasks",
    "task_forgetting": "its forgetting",
    "bytes": "bytes",
    "exemplars": "exemplars",
  },
  figures=_figures,
  more=lambda config, arm, stream: (
    lambda program, variables, *unused: rounds.kept(program.problem, variables)
  ),
  baselines=lambda stream, config, part: floors.levels(stream, config.budget),
)


def _show(directory, results, train):
  """Draws the tables of accuracies of all arms."""
  if not (train and results and processes.is_first()):
    return
  for name, words in (("class", "all classes seen"), ("task", "in the task")):
    tables = {
      arm: np.mean(found["tables"][name], axis=0)
      for arm, found in results.items()
    }
    path = directory / f"accuracies_{name}.png"
    print(f"Accuracies, {words}: {transfer.draw(path, tables) or 'not drawn'}")


def work(config: Config, program: experiment.Experiment) -> works.Work:
  """Returns the arms, whose tasks end and begin between chunks."""
  per_task = rounds.updates(config)
  line = dataclasses.replace(
    TASK,
    source=functools.partial(task_streams.make, tasks=config.tasks),
    # Each task has its own learning rate schedule.
    optimizer=lambda arm, updates: base.make_optimizer(arm, per_task),
  )
  comparison = line.work(config)
  arms: dict[str, Any] = {
    name: rounds.Arm(**vars(arm)) for name, arm in comparison.arms.items()
  }
  return dataclasses.replace(
    comparison,
    arms=arms,
    show=functools.partial(_show, train=program.mode == "train"),
  )
