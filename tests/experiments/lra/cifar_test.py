"""CIFAR-10's binary version, written small."""

import numpy as np
import pytest

from experiments.lra import cifar
from jaxseq import data


@pytest.fixture
def folder(tmp_path):
  rng = np.random.default_rng(0)
  names = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
  for name in names:
    records = rng.integers(0, 256, (20, 3073)).astype(np.uint8)
    records[:, 0] = np.arange(20) % 10
    records.tofile(tmp_path / name)
  return tmp_path


def test_color_and_gray(folder):
  color = cifar.load(folder, gray=False, valid_fraction=0)
  assert color.train.inputs.shape == (100, 1024, 3)
  assert color.test.targets.tolist() == [*range(10)] * 2
  records = np.fromfile(folder / "data_batch_2.bin", np.uint8)
  records = records.reshape(20, 3073)
  # Pixel 5 of row 2 of the third image: 1024 bytes for each color.
  place = 1 + 2 * 32 + 5
  expected = records[2, [place, place + 1024, place + 2048]] / 255
  np.testing.assert_allclose(
    color.train.inputs[22, 2 * 32 + 5], expected, rtol=1e-6
  )
  gray = cifar.load(folder, valid_fraction=0)
  assert gray.train.inputs.shape == (100, 1024, 1)
  np.testing.assert_allclose(
    gray.train.inputs[22, 2 * 32 + 5, 0],
    expected @ [0.299, 0.587, 0.114],
    rtol=1e-5,
  )


def test_validation_images(folder):
  splits = cifar.load(folder, valid_fraction=0.2)
  assert np.bincount(splits.valid.targets).tolist() == [2] * 10
  assert len(splits.train.inputs) == 80


def test_what_is_wrong_is_said(folder):
  path = folder / "data_batch_3.bin"
  content = path.read_bytes()
  path.write_bytes(content[:-1])
  with pytest.raises(ValueError, match="3.bin is damaged: records of 3073"):
    cifar.load(folder)
  path.write_bytes(bytes([11]) + content[1:])
  with pytest.raises(ValueError, match="classes: got 11, expected 0 to 9"):
    cifar.load(folder)
  path.unlink()
  path.symlink_to("/etc/hostname")
  with pytest.raises(ValueError, match="expected a file of the set in"):
    cifar.load(folder)
  path.unlink()
  with pytest.raises(data.MissingData, match="data_batch_3.bin is not a file"):
    cifar.load(folder)
