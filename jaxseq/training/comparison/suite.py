"""Suites: the same arms compared on several tasks, one run after the other."""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import functools
import math
import pathlib
import sys
from typing import Any
from typing import NamedTuple
from typing import TypeVar

import numpy as np

from jaxseq.training import aggregates
from jaxseq.training import configuration
from jaxseq.training import files
from jaxseq.training import finite
from jaxseq.training import signals
from jaxseq.training import tables
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import report
from jaxseq.training.comparison import run
from jaxseq.training.devices import processes

Config = TypeVar("Config", bound=arms.Arms)
_AGGREGATES = {
  "iqm": "IQM",
  "mean": "mean",
  "optimality_gap": "optimality gap",
}
# The results of each arm, by name of the task; arms that failed are left out.
Results = dict[str, run.Results]
# The configuration and the arms of each task's run, by name of the task.
Runs = Mapping[str, tuple[arms.Arms, Mapping[str, arms.Arm]]]


class Suite(NamedTuple):
  """The work of a program that runs the arms of a comparison on several tasks.

  Attributes:
    experiment: name of the experiment that each run is one of.
    runs: the runs.
    finish: (directory, results, what has failed) -> tables and files.
    each: (directory, task, arm, state), called for every arm that is measured.
    done: called with task and results once a run has been trained.
  """

  experiment: str
  runs: Runs
  finish: Callable[[pathlib.Path, Results, finite.Failed], None]
  each: Callable[[pathlib.Path, str, str, Any], None] = lambda *measured: None
  done: Callable[[str, run.Results], None] = lambda task, results: None

  def main(self, directory: pathlib.Path, mode: str) -> None:
    """Trains or evaluates all runs, and shows them.

    Raises:
      NotFinite: something has failed; what has not is shown before.
    """
    results, failed = run_all(
      directory,
      self.runs,
      mode,
      experiment=self.experiment,
      each=functools.partial(self.each, directory),
      done=self.done,
    )
    if processes.is_first():
      self.finish(directory, results, failed)
    check(failed)


def narrow(config: arms.Arms, cls: type[Config], **changes: Any) -> Config:
  """Returns the configuration of one run of a suite.

  Args:
    config: of the suite, which has all fields of `cls`.
    cls: class of the run's configuration.
    **changes: fields with other values than the suite has.
  """
  same = {f.name: getattr(config, f.name) for f in dataclasses.fields(cls)}
  return cls(**same | changes)


def run_all(
  directory: pathlib.Path,
  runs: Runs,
  mode: str,
  *,
  experiment: str,
  each: Callable[[str, str, object], None] = lambda task, name, state: None,
  done: Callable[[str, run.Results], None] = lambda task, results: None,
) -> tuple[Results, finite.Failed]:
  """Trains the runs that are not finished, or evaluates all.

  Where numbers of a task become NaN or infinite the others go on. Such a task
  is not finished: it is tried again with the next call.

  Args:
    directory: of the suite; each run has the sub-directory of its task.
    runs: the runs.
    mode: "train" or "evaluate".
    experiment: name of the experiment that each run is one of.
    each: called with task, arm and the state of its seeds, once it is measured.
    done: called with task and results once a run has been trained.

  Returns:
    For each task the results of each arm, as JSON holds them; and by
    "TASK/ARM" and seed what has failed, for `check`.

  Raises:
    Stopped: a signal asked for it, perhaps at the end of a task.
  """
  results, failed = {}, {}
  tasks = signals.one_by_one(runs.items())
  for index, (task, (config, arms_by_name)) in enumerate(tasks):
    place = arms.open_directory(directory / task, config, experiment, mode)

    def show(name, step, state, report, task=task):
      del step, report
      each(task, name, state)

    finished = report.read(place)
    if mode == "evaluate":
      results_of_task, wrong = _evaluate(config, place, arms_by_name, show)
      results[task] = configuration.to_json(results_of_task)
    elif finished is not None:
      results[task], wrong = finished, {}
    else:
      if processes.is_first():
        print(f"{task} ({index + 1} of {len(runs)})", flush=True)
      results_of_task, wrong = _train(config, place, arms_by_name, show)
      results_of_task = configuration.to_json(results_of_task)
      results[task] = results_of_task
      if processes.is_first() and not wrong:
        files.write_json(place / report.RESULTS, results_of_task)
      done(task, results_of_task)
    failed |= {f"{task}/{arm}": seeds for arm, seeds in wrong.items()}
  return results, failed


def _train(config, place, arms_by_name, show):
  """Returns the results of a run, and the failures of each arm."""
  try:
    return run.train(config, place, arms_by_name, show), {}
  except run.Failed as error:
    if processes.is_first():
      for sentence in finite.sentences(error.failed):
        print(f"warning: {sentence}; other tasks go on", file=sys.stderr)
    return error.results, error.failed


def _evaluate(config, place, arms_by_name, show):
  """The results and failures of the newest checkpoints."""
  results, failed = {}, {}
  for name in arms_by_name:
    try:
      results |= run.evaluate(config, place, arms_by_name, show, names=[name])
    except finite.NotFinite as error:
      failed |= error.failed
  return results, failed


def check(failed: finite.Failed) -> None:
  """Ends a suite with failed runs, once its results are shown.

  Raises:
    NotFinite: something has failed.
  """
  if failed:
    raise finite.NotFinite(failed)


def values(
  config: arms.Arms, results: run.Results, arm: str, name: str
) -> list[float]:
  """Returns what an arm reports over seeds; NaN of an arm that failed."""
  if arm not in results:
    return [math.nan] * config.num_seeds
  return [float(value) for value in results[arm][name]]


def show(
  config: arms.Arms,
  results: Results,
  cell: Callable[[str, str], str],
  title: str,
) -> None:
  """Prints a table of what `cell` tells of a task (the rows) and an arm.

  An arm that has failed in a task has a dash there.
  """
  rows = [
    [
      task,
      *(cell(task, arm) if arm in row else "-" for arm in config.arms),
    ]
    for task, row in results.items()
  ]
  tables.show(["environment", *config.arms], rows, title=title)
  print()


def _interval(ends):
  if not np.isfinite(ends[0]):
    return "-"
  return "{:.3f} [{:.3f}, {:.3f}]".format(*ends)


def show_aggregates(
  scores: Mapping[str, np.ndarray], title: str
) -> dict[str, dict[str, tuple[float, float, float]]]:
  """Prints aggregates of arms, with the ends of their bootstrap intervals.

  The scores are (seeds, tasks) of each arm, normalized.

  Returns:
    By the names of aggregates and arms, as `aggregates.aggregates` has them;
    NaN for an arm with a score that is not finite.
  """
  missing = dict.fromkeys(aggregates.AGGREGATES, (math.nan,) * 3)
  score_arrays = {
    arm: aggregates.aggregates(x) if np.isfinite(x).all() else missing
    for arm, x in scores.items()
  }
  ours = {
    label: {arm: values[name] for arm, values in score_arrays.items()}
    for name, label in _AGGREGATES.items()
  }
  rows = [[arm, *(_interval(x[arm]) for x in ours.values())] for arm in scores]
  tables.show(["arm", *ours], rows, title=title)
  return ours
