"""Experiments in the process of the tests."""

import importlib
import sys

from absl import flags
import pytest

from jaxseq.training.devices import seeds
from tests import programs


@pytest.fixture
def run_main(monkeypatch, capsys):
  """Returns a function: `run_main("icrl", "--workdir=x")` is what it prints."""
  monkeypatch.chdir(programs.ROOT)
  # The devices of this process are set already.
  monkeypatch.setattr(seeds, "split_cpu", lambda: None)

  def call(experiment, *arguments):
    module = importlib.import_module(f"experiments.{experiment}")
    argv = [f"experiments.{experiment}", *arguments]
    monkeypatch.setattr(sys, "argv", argv)
    try:
      flags.FLAGS(argv)
      module.main([])
    finally:
      flags.FLAGS.unparse_flags()
      # Flags of single fields are made when they are met.
      for name in [name for name in flags.FLAGS if "config." in name]:
        delattr(flags.FLAGS, name)
    return capsys.readouterr().out

  return call
