"""Series with labeled anomalies, read from a stand-in for the packages."""

import sys

import numpy as np
import pytest

from experiments.sensors import anomalies
from jaxseq import data

_HEAD = "timestamp,value,is_anomaly\n"


def _file(values, anomalous):
  lines = [f"{i},{x},{i in anomalous:d}" for i, x in enumerate(values)]
  return _HEAD + "\n".join(lines) + "\n"


@pytest.fixture
def packages(tmp_path, monkeypatch):
  """Puts importable packages with the files on the path."""
  monkeypatch.syspath_prepend(tmp_path)
  for package, folder in (("aeon", "UnitTest"), ("sktime", "mitdb")):
    root = tmp_path / package
    (root / "datasets" / "data" / folder).mkdir(parents=True)
    # Reading the files must not import the package.
    (root / "__init__.py").write_text("raise RuntimeError('imported')")
  return tmp_path


def test_windows_of_a_series_without_and_one_with_anomalies(packages):
  folder = packages / "aeon" / "datasets" / "data" / "UnitTest"
  for part, anomalous in (("TRAIN_NA", ()), ("TRAIN_A", (1,)), ("TEST", (5,))):
    text = _file(range(8), anomalous)
    (folder / f"ecg-diff-count-3_{part}.csv").write_text(text)
  splits = data.load("ecg_diff_count", length=4, step=2)
  assert splits.train.inputs.shape == (3, 4, 1)
  scaled = (np.arange(8) - 3.5) / np.arange(8).std()
  np.testing.assert_allclose(
    splits.test.inputs[1, :, 0], scaled[2:6], rtol=1e-6
  )
  assert splits.train.targets.tolist() == [0, 0, 0]
  assert splits.valid.targets.tolist() == [1, 0, 0]
  assert splits.test.targets.tolist() == [0, 1, 1]
  assert splits.test.extras.start.tolist() == [0, 2, 4]
  assert splits.info.mean == 3.5


def test_one_series_in_three_parts(packages):
  path = packages / "sktime" / "datasets" / "data" / "mitdb" / "mitdb.csv"
  path.write_text(_file(range(40), (35, 36)))
  splits = data.load("mitdb", length=4, step=1)
  sizes = [len(part.inputs) for part in splits[:3]]
  assert sizes == [24 - 3, 6 - 3, 10 - 3]
  # The test series begins at 30; windows of 4 that reach 35 or 36.
  assert splits.test.targets.tolist() == [0, 0, 1, 1, 1, 1, 1]
  with pytest.raises(ValueError, match="length: got 7, expected at most 6"):
    data.load("mitdb", length=7)
  with pytest.raises(
    ValueError, match="step: got 0, expected an integer of at least 1"
  ):
    data.load("mitdb", length=4, step=0)
  path.write_text(_file(range(40), (3,)))
  with pytest.raises(
    ValueError,
    match="anomalies: got 0 and 1 elements, expected in the test series",
  ):
    data.load("mitdb", length=4)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    (_HEAD + "0,1.5,0\n1,x,0\n", "line 3: expected a value and a label"),
    (_HEAD + "0,nan,0\n", "line 2: expected a value and a label"),
    (_HEAD + "0,1e39,0\n", "line 2: expected a value and a label"),
    (_HEAD + "0,1.5,2\n", "line 2: labels are 0 and 1; got 2"),
    (_HEAD, "has no lines"),
  ],
)
def test_wrong_files(text, message):
  with pytest.raises(ValueError, match=message):
    anomalies.parse_csv(text, "a.csv")


def test_what_to_install_is_said(monkeypatch):
  monkeypatch.setitem(sys.modules, "sktime", None)
  with pytest.raises(data.MissingData, match="--no-deps sktime"):
    data.load("mitdb")
