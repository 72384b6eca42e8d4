"""Data sets in array files."""

import mmap

import numpy as np
import pytest

from jaxseq import data
from jaxseq import nn
from jaxseq.data import arrays
from jaxseq.tasks import base
from jaxseq.tasks import classification


def make():
  rng = np.random.default_rng(0)

  def part(count):
    return data.ArrayDataset(
      rng.integers(0, 9, (count, 5)).astype(np.int32),
      rng.integers(0, 3, count).astype(np.int32),
      rng.integers(1, 6, count).astype(np.int32),
      data.Extras(gaps=rng.random((count, 5)).astype(np.float32)),
    )

  info = data.Info("Numbers.", "a generator", "free", 3, 9, horizon=2.5)
  return data.Splits(part(8), None, part(3), info)


def test_what_is_saved_is_loaded_as_a_map(tmp_path):
  splits, path = make(), tmp_path / "set"
  arrays.save(path, splits)
  found = data.load("arrays", path=path)
  assert found.valid is None
  assert found.info.num_classes == 3
  assert found.info.vocab_size == 9
  assert found.info.horizon == 2.5
  assert found.info.description == "Numbers."
  for part, want in ((found.train, splits.train), (found.test, splits.test)):
    for name in ("inputs", "targets", "lengths"):
      array = getattr(part, name)
      assert isinstance(array, np.memmap)
      assert isinstance(array.base, mmap.mmap)
      np.testing.assert_array_equal(array, getattr(want, name))
    np.testing.assert_array_equal(part.extras.gaps, want.extras.gaps)
  with pytest.raises(
    ValueError, match="path: got .*, expected a folder that is not there yet"
  ):
    arrays.save(path, splits)


def test_what_is_missing_or_damaged_is_said(tmp_path):
  with pytest.raises(data.MissingData, match="holds no info.json: give the"):
    data.load("arrays", path=tmp_path)
  path = tmp_path / "set"
  arrays.save(path, make())
  file = path / "train.inputs.npy"
  file.write_bytes(file.read_bytes()[:-9])
  with pytest.raises(ValueError, match="train.inputs.npy is no array that can"):
    arrays.load(path)
  file.unlink()
  with pytest.raises(data.MissingData, match="lacks train.inputs.npy"):
    arrays.load(path)


def test_a_problem_reads_no_more_than_it_is_asked_for(tmp_path):
  arrays.save(tmp_path / "set", make())
  splits = data.load("arrays", path=tmp_path / "set")
  network = nn.NetworkConfig(
    nn.StackConfig("gru", d_model=4, num_layers=1), pooling="last"
  )
  problem = classification.Problem(
    base.ArmConfig(network, batch_size=2), splits
  )
  # Still the file, in which each process then finds its own rows.
  assert np.shares_memory(problem.data["train"].inputs, splits.train.inputs)
