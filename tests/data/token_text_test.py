"""Token files as data sets, and texts as token files."""

import numpy as np
import pytest

from jaxseq import data
from jaxseq.data import token_file
from jaxseq.data import token_text

SHARES = {"valid_fraction": 0.1, "test_fraction": 0.2}
TEXTS = [f"text number {i}, é" for i in range(9)]


def file(folder, name="a"):
  """Tokens 1 to 100 in documents of 0 to 13 tokens, two bytes each."""
  path = folder / name
  documents = np.split(np.arange(1, 101), np.cumsum(range(14)))
  token_file.write(path, documents)
  return path


@pytest.mark.parametrize("end", ["", ".bin", ".idx"])
def test_a_file_is_divided_in_its_own_order(tmp_path, end):
  path = file(tmp_path)
  splits = data.load(
    "token_file", path=f"{path}{end}", vocab_size=101, **SHARES
  )
  train, valid, test, info = splits
  assert isinstance(train.targets, np.memmap)
  np.testing.assert_array_equal(train.targets[0], np.arange(1, 71))
  offsets = [0, 0, *np.cumsum(range(1, 12)), 70]
  np.testing.assert_array_equal(train.extras.document_offsets[0], offsets)
  for part, first, last in ((valid, 71, 80), (test, 81, 100)):
    np.testing.assert_array_equal(part.targets[0], range(first, last + 1))
    (starts,) = part.extras.document_starts
    assert set(part.targets[0][starts]) == {first} | (
      {1, 2, 4, 7, 11, 16, 22, 29, 37, 46, 56, 67, 79, 92}
      & set(range(first, last + 1))
    )
    assert not part.inputs[0][starts].any()
    np.testing.assert_array_equal(
      part.inputs[0][~starts], part.targets[0][~starts] - 1
    )
  assert (info.vocab_size, len(info.digest)) == (101, 64)


def test_what_is_wrong_is_one_sentence(tmp_path):
  path = file(tmp_path)

  def load(**options):
    data.load("token_file", path=path, **{"vocab_size": 101} | SHARES | options)

  digest = token_file.TokenFile(path).digest()
  load(digest=digest)
  with pytest.raises(ValueError, match=f"a.bin: digest: got '{digest}', exp"):
    load(digest="0" * 64)
  with pytest.raises(
    ValueError, match="vocab_size: got None, expected the num"
  ):
    load(vocab_size=None)
  with pytest.raises(ValueError, match="expected positive shares that leave"):
    load(valid_fraction=0.001)
  whole = (tmp_path / "a.bin").read_bytes()
  (tmp_path / "a.bin").write_bytes(whole[:-2])
  with pytest.raises(
    ValueError, match=r"a.bin: got 198 bytes, expected 200 bytes, as a.idx says"
  ):
    load()
  index = bytearray((tmp_path / "a.idx").read_bytes())
  # The length of the third document.
  index[34 + 8 : 34 + 12] = np.array([77], "<i4").tobytes()
  (tmp_path / "a.idx").write_bytes(index)
  with pytest.raises(ValueError, match="sequences that do not follow each oth"):
    load()
  (tmp_path / "a.bin").unlink()
  with pytest.raises(FileNotFoundError):
    load()


def test_lines_and_files_become_documents(tmp_path):
  lines = [f'{{"id": {i}, "text": "{x}"}}\n' for i, x in enumerate(TEXTS)]
  (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
  (tmp_path / "b.txt").write_text("a file", encoding="utf-8")
  written = token_text.write(tmp_path / "c.bin", tmp_path)
  assert written.tokens.dtype == np.uint8
  texts = [bytes(written.document(i)).decode() for i in range(len(written))]
  assert texts == [*TEXTS, "a file"]
  splits = data.load("token_file", path=tmp_path / "c.bin", **SHARES)
  assert splits.info.vocab_size == 256
  assert splits.info.preparation.read(tmp_path / "b.txt").labeled
  with pytest.raises(ValueError, match="line 1: title: got 'NoneType', exp"):
    token_text.write(tmp_path / "d", tmp_path / "a.jsonl", field="title")
  (tmp_path / "e.jsonl").write_text('{"text": "a"}\n{"text": "b"\n')
  with pytest.raises(ValueError, match="e.jsonl, line 2: it is no JSON"):
    token_text.write(tmp_path / "d", tmp_path / "e.jsonl")
  (tmp_path / "none.jsonl").write_text("\n")
  with pytest.raises(
    ValueError, match=r"none\.jsonl: got no lines, expected te"
  ):
    token_text.write(tmp_path / "d", tmp_path / "none.jsonl")
  (tmp_path / "e.jsonl").write_text('{"text": "\\ud800"}')
  with pytest.raises(
    ValueError, match="line 1: text: got 'surrogates not allo"
  ):
    token_text.write(tmp_path / "d", tmp_path / "e.jsonl")


def test_a_tokenizer_says_how_many_tokens_there_are(tmp_path):
  tokenizers = pytest.importorskip("tokenizers")
  words = {f"w{i}": i for i in range(300)}
  tokenizer = tokenizers.Tokenizer(
    tokenizers.models.WordLevel(words, unk_token="w0")
  )
  tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
  place = str(tmp_path / "t.json")
  tokenizer.save(place)
  (tmp_path / "a.txt").write_text("w7 w299 w1 " * 20)
  written = token_text.write(
    tmp_path / "a", tmp_path / "a.txt", tokenizer=place
  )
  assert written.tokens.dtype == np.uint16
  np.testing.assert_array_equal(written.document(0), [7, 299, 1] * 20)
  info = data.load("token_file", path=tmp_path / "a", tokenizer=place).info
  assert info.vocab_size == 300
  examples = info.preparation.read(tmp_path / "a.txt")
  np.testing.assert_array_equal(examples.dataset.targets[0, :2], [299, 1])
