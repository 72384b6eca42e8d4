"""A supervised line of work as a program: load, train, measure, show."""

from collections.abc import Callable
import pathlib
from typing import Any

from jaxseq.models import predict_mode
from jaxseq.models import run_models
from jaxseq.tasks import task as tasks
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import run

# Called at the end with the configuration, the directory and the results.
Show = Callable[[Any, pathlib.Path, run.Results], None]


def main(
  program: experiment.Experiment,
  choose: Callable[[Any], tasks.Task] | None = None,
  show: Show = lambda config, directory, results: None,
) -> None:
  """Does what the flags say: trains, evaluates or predicts.

  Args:
    program: whose flags they are.
    choose: from the splits of the data to the line of work; the `TASK` of the
      program's module if None.
    show: what follows the table.
  """
  if predict_mode.predicts(program):
    return
  with program.setup() as config:
    splits = config.load()
    task = choose(splits) if choose else program.body.TASK
    source = task.source(splits)
    task = task.of(source)
    arms_by_name = task.arms(config, source)
    directory = program.open_directory(config)
  watched = next(iter(task.columns.values()))
  levels = task.baselines(source, config, "valid")
  results = program.compare(
    config,
    arms_by_name,
    directory,
    title=f"{config.data}: {watched} on the test set",
    subject=config.data,
    columns=task.columns,
    ylabel=task.ylabel,
    baselines=task.baselines(source, config, "test"),
    levels={name: values[task.metric] for name, values in levels.items()},
    each=run_models.writer(
      program, config, directory, task.kind, arms_by_name, splits
    ),
  )
  show(config, directory, results)
