"""Files that are replaced by whole ones."""

import shutil

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
