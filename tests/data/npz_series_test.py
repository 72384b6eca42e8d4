"""Series in .npz archives of one's own."""

import json

import numpy as np
import pytest

from jaxseq import data

VALUES = np.arange(48.0).reshape(8, 3, 2)
NAMES = np.array(["run", "walk"] * 4)
HALF = {"test_fraction": 0.5, "valid_fraction": 0, "normalize": False}


def write(folder, **arrays):
  np.savez(folder / "walks.npz", **arrays)
  return folder / "walks.npz"


def load(path, **options):
  return data.load("npz", path=path, **{**HALF, **options})


def again(splits):
  fields = json.loads(json.dumps(splits.info.preparation.to_json()))
  return data.sources.from_json(fields).read(splits.info.source)


def test_arrays_are_series_with_classes_by_name(tmp_path):
  lengths = np.array([3, 2, 3, 3, 1, 3, 3, 3])
  path = write(
    tmp_path, X=VALUES, y=NAMES, lengths=lengths, channels=np.array(["a", "b"])
  )
  splits = load(path)
  assert splits.info.classes == ("run", "walk")
  assert splits.info.channels == ("a", "b")
  assert [len(part.inputs) for part in (splits.train, splits.test)] == [4, 4]
  found = again(splits)
  assert found.dataset.lengths.tolist() == lengths.tolist()
  assert found.dataset.targets.tolist() == [0, 1] * 4
  assert found.dataset.inputs[1].tolist() == [[6, 7], [8, 9], [0, 0]]


def test_parts_are_those_of_the_names(tmp_path):
  parts = {"X_train": VALUES, "y_train": NAMES, "X_test": VALUES[:2]}
  splits = load(write(tmp_path, **parts, y_test=NAMES[:2]))
  assert splits.valid is None
  assert [len(part.inputs) for part in (splits.train, splits.test)] == [8, 2]
  parts = {f"{part}_inputs": VALUES[:4] for part in ("train", "valid", "test")}
  targets = {
    f"{part}_targets": NAMES[:4] for part in ("train", "valid", "test")
  }
  splits = load(write(tmp_path, **parts, **targets))
  assert len(splits.valid.inputs) == 4


def test_numbers_and_no_labels(tmp_path):
  splits = load(write(tmp_path, X=VALUES, y=np.arange(8) / 2))
  assert splits.train.targets.shape == (4, 1)
  np.testing.assert_allclose(again(splits).dataset.targets[:, 0] * 2, range(8))
  splits = load(write(tmp_path, X=VALUES, y=VALUES[..., :1]))
  assert splits.train.targets.shape == (4, 3, 1)
  splits = load(write(tmp_path, X=VALUES[..., 0]))
  assert splits.train.inputs.shape == (4, 3, 1)
  assert not again(splits).labeled


@pytest.mark.parametrize(
  ("arrays", "message"),
  [
    ({"X": VALUES, "z": VALUES}, "got the array 'z', expected X .or inputs."),
    ({"y": NAMES}, "got the arrays y, expected X"),
    ({"X": VALUES, "x": VALUES}, "got 'x' and another array of that kind"),
    ({"X": VALUES, "y": NAMES[:3]}, "y: got shape .3,., expected one entry"),
    ({"X": NAMES}, "X: got shape .8,. and dtype <U4, expected numbers"),
    ({"X": VALUES, "lengths": np.arange(8)}, "expected integers from 1 to 3"),
    (
      {"X": VALUES * np.nan, "y": NAMES},
      "walks.npz, example 0: 'channel 0': g",
    ),
    (
      {"X": VALUES, "y": np.zeros((8, 4, 1))},
      "y: got shape .8, 4, 1., expected .n, 3, numbers.",
    ),
    ({"X": VALUES, "y": np.full(8, np.nan)}, "y: .*expected finite numbers"),
    (
      {"X_train": VALUES, "y_train": NAMES},
      "expected X; or X_train and X_test",
    ),
  ],
)
def test_wrong_archives_are_refused(tmp_path, arrays, message):
  with pytest.raises(ValueError, match=message):
    load(write(tmp_path, **arrays))


def test_pickles_are_refused(tmp_path):
  path = write(tmp_path, X=np.array([[1, 2], None], object))
  with pytest.raises(ValueError, match=r"walks.npz is no whole .npz archive"):
    load(path)


def test_millions_of_series_are_no_more_than_their_bytes_allow(tmp_path):
  path = tmp_path / "walks.npz"
  np.savez_compressed(path, X=np.zeros((2_000_000, 10), np.uint8))
  with pytest.raises(ValueError, match="bytes that would take 560000000"):
    load(path)
