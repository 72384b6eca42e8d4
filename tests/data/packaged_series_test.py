"""Sets inside aeon and sktime, read from a stand-in for the packages."""

import sys

import pytest

from jaxseq import data
from jaxseq.data import ts_series

_FILE = """@problemName UnitTest
@timestamps false
@classLabel true 1 2
@data
1,2,3:1
4,5,6:2
"""


@pytest.fixture
def packages(tmp_path, monkeypatch):
  """Puts an importable package with files of a problem on the path."""
  monkeypatch.syspath_prepend(tmp_path)

  def add(package, problem):
    # Only this one is there, whatever is installed.
    for other in ("aeon", "sktime"):
      monkeypatch.setitem(sys.modules, other, None)
    monkeypatch.delitem(sys.modules, package)
    root = tmp_path / package
    folder = root / "datasets" / "data" / problem
    folder.mkdir(parents=True)
    # Reading the files must not import the package.
    (root / "__init__.py").write_text("raise RuntimeError('imported')")
    for part in ("TRAIN", "TEST"):
      (folder / f"{problem}_{part}.ts").write_text(_FILE)

  return add


@pytest.mark.parametrize(
  ("package", "name", "problem"),
  [
    ("aeon", "unit_test", "UnitTest"),
    ("sktime", "unit_test", "UnitTest"),
    ("aeon", "japanese_vowels", "JapaneseVowels"),
    ("sktime", "plaid", "PLAID"),
  ],
)
def test_files_are_found_in_either_package(packages, package, name, problem):
  packages(package, problem)
  splits = data.load(name, normalize=False)
  assert splits.train.inputs[:, :, 0].tolist() == [[1, 2, 3], [4, 5, 6]]
  assert splits.test.targets.tolist() == [0, 1]
  assert splits.info.num_classes == 2
  assert package not in sys.modules


def test_what_to_install_is_said(monkeypatch):
  for package in ("aeon", "sktime"):
    monkeypatch.setitem(sys.modules, package, None)
  with pytest.raises(
    data.MissingData, match="of the package aeon .and sktime.: pip"
  ):
    data.load("gunpoint")
  # aeon does not have this one.
  with pytest.raises(data.MissingData, match="PLAID .* --no-deps sktime"):
    data.load("plaid")


def test_unknown_problems_are_named():
  with pytest.raises(data.MissingData, match="NoSuchProblem is a file of the"):
    ts_series.packaged("NoSuchProblem")
