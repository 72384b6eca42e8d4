"""The model files of a run: written when its arms are measured, read later."""

from collections.abc import Callable
from collections.abc import Mapping
import pathlib
from typing import Any

import jax
import numpy as np

from jaxseq import data
from jaxseq._types import PyTree
from jaxseq.models import model as trained
from jaxseq.models import model_file
from jaxseq.training import errors
from jaxseq.training import per_seed
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import run
from jaxseq.training.comparison import supervised_arms
from jaxseq.training.devices import placement
from jaxseq.training.devices import processes

# Metrics of validation examples that choose a seed, and whether more is better.
_CHOOSING = {
  "valid_accuracy": True,
  "valid_mse": False,
  "valid_nll": False,
  "valid_neg_elbo": False,
  "bits_per_token": False,
}


def seed_of(variables: PyTree, seed: int) -> PyTree:
  """Returns the variables of one seed."""
  return jax.tree.map(lambda x: x[seed], variables)


def writer(
  program: experiment.Experiment,
  config: arms.Arms,
  directory: pathlib.Path,
  kind: str,
  made: Mapping[str, supervised_arms.Arm],
  splits: data.Splits | dict[str, data.Splits],
  select: Callable[[PyTree, int], PyTree] = seed_of,
) -> run.Each:
  """Returns what writes an arm's model once it is trained, for `run.train`.

  Args:
    program: nothing is written unless its mode is "train".
    config: the comparison.
    directory: of the run; the file is `directory / arm / model_file.NAME`.
    kind: of the models.
    made: the arms, whose problems have a `network`.
    splits: what they are trained on, perhaps by arm.
    select: from the variables of all seeds and the number of one to those of
      the network.
  """

  def save(name, variables, about):
    model = trained.make(
      kind,
      made[name].problem.network,
      variables,
      splits[name] if isinstance(splits, dict) else splits,
      about,
    )
    model_file.save(directory / name / model_file.NAME, model)

  return saver(program, config, save, select)


def saver(
  program: experiment.Experiment,
  config: arms.Arms,
  save: Callable[[str, PyTree, dict[str, Any]], None],
  select: Callable[[PyTree, int], PyTree] = seed_of,
) -> run.Each:
  """Returns what saves one seed of an arm once it is trained, for `run.train`.

  Args:
    program: nothing is written unless its mode is "train".
    config: the comparison.
    save: writes a file: from the arm's name, the variables and where they come
      from, see `models.Model.about`.
    select: from the variables of all seeds and the number of one to those to
      be saved.
  """

  def write(name, step, state, report):
    if program.mode != "train":
      return
    variables = placement.gather(config.mesh, state.variables)
    if not processes.is_first():
      return
    seed, reason = choose_seed(report, config.num_seeds)
    about = {
      "experiment": program.name,
      "data": getattr(config, "data", None),
      "arm": name,
      "seed": seed,
      "chosen_by": reason,
      "step": step,
    }
    variables = jax.tree.map(np.asarray, select(variables, seed))
    with errors.setup():
      save(name, variables, about)

  return write


def choose_seed(report: Mapping[str, Any], num_seeds: int) -> tuple[int, str]:
  """Returns the seed that is best on validation examples, and why it is.

  Args:
    report: of an arm; failed seeds have NaN.
    num_seeds: of the arm.

  Returns:
    The seed and the metric that chose it; without such a metric the first seed
    that has not failed, and "first seed".
  """
  for name, more_is_better in _CHOOSING.items():
    values = np.asarray(report.get(name, ()), float)
    if values.shape == (num_seeds,) and not np.isnan(values).all():
      best = np.nanargmax(values if more_is_better else -values)
      return int(best), name
  return _first_left(report, num_seeds), "first seed"


def _first_left(report, num_seeds):
  """Returns the first seed that has a number for some metric."""
  lists = [
    x
    for x in report.values()
    if isinstance(x, per_seed.PerSeed)
    and all(isinstance(value, (int, float)) for value in x)
  ]
  failed = np.isnan(np.array(lists or np.zeros((1, num_seeds)), float))
  return int(np.argmin(failed.all(axis=0)))


def find(directory: pathlib.Path, arm: str | None) -> pathlib.Path:
  """Returns the model file of an arm.

  Args:
    directory: of the run.
    arm: its name; None where there is one only.

  Raises:
    UserError: there is no such arm, or its training has not ended.
  """
  files = {
    path.parent.name: path
    for path in sorted(directory.glob(f"*/{model_file.NAME}"))
  }
  if not files:
    raise errors.UserError(
      f"{str(directory)!r} holds no {model_file.NAME}, which the end of a "
      "training writes: run the same command with --mode=train to its end"
    )
  if arm is None and len(files) > 1:
    raise errors.UserError(
      f"--arm=NAME is missing: the arms with a model are {', '.join(files)}"
    )
  if arm is not None and arm not in files:
    raise errors.UserError(
      f"--arm={arm}: there is no model of it; the arms with one are "
      f"{', '.join(files)}"
    )
  return files[arm or next(iter(files))]
