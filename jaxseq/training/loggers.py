"""Rows of a run for wandb, trackio and mlflow: hooks that a config names.

    --config.hooks="('jaxseq.training.loggers:wandb',)"

Each arm is a run of its logger, whose identity is kept in `loggers.json` in the
arm's directory: a run that resumes from a checkpoint resumes there, too. A list
over seeds becomes `name/seed_0`, `name/seed_1`, ..., and numbers that are not
finite are left out. The packages are imported at the first row. What goes wrong
in a logger never ends the training: one warning, and the logger gets no more of
that arm until the program is started again.
"""

from collections.abc import Callable
import importlib
import json
import os
import pathlib
import secrets
from typing import Any

from absl import logging

from jaxseq import _json
from jaxseq import limits
from jaxseq.training import _event_files
from jaxseq.training import errors
from jaxseq.training import files

FILE = "loggers.json"
PROJECT = "jaxseq"

_Log = Callable[[int, dict[str, float]], None]
# Functions that log, by logger and directory; None where one has failed.
_open: dict[tuple[str, pathlib.Path], _Log | None] = {}


def wandb(directory: pathlib.Path, step: int, row: dict[str, Any]) -> None:
  """Logs a row to wandb, in the project `WANDB_PROJECT` or else "jaxseq".

  The step is the metric "update", the axis of all others: wandb counts its own
  steps, as it drops rows whose step is below its newest. Rows after the
  checkpoint that a run resumes from are there twice, with equal numbers.

  Args:
    directory: of the arm.
    step: of the row.
    row: names to numbers, or to lists of one number per seed.
  """
  _hook("wandb", _wandb, directory, step, row)


def trackio(directory: pathlib.Path, step: int, row: dict[str, Any]) -> None:
  """Logs a row to trackio, in the project `TRACKIO_PROJECT` or else "jaxseq".

  The step is also the metric "update". Rows after the checkpoint that a run
  resumes from are there twice, with equal numbers.

  Args:
    directory: of the arm.
    step: of the row.
    row: names to numbers, or to lists of one number per seed.
  """
  _hook("trackio", _trackio, directory, step, row)


def mlflow(directory: pathlib.Path, step: int, row: dict[str, Any]) -> None:
  """Logs a row to mlflow, in the experiment that its environment names.

  mlflow keeps every number of a step that it gets: `loggers.json` remembers the
  newest step and its names, and a resumed run leaves out what is there.

  Args:
    directory: of the arm.
    step: of the row.
    row: names to numbers, or to lists of one number per seed.
  """
  _hook("mlflow", _mlflow, directory, step, row)


def _hook(name, opened, directory, step, row) -> None:
  """Logs a row, and opens the run at the first one."""
  key = name, directory.absolute()
  try:
    if key not in _open:
      _open[key] = opened(importlib.import_module(name), directory)
    log = _open[key]
    if log is not None:
      log(step, _event_files.tags(row))
  except Exception as error:
    _open[key] = None
    logging.warning(
      "%s gets no more rows of %s: %s",
      name,
      directory,
      errors.one_sentence(error),
    )


def _wandb(package, directory) -> _Log:
  """Opens the run of a directory."""
  run = package.init(
    project=os.environ.get("WANDB_PROJECT", PROJECT),
    name=directory.name,
    id=_identity("wandb", directory),
    resume="allow",
    dir=str(directory),
    # Arms that are trained side by side have a run each.
    reinit="create_new",
  )
  run.define_metric("update")
  run.define_metric("*", step_metric="update")
  return lambda step, row: run.log({**row, "update": step})


def _trackio(package, directory) -> _Log:
  """Opens the run of a directory."""
  run = package.init(
    project=os.environ.get("TRACKIO_PROJECT", PROJECT),
    name=_identity("trackio", directory),
    resume="allow",
  )
  return lambda step, row: run.log({**row, "update": step})


def _mlflow(package, directory) -> _Log:
  """Opens the run of a directory."""
  state = _read(directory).get("mlflow", {})
  done, names = state.get("step", -1), state.get("names")

  def enter():
    active = package.active_run()
    if active is not None and active.info.run_id == state.get("id"):
      return
    # One run is active at a time, and that may be another arm's.
    if active is not None:
      package.end_run()
    name = None if "id" in state else directory.name
    run = package.start_run(run_id=state.get("id"), run_name=name)
    state["id"] = run.info.run_id

  def log(step, row):
    if step == done and names is not None:
      # A step has several rows, and the last one may not have come.
      row = {name: x for name, x in row.items() if name not in names}
    elif step <= done:
      return
    if not row:
      return
    enter()
    package.log_metrics(row, step=step)
    before = state.get("names", []) if state.get("step") == step else []
    state["step"], state["names"] = step, [*before, *row]
    _keep(directory, "mlflow", state)

  return log


def _identity(name: str, directory: pathlib.Path) -> str:
  """Returns the identity of a logger's run, which is made at its first row."""
  state = _read(directory).get(name, {})
  if "id" not in state:
    state["id"] = f"{directory.name}-{secrets.token_hex(4)}"
    _keep(directory, name, state)
  return state["id"]


def _read(directory: pathlib.Path) -> dict[str, dict[str, Any]]:
  try:
    return _json.loads(limits.read_bytes(directory / FILE, limits.JSON))
  except FileNotFoundError:
    return {}


def _keep(directory: pathlib.Path, name: str, state: dict[str, Any]) -> None:
  content = {**_read(directory), name: state}
  files.write_text(directory / FILE, json.dumps(content))
