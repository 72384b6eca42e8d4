"""Arrays on disk: found again, and made again where they are damaged."""

import numpy as np
import pytest

from jaxseq.data import cache


@pytest.fixture
def folder(tmp_path, monkeypatch):
  path = tmp_path / "cache"
  monkeypatch.setenv("JAXSEQ_CACHE", str(path))
  return path


class Maker:
  """Counts how often arrays are made."""

  def __init__(self):
    self.count = 0

  def __call__(self):
    self.count += 1
    return {"a": np.arange(5000), "b": np.ones((2, 3), np.float32)}


def test_arrays_are_made_once(folder):
  make = Maker()
  for _ in range(2):
    found = cache.arrays("set", {"seed": 1, "sizes": [2, 3]}, make)
    np.testing.assert_array_equal(found["a"], np.arange(5000))
    assert found["b"].dtype == np.float32
  assert make.count == 1
  cache.arrays("set", {"seed": 2, "sizes": [2, 3]}, make)
  cache.arrays("other", {"seed": 1, "sizes": [2, 3]}, make)
  assert make.count == 3
  # Nothing half-written stays behind.
  assert len(list(folder.iterdir())) == 3


def test_nothing_is_written_unasked(folder):
  make = Maker()
  for _ in range(2):
    cache.arrays("set", {}, make, enabled=False)
  assert make.count == 2
  assert not folder.exists()


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "other"])
def test_damaged_files_are_made_again(folder, damage):
  make = Maker()
  cache.arrays("set", {}, make)
  (path,) = folder.iterdir()
  content = path.read_bytes()
  middle = len(content) // 2
  path.write_bytes(
    {
      "cut": content[:middle],
      "flip": content[:middle]
      + bytes([content[middle] ^ 1])
      + content[middle + 1 :],
      "empty": b"",
      "other": b"no archive",
    }[damage]
  )
  found = cache.arrays("set", {}, make)
  np.testing.assert_array_equal(found["a"], np.arange(5000))
  assert make.count == 2
  cache.arrays("set", {}, make)
  assert make.count == 2


def test_a_folder_that_cannot_be_made_is_named(tmp_path, monkeypatch):
  (tmp_path / "file").write_text("")
  monkeypatch.setenv("JAXSEQ_CACHE", str(tmp_path / "file" / "below"))
  make = Maker()
  with pytest.raises(ValueError, match="below cannot .* set JAXSEQ_CACHE"):
    cache.arrays("set", {}, make)
  # Before what takes long was made in vain.
  assert make.count == 0


def test_what_cannot_be_kept_is_not_lost(folder, caplog):
  make = Maker()
  cache.arrays("set", {}, make)
  (path,) = folder.iterdir()
  path.unlink()
  # In the way of the file.
  path.mkdir()
  found = cache.arrays("set", {}, make)
  np.testing.assert_array_equal(found["a"], np.arange(5000))
  assert "could not be written (Is a directory)" in caplog.text


def test_what_is_written_can_be_read(tmp_path, monkeypatch):
  # Zeros, of which the compressed file is a thousandth.
  monkeypatch.setattr(cache.limits, "FREE", 2**10)
  zeros = {"a": np.zeros(2**20, np.uint8), "b": np.arange(3)}
  cache.write(tmp_path / "a.npz", zeros)
  found = cache.read(tmp_path / "a.npz")
  np.testing.assert_array_equal(found["a"], zeros["a"])
  np.testing.assert_array_equal(found["b"], zeros["b"])


def test_who_may_read_other_files_may_read_these(tmp_path):
  (tmp_path / "other").write_bytes(b"")
  cache.write(tmp_path / "a.npz", {"a": np.zeros(3)})
  modes = {path.stat().st_mode for path in tmp_path.iterdir()}
  assert len(modes) == 1


def test_without_a_home_directory_the_variable_is_named(monkeypatch):
  def no_home():
    raise RuntimeError("Could not determine home directory.")

  monkeypatch.delenv("JAXSEQ_CACHE", raising=False)
  monkeypatch.setattr(cache.pathlib.Path, "home", no_home)
  with pytest.raises(ValueError, match="no home directory .*set JAXSEQ_CACHE"):
    cache.folder()


def test_the_folder_is_in_the_home_directory(monkeypatch, tmp_path):
  monkeypatch.delenv("JAXSEQ_CACHE", raising=False)
  monkeypatch.setenv("HOME", str(tmp_path))
  assert cache.folder() == tmp_path / ".cache" / "jaxseq"
