"""JSON files that are always whole."""

import json

import pytest

from jaxseq import _files
from jaxseq.training import files


def test_json_of_numbers_that_are_not_finite(tmp_path):
  value = {"a": [float("nan"), 1.5], "b": (float("-inf"), None, True)}
  files.write_json(tmp_path / "file.json", value)
  stored = json.loads((tmp_path / "file.json").read_text())
  assert stored == {"a": ["NaN", 1.5], "b": ["-Infinity", None, True]}


def test_writes_are_whole_or_not_at_all(tmp_path, monkeypatch):
  file = tmp_path / "file.json"
  files.write_json(file, {"a": 1})
  monkeypatch.setattr(_files.os, "replace", lambda *paths: 1 / 0)
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
