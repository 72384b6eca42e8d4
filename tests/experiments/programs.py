"""Calls of experiments: in processes of their own, and in this one."""

import importlib
import pkgutil
import sys

from absl import flags

from jaxseq.training import app
from jaxseq.training.devices import seeds
from tests import programs


def experiments(kind):
  """Returns the names of the experiments whose `Config` is of a class."""
  names = []
  for found in pkgutil.iter_modules([str(programs.ROOT / "experiments")]):
    module = importlib.import_module(f"experiments.{found.name}")
    if issubclass(getattr(module, "Config", object), kind):
      names.append(found.name)
  return names


def command(experiment, config, workdir, *more):
  return [
    sys.executable,
    "-m",
    f"experiments.{experiment}",
    f"--config={config}",
    f"--workdir={workdir}",
    *more,
  ]


def start(experiment, config, workdir, *more):
  """Runs an experiment as a user does; returns the process when it ended."""
  return programs.run(*command(experiment, config, workdir, *more)[1:])


def call(monkeypatch, experiment, config, workdir, *more):
  """Runs an experiment in this process."""
  argv = command(experiment, config, workdir, *more)[2:]
  call_with(monkeypatch, experiment, argv)


def call_with(monkeypatch, experiment, argv):
  """Runs an experiment in this process, the program's name before its flags."""
  monkeypatch.chdir(programs.ROOT)
  # The devices of this process are set already.
  monkeypatch.setattr(seeds, "split_cpu", lambda: None)
  module = importlib.import_module(f"experiments.{experiment}")
  monkeypatch.setattr(sys, "argv", argv)
  try:
    flags.FLAGS(app.with_overrides(argv))
    module.main([])
  finally:
    flags.FLAGS.unparse_flags()
