"""JSON files that are always whole."""

import json
import shutil

import pytest

from jaxseq.training import files


def test_json_of_numbers_that_are_not_finite(tmp_path):
  value = {"a": [float("nan"), 1.5], "b": (float("-inf"), None, True)}
  files.write_json(tmp_path / "file.json", value)
  stored = json.loads((tmp_path / "file.json").read_text())
  assert stored == {"a": ["NaN", 1.5], "b": ["-Infinity", None, True]}


def test_writes_are_whole_or_not_at_all(tmp_path, monkeypatch):
  file = tmp_path / "file.json"
  files.write_json(file, {"a": 1})
  monkeypatch.setattr(files.os, "replace", lambda *paths: 1 / 0)
  with pytest.raises(ZeroDivisionError):
    files.write_json(file, {"a": 2})
  assert json.loads(file.read_text()) == {"a": 1}
  # Nothing of the write that failed stays.
  assert [path.name for path in tmp_path.iterdir()] == ["file.json"]


def test_no_link_is_followed(tmp_path):
  (tmp_path / "other").write_text("of somebody else")
  (tmp_path / ".file.json.tmp").symlink_to(tmp_path / "other")
  files.write_json(tmp_path / "file.json", {})
  assert (tmp_path / "other").read_text() == "of somebody else"


def test_what_a_kill_has_left_is_removed(tmp_path):
  with files.replacing(tmp_path / "file.json"):
    (half,) = tmp_path.iterdir()
    # Only the last character of the random part differs.
    last = "1" if half.name[-5] == "0" else "0"
    shutil.copy(half, tmp_path / f"{half.name[:-5]}{last}.tmp")
  assert len(list(tmp_path.iterdir())) == 2
  files.remove_unfinished(tmp_path)
  assert [path.name for path in tmp_path.iterdir()] == ["file.json"]


def test_two_writers_of_a_file_do_not_mix(tmp_path):
  file = tmp_path / "file"
  with files.replacing(file) as one, files.replacing(file) as other:
    one.write(b"one")
    other.write(b"other")
  assert file.read_bytes() == b"one"
