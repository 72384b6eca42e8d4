"""The hdf5 files of D4RL, written small."""

import sys

import h5py
import numpy as np
import pytest

from jaxseq import data
from jaxseq.data.files import d4rl


def write(path, steps=12, **arrays):
  numbers = np.arange(steps, dtype=np.float32)
  stored = {
    "observations": np.stack([numbers, -numbers], 1),
    "actions": numbers[:, None] / steps,
    "rewards": np.ones(steps, np.float32),
    "terminals": np.isin(numbers, [2, 10]),
    "timeouts": numbers == 7,
    **arrays,
  }
  with h5py.File(path, "w") as file:
    for name, array in stored.items():
      if array is not None:
        file.create_dataset(name, data=array, compression="gzip")
  return path


def test_episodes_end_by_either(tmp_path):
  found = d4rl.load(write(tmp_path / "a.hdf5"))
  assert np.flatnonzero(found.dones).tolist() == [2, 7, 10]
  # The last step belongs to no complete episode.
  assert found.observations[:, 0].tolist() == list(range(11))
  assert found.actions.shape == (11, 1)
  assert found.returns_to_go.tolist() == [3, 2, 1, 5, 4, 3, 2, 1, 3, 2, 1]


def test_old_files_end_by_their_number_of_steps(tmp_path):
  path = write(tmp_path / "a.hdf5", timeouts=None)
  found = d4rl.load(path, limit=4)
  assert np.flatnonzero(found.dones).tolist() == [2, 6, 10]
  assert np.flatnonzero(d4rl.load(path).dones).tolist() == [2, 10]
  with pytest.raises(ValueError, match="limit must be at least 1; got 0"):
    d4rl.load(path, limit=0)


def test_scores():
  # The returns that stand for 0 and 100, and their middle.
  scores = d4rl.normalized_score("hopper-medium-v2", [-20.272305, 3234.3])
  np.testing.assert_allclose(scores, [0, 100])
  middle = (-280.178953 + 12135) / 2
  assert d4rl.normalized_score("HalfCheetah", middle) == pytest.approx(50)
  with pytest.raises(ValueError, match="ant, .*; got 'maze2d-umaze'"):
    d4rl.normalized_score("maze2d-umaze", 0)


def test_what_is_wrong_is_said(tmp_path, monkeypatch):
  path = write(tmp_path / "a.hdf5", terminals=None)
  with pytest.raises(ValueError, match="a.hdf5 .*: it has no array 'termin"):
    d4rl.load(path)
  path.write_bytes(b"no hdf5")
  with pytest.raises(ValueError, match="a.hdf5 is no file of D4RL"):
    d4rl.load(path)
  with pytest.raises(data.MissingData, match="b.hdf5 is not a file"):
    d4rl.load(tmp_path / "b.hdf5")
  monkeypatch.setitem(sys.modules, "h5py", None)
  with pytest.raises(data.MissingData, match="pip install 'h5py'"):
    d4rl.load(path)
