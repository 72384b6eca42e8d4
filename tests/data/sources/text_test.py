"""Texts of one's own."""

import json

import numpy as np
import pytest

from jaxseq import data
from jaxseq.data import text_tokens
from jaxseq.data import token_text
from tests.data import writing

THIRDS = {"valid_fraction": 0.3, "test_fraction": 0.3}
TENTHS = {"valid_fraction": 0.1, "test_fraction": 0.1}


def test_a_text_is_divided_in_its_own_order(tmp_path):
  writing.write(tmp_path, {"a.txt": "0123456789" * 2})
  splits = data.load("text_files", path=tmp_path / "a.txt", **TENTHS)
  assert bytes(splits.train.targets[0]) == b"123456789012345"
  assert bytes(splits.valid.targets[0]) == b"67"
  assert bytes(splits.test.inputs[0]) == b"78"
  prepared = splits.info.preparation
  found = prepared.read(tmp_path / "a.txt")
  assert found.ids == ("a.txt",)
  assert bytes(found.dataset.targets[0]) == b"123456789" + b"0123456789"


def test_folders_are_read_in_order_by_a_pattern(tmp_path):
  texts = {"b.md": "two", "a/c.md": "one", "x.py": "code", ".hidden.md": "no"}
  writing.write(tmp_path, texts)
  splits = data.load("text_files", path=tmp_path, pattern="**/*.md", **THIRDS)
  whole = b"".join(bytes(part.targets[0]) for part in splits[:3])
  assert whole == b"netwo"
  found = splits.info.preparation.read(tmp_path)
  assert found.ids == ("a/c.md", "b.md")


def test_documents_are_divided_whole(tmp_path):
  writing.write(tmp_path, {f"{i}.txt": str(i) * 5 for i in range(10)})
  splits = data.load("text_files", path=tmp_path, documents=True, **TENTHS)
  assert splits.train.extras.document_starts.sum() == 8
  assert len(set(bytes(splits.test.targets[0]))) == 1


def test_tokenizers_make_tokens(tmp_path):
  library = pytest.importorskip("tokenizers")
  words = {"the": 0, "cat": 1, "sat": 2, "?": 3}
  made = library.Tokenizer(library.models.WordLevel(words, unk_token="?"))
  made.pre_tokenizer = library.pre_tokenizers.Whitespace()
  file = tmp_path / "tokenizer.json"
  made.save(str(file))
  path = tmp_path / "a.txt"
  path.write_text("the cat sat " * 10)
  splits = data.load("text_files", path=path, tokenizer=file, **TENTHS)
  assert splits.info.vocab_size == 4
  assert splits.train.targets[0, :5].tolist() == [1, 2, 0, 1, 2]
  assert splits.train.targets.dtype == np.int32
  # The preparation holds the tokenizer itself.
  fields = json.loads(json.dumps(splits.info.preparation.to_json()))
  file.unlink()
  prepared = data.sources.from_json(fields)
  assert prepared.prepare("the cat dog").inputs.tolist() == [[0, 1]]
  path.write_bytes(b"the\ncat \xff")
  with pytest.raises(ValueError, match="a.txt, line 2: got the byte 0xff"):
    prepared.read(path)
  file.write_text("{}")
  with pytest.raises(ValueError, match="tokenizer.json is no tokenizer"):
    data.load("text_files", path=path, tokenizer=file)


def test_what_is_missing_or_too_short_is_said(tmp_path):
  with pytest.raises(
    data.MissingData, match="no.txt is no text, and no folder .*does not exist"
  ):
    data.load("text_files", path=tmp_path / "no.txt")
  writing.write(tmp_path, {"a.txt": "abc"})
  with pytest.raises(ValueError, match="leave bytes to each part of the 3"):
    data.load("text_files", path=tmp_path / "a.txt")
  for pattern in ("../*", "/etc/*", "", "a\0"):
    source = data.sources.TextSource(reader="text_files", pattern=pattern)
    with pytest.raises(ValueError, match="a pattern inside the folder"):
      source.read(tmp_path)


def test_bytes_of_another_encoding_are_told(tmp_path, caplog, monkeypatch):
  monkeypatch.setattr(text_tokens, "_CHUNK", 3)
  texts = {"a.txt": "grün ist gut\n" * 9, "b.txt": "ab" * 40}
  writing.write(tmp_path, texts)
  source = data.load("text_files", path=tmp_path).info.preparation
  # Characters may be divided between chunks.
  assert not caplog.text
  (tmp_path / "a.txt").write_bytes(texts["a.txt"].encode("latin1"))
  message = "a.txt: got the byte 0xfc, which is not UTF-8 (1 of 2 files ha"
  splits = data.load("text_files", path=tmp_path)
  assert message in caplog.text
  assert 0xFC in splits.train.targets
  for read in (
    lambda: source.read(tmp_path),
    lambda: token_text.write(tmp_path / "tokens", tmp_path, pattern="*.txt"),
  ):
    caplog.clear()
    read()
    assert message in caplog.text
