"""Token files as Megatron writes them, whole and damaged."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from jaxseq.data import token_file

_ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = _ROOT / "tests" / "golden" / "adapt" / "token_files"


def documents():
  with np.load(GOLDEN / "expected.npz") as expected:
    ends = np.cumsum(expected["lengths"])
    return np.split(expected["tokens"], ends[:-1])


def test_the_golden_file_is_read():
  file = token_file.TokenFile(GOLDEN / "text")
  assert len(file) == 40
  for number, document in enumerate(documents()):
    np.testing.assert_array_equal(file.document(number), document)
  assert isinstance(file.tokens, np.memmap)


def test_the_golden_file_is_written_byte_for_byte(tmp_path):
  token_file.write(tmp_path / "text", documents())
  for name in ("text.bin", "text.idx"):
    assert (tmp_path / name).read_bytes() == (GOLDEN / name).read_bytes()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int64])
def test_other_types_and_empty_documents_come_back(tmp_path, dtype):
  texts = [np.array([5, 120]), np.zeros(0, int), np.array([1])]
  token_file.write(tmp_path / "a.b", texts, dtype)
  file = token_file.TokenFile(tmp_path / "a.b")
  assert file.tokens.dtype == dtype
  for number, text in enumerate(texts):
    np.testing.assert_array_equal(file.document(number), text)
  token_file.write(tmp_path / "none", [], dtype)
  assert len(token_file.TokenFile(tmp_path / "none")) == 0


def test_what_does_not_fit_is_refused(tmp_path):
  with pytest.raises(
    ValueError, match="document 1: got tokens from 0 to 65536"
  ):
    token_file.write(tmp_path / "a", [np.arange(2), np.array([0, 65536])])
  with pytest.raises(ValueError, match=r"document 0: got float64\[1\]"):
    token_file.write(tmp_path / "a", [np.ones(1)])
  with pytest.raises(ValueError, match="dtype: got"):
    token_file.write(tmp_path / "a", [], np.float32)


def test_what_is_there_stays_where_a_document_is_refused(tmp_path):
  token_file.write(tmp_path / "a", documents())
  file = token_file.TokenFile(tmp_path / "a")
  with pytest.raises(ValueError, match="document 1: got tokens"):
    token_file.write(tmp_path / "a", [np.arange(2), np.array([0, 65536])])
  names = {path.name for path in tmp_path.iterdir()}
  assert names == {"a.bin", "a.idx"}
  assert token_file.TokenFile(tmp_path / "a").digest() == file.digest()
  # What is mapped into memory is another file than that which replaces it.
  token_file.write(tmp_path / "a", [np.arange(2)])
  np.testing.assert_array_equal(file.document(39), documents()[39])
  assert len(token_file.TokenFile(tmp_path / "a")) == 1


def _index(content, at, value, kind):
  value = np.array(value, kind).tobytes()
  return content[:at] + value + content[at + len(value) :]


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda x: b"PK\3\4" + x, r"text\.idx: got a beginning b'PK"),
    (lambda x: x[:20], r"text\.idx: got a beginning"),
    (lambda x: x[:-8], r"text\.idx: got 834 bytes, expected 842 bytes"),
    (lambda x: _index(x, 9, 2, "<u8"), "got version 2 and tokens of type 8"),
    (lambda x: _index(x, 17, 7, "u1"), "tokens of type 7, expected 1 and one"),
    (lambda x: _index(x, 18, 2**60, "<u8"), r"text\.idx: got 842 bytes"),
    (lambda x: _index(x, 34, -1, "<i4"), "sequences of negative length"),
    (lambda x: _index(x, 34, 9, "<i4"), "do not follow each other"),
    (lambda x: _index(x, 34 + 4 * 39, 10**6, "<i4"), r"text\.bin: got 2578"),
    (lambda x: _index(x, 842 - 8, 41, "<i8"), "documents that are not all"),
  ],
)  # fmt: skip
def test_a_foreign_or_damaged_index_is_told_of(tmp_path, change, message):
  content = (GOLDEN / "text.idx").read_bytes()
  (tmp_path / "text.idx").write_bytes(change(content))
  (tmp_path / "text.bin").write_bytes((GOLDEN / "text.bin").read_bytes())
  with pytest.raises(ValueError, match=message):
    token_file.TokenFile(tmp_path / "text")


def test_a_cut_file_is_told_of(tmp_path):
  (tmp_path / "text.idx").write_bytes((GOLDEN / "text.idx").read_bytes())
  (tmp_path / "text.bin").write_bytes((GOLDEN / "text.bin").read_bytes()[:-1])
  message = "got 2577 bytes, expected 2578 bytes, as text.idx says"
  with pytest.raises(ValueError, match=message):
    token_file.TokenFile(tmp_path / "text")


_LARGE = """
import resource, sys
import numpy as np
from jaxseq.data import token_file
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
file = token_file.TokenFile(sys.argv[1])
assert file.tokens.nbytes == 2**32 and len(file) == 4
assert not file.document(3)[-1000:].any()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_file_of_four_gigabytes_takes_no_memory(tmp_path):
  token_file.write(tmp_path / "a", [np.zeros(1)[:0].astype(int)] * 4)
  count = 2**31 // 4
  index = (tmp_path / "a.idx").read_bytes()
  index = _index(index, 34, [count] * 4, "<i4")
  index = _index(index, 50, np.arange(4) * count * 2, "<i8")
  (tmp_path / "a.idx").write_bytes(index)
  with open(tmp_path / "a.bin", "wb") as file:
    file.truncate(2**32)
  done = subprocess.run(
    [sys.executable, "-c", _LARGE, str(tmp_path / "a")],
    cwd=_ROOT,
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert done.returncode == 0, done.stderr
  # In kilobytes: some pages of the file.
  assert int(done.stdout) < 50_000
