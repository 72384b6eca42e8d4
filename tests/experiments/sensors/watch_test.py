"""The smartwatch recordings, from files as the package has them."""

import importlib.util
import os

import numpy as np
import pytest

import experiments.sensors  # noqa: F401
from jaxseq import data
from jaxseq.data import domains

_NAMES = ["PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW"]


@pytest.fixture
def package(tmp_path, monkeypatch):
  """A package of the same layout; returns a function that writes its file."""
  folder = tmp_path / "seglearn"
  (folder / "data").mkdir(parents=True)
  (folder / "__init__.py").write_text("raise ImportError('not to be imported')")
  monkeypatch.syspath_prepend(str(tmp_path))

  def write(**changes):
    rng = np.random.default_rng(0)
    y, subject, side = np.meshgrid(range(7), [1, 2, 3], [0, 1], indexing="ij")
    count = y.size
    content = {
      "X": [rng.normal(size=(60 + i, 6)) for i in range(count)],
      "y_labels": _NAMES,
      "y": y.ravel(),
      "subject": subject.ravel(),
      "side": side.ravel().astype(float),
      "X_labels": ["ax", "ay", "az", "wx", "wy", "wz"],
    }
    content |= changes
    np.save(folder / "data" / "watch_dataset.npy", np.array(content, object))
    return content

  return write


def test_arms_and_subjects(package):
  content = package()
  splits = data.load("watch", window=20, step=10)
  counts = [(len(x) - 20) // 10 + 1 for x in content["X"]]
  assert len(splits.test.inputs) == sum(counts[1::2])
  assert splits.train.inputs.shape[1:] == (20, 6)
  assert set(domains.labeled(splits.train).extras.more["side"]) == {0}
  assert set(splits.test.extras.more["side"]) == {1}
  assert splits.info.classes == tuple(_NAMES)
  options = {"by": "subject", "source": (1, 3), "target": 2}
  splits = data.load("watch", window=20, step=10, scaling="none", **options)
  assert set(splits.valid.extras.subject) == {1, 3}
  row = splits.test.extras.recording[0]
  assert content["subject"][row] == 2
  assert splits.test.targets[0] == content["y"][row]
  np.testing.assert_allclose(
    splits.test.inputs[1], content["X"][row][10:30], rtol=1e-6
  )


def test_what_is_wrong_is_said(package, tmp_path, monkeypatch):
  package()
  with pytest.raises(
    ValueError, match="by: got 'arm', expected one of 'side', 'subject'"
  ):
    data.load("watch", by="arm")
  with pytest.raises(ValueError, match="subject: got 0, expected one of 1, 2"):
    data.load("watch", by="subject", window=20)
  package(side=[0.0])
  with pytest.raises(ValueError, match="for each of its 42 recordings"):
    data.load("watch")
  (path,) = tmp_path.glob("seglearn/data/*.npy")
  for content, said in (
    (np.array({"X": os.getcwd}, object), "it names posix.getcwd"),
    (np.zeros(3), "it is an array"),
    (np.array([1], object), "it is an array .1,. of objects"),
    (np.array([1], object)[0:1].reshape(()), "it is no dict"),
  ):
    np.save(path, content)
    with pytest.raises(ValueError, match=f"one dict of arrays: {said}"):
      data.load("watch")
  path.write_bytes(b"no array")
  with pytest.raises(ValueError, match="one dict of arrays: "):
    data.load("watch")
  whole = np.zeros((1000, 6))
  for changes, message in (
    ({"X": 3}, "X is no list of recordings"),
    ({"X": [[1.0] * 6] * 42}, "X: recording 0 is no array of numbers"),
    ({"X": [np.zeros((9, 5))] * 42}, "recording 0: got shape .9, 5., expect"),
    ({"X": [np.full((9, 6), np.nan)] * 42}, "recording 0: got nan at element"),
    ({"X": [np.full((9, 6), 1e39)] * 42}, "recording 0: got inf at element"),
    # One array a thousand times.
    ({"X": [whole] * 6000}, "bytes that would take 288000000 in memory"),
    (
      {"y": np.full(42, 9)},
      "y: got 9 at recording 0 .42 .*, expected 0 to 6, as y",
    ),
    ({"y": np.full(42, -1)}, "y: got -1 at recording 0 .*, expected 0 to 6"),
    ({"y": np.full(42, np.nan)}, "one label, subject and side for each"),
    ({"subject": ["one"] * 42}, "one label, subject and side for each"),
    ({"y_labels": [1, 2]}, "y_labels are no list of names"),
  ):
    package(**changes)
    with pytest.raises(ValueError, match=message):
      data.load("watch")
  package(X=[])
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(data.MissingData, match="pip install --no-deps seglearn"):
    data.load("watch")


@pytest.mark.skipif(
  importlib.util.find_spec("seglearn") is None, reason="seglearn is missing"
)
def test_the_package_itself():
  splits = data.load("watch", valid_fraction=0, unlabeled=False)
  assert len(splits.train.inputs) + len(splits.test.inputs) == 4677
  subjects = [part.extras.subject for part in (splits.train, splits.test)]
  counts = np.bincount(np.concatenate(subjects))[1:]
  assert (len(counts), counts.min(), counts.max()) == (10, 295, 561)
  assert splits.info.classes == tuple(_NAMES)
