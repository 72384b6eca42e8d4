"""Files that are replaced by whole ones."""

import errno
import shutil

import pytest

from jaxseq import _files


def test_what_a_kill_has_left_is_removed(tmp_path):
  with _files.replacing(tmp_path / "file.json"):
    (half,) = tmp_path.iterdir()
    # Only the last character of the random part differs.
    last = "1" if half.name[-5] == "0" else "0"
    shutil.copy(half, tmp_path / f"{half.name[:-5]}{last}.tmp")
  assert len(list(tmp_path.iterdir())) == 2
  _files.remove_unfinished(tmp_path)
  assert [path.name for path in tmp_path.iterdir()] == ["file.json"]


def test_two_writers_of_a_file_do_not_mix(tmp_path):
  file = tmp_path / "file"
  with _files.replacing(file) as one, _files.replacing(file) as other:
    one.write(b"one")
    other.write(b"other")
  assert file.read_bytes() == b"one"


def test_errors_name_the_file(tmp_path):
  for code, name in ((errno.ENOSPC, None), (errno.EIO, "another")):
    with (
      pytest.raises(OSError) as caught,
      _files.replacing(tmp_path / "file"),
    ):
      raise OSError(code, "reason", name)
    assert caught.value.filename == (name or str(tmp_path / "file"))
  with pytest.raises(OSError) as caught, _files.replacing(tmp_path / "a" / "b"):
    pass
  assert caught.value.filename == str(tmp_path / "a" / "b")
