"""Byte corpora: their division, and what is checked of their content."""

import hashlib
import os
import sys

import numpy as np
import pytest

from jaxseq import data
from jaxseq.data import text
from tests.data import writing

_CONTENT = bytes(np.random.default_rng(0).integers(0, 128, 2000, np.uint8))


def test_a_corpus_is_divided_in_its_order():
  parts = text.split_tokens(_CONTENT)
  joined = b"".join(part.targets.tobytes() for part in parts)
  # Every byte but the first is a target once.
  assert joined == _CONTENT[1:]
  assert [part.targets.shape for part in parts] == [
    (1, 1799),
    (1, 100),
    (1, 100),
  ]
  for part in parts:
    np.testing.assert_array_equal(part.inputs[0, 1:], part.targets[0, :-1])
  assert parts[1].inputs[0, 0] == parts[0].targets[0, -1]
  for shares in ((0, 0.1), (0.1, 0), (0.5, 0.5)):
    with pytest.raises(ValueError, match="leave bytes to each part"):
      text.split_tokens(_CONTENT, *shares)


def test_a_corpus_does_not_leave_its_folder(tmp_path):
  writing.write(tmp_path / "lib", {f"{i}.py": "pass\n" * 30 for i in range(9)})
  assert len(text.python_source(tmp_path / "lib").info.manifest) == 9
  (tmp_path / "lib" / "x.py").symlink_to("/etc/hostname")
  with pytest.raises(ValueError, match="expected a file of the set in"):
    text.python_source(tmp_path / "lib")


def know_as_kjv(monkeypatch):
  monkeypatch.setattr(text, "KJV_BYTES", len(_CONTENT))
  monkeypatch.setattr(text, "KJV_SHA256", hashlib.sha256(_CONTENT).hexdigest())


def write_program(folder, code):
  program = folder / "bible"
  program.write_text(f"#!{sys.executable}\nimport sys\n{code}\n")
  program.chmod(0o755)


def test_kjv_from_a_file_or_a_program(tmp_path, monkeypatch):
  know_as_kjv(monkeypatch)
  path = tmp_path / "kjv.txt"
  path.write_bytes(_CONTENT)
  splits = data.load("kjv", path=path)
  assert splits.info.vocab_size == 256
  assert splits.train.inputs[0, 0] == _CONTENT[0]
  write_program(
    tmp_path,
    "assert sys.argv[1:] == ['-f', 'gen1:1-rev22:21']\n"
    f"sys.stdout.buffer.write(open({str(path)!r}, 'rb').read())",
  )
  monkeypatch.setenv("PATH", str(tmp_path))
  printed = data.load("kjv")
  np.testing.assert_array_equal(splits.test.targets, printed.test.targets)


def test_another_text_is_refused(tmp_path, monkeypatch):
  know_as_kjv(monkeypatch)
  path = tmp_path / "kjv.txt"
  for content, message in (
    (_CONTENT[:-1], "1999 bytes with sha256 .* where 2000 with"),
    (
      _CONTENT[:-1] + b"?",
      "kjv.txt is not .*: 2000 bytes with sha256 .* are exp",
    ),
  ):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
      text.kjv(path)


def test_where_to_get_kjv_is_said(tmp_path, monkeypatch):
  monkeypatch.setenv("PATH", str(tmp_path))
  with pytest.raises(data.MissingData, match="apt-get install bible-kjv"):
    data.load("kjv")
  write_program(tmp_path, "sys.exit('no text')")
  with pytest.raises(data.MissingData, match="printed no text .no text."):
    data.load("kjv")
  with pytest.raises(data.MissingData, match="nothing is not a file"):
    data.load("kjv", path=tmp_path / "nothing")


@pytest.fixture
def library(tmp_path):
  files = {
    "b.py": "x = 1\n" * 20,
    "a/c.py": "# \N{SNOWMAN}\n" * 20,
    "a/site-packages/no.py": "no",
    "__pycache__/no.py": "no",
    "a/no.txt": "no",
  }
  writing.write(tmp_path, files)
  return tmp_path


def text_of(splits):
  parts = [part.targets[0] for part in splits[:3]]
  return np.concatenate(parts).tobytes()


def test_python_files_in_sorted_order(library):
  splits = data.load("python_source", root=library)
  manifest = splits.info.manifest
  assert [name for name, _ in manifest] == ["a/c.py", "b.py"]
  expected = f"# a/c.py\n{(library / 'a/c.py').read_text('utf-8')}# b.py\nx = 1"
  # Every byte but the first is a target.
  assert text_of(splits).startswith(expected.encode()[1:])
  assert splits.info.digest == text._manifest_digest(manifest)


def test_the_corpus_can_be_pinned(library, tmp_path):
  digest = data.load("python_source", root=library).info.digest
  data.load("python_source", root=library, digest=digest)
  (library / "b.py").write_text("x = 2\n" * 20)
  with pytest.raises(ValueError, match=f"digest: got {digest}, .* the 2 files"):
    data.load("python_source", root=library, digest=digest)
  with pytest.raises(data.MissingData, match="has no Python source files"):
    data.load("python_source", root=tmp_path / "nowhere")


def test_the_running_library_has_sources():
  splits = data.load("python_source")
  names = {name for name, _ in splits.info.manifest}
  content = text_of(splits)
  assert {"os.py", "json/decoder.py"} <= names
  assert len(content) > 10**7
  with open(os.__file__, "rb") as file:
    assert file.read() in content
