"""Names of data sets, and `load` with its options and messages."""

import functools
import inspect
import subprocess
import sys
import types as python_types

import numpy as np
import pytest

from jaxseq import data
from jaxseq.data import registry


def test_every_name_has_a_loader():
  for name in data.names():
    loader = data.loader(name)
    assert callable(loader)
    function = loader
    while isinstance(function, functools.partial):
      function = function.func
    package = (function.__module__ or "").partition(".")[0]
    if package not in ("jaxseq", "experiments"):
      continue  # Registered by an example of the documents.
    assert "Returns:" in function.__doc__, name


def test_importing_the_package_needs_neither_jax_nor_a_loader():
  code = (
    "import sys, jaxseq.data\n"
    "assert 'jax' not in sys.modules\n"
    "assert 'jaxseq.data.forecast_windows' not in sys.modules"
  )
  subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
  assert list(data.names()) == sorted(data.names())


def test_sets_of_files_need_their_place():
  with pytest.raises(
    ValueError, match="'ett': got no path, expected the place of its files"
  ):
    data.load("ett")
  with pytest.raises(data.MissingData, match="is not a file"):
    data.load("ett", path="nowhere")


def test_unknown_names_and_options_are_named():
  with pytest.raises(
    ValueError, match="data: got 'mnist', expected one of 'acsf1', "
  ):
    data.load("mnist")
  with pytest.raises(
    ValueError, match="'mnist1d': got 'depth', expected one of "
  ):
    data.load("mnist1d", depth=3)
  with pytest.raises(ValueError, match="got 'fraction', .*'valid_fraction'"):
    data.load("unit_test", fraction=0.1)


@pytest.mark.parametrize(
  ("name", "options", "message"),
  [
    ("ecg", {"rate": 0}, "rate: got 0, expected a finite number above 0"),
    ("ecg", {"start": "late"}, "start: got 'late', expected one of 'aligned',"),
    ("heartbeat", {"noise": -1}, "noise: got -1, expected a finite number of"),
    ("heartbeat", {"test": 0}, "test: got 0, expected an integer of at least"),
    ("seasonal_factors", {"length": 0}, "length: got 0, expected an integer"),
  ],
)
def test_wrong_options_are_named(name, options, message):
  with pytest.raises(ValueError, match=message):
    data.load(name, **options)


@pytest.fixture
def own_set(monkeypatch):
  """Registers a set of this test; returns what its loader was called with."""
  calls = []

  def load(seed: int = 7, rows: int = 3, bad: bool = False):
    calls.append((seed, rows))
    inputs = np.zeros((rows, 4, 1), np.float32)
    part = data.ArrayDataset(inputs, np.zeros(rows + bad, np.int32))
    return data.Splits(part, None, part, data.Info("", "", ""))

  module = python_types.ModuleType("own_sets")
  module.load = load
  monkeypatch.setitem(sys.modules, "own_sets", module)
  monkeypatch.setattr(registry.SETS, "_paths", dict(registry.SETS._paths))
  data.register("own", "own_sets:load")
  return calls


def test_own_sets_can_be_registered(own_set):
  assert "own" in data.names()
  assert inspect.isfunction(data.loader("own"))
  data.register("own", "own_sets:load")
  with pytest.raises(ValueError, match="'own', expected a name that is free"):
    data.register("own", "own_sets:other")


def test_the_seed_is_passed_on_if_given(own_set):
  data.load("own")
  data.load("own", seed=0, rows=2)
  assert own_set == [(7, 3), (0, 2)]


def test_loaded_sets_are_checked(own_set):
  with pytest.raises(ValueError, match="own, train: targets: got shape"):
    data.load("own", bad=True)
