r"""Token files larger than memory, in Megatron's indexed format.

    token_file.write("text", documents)         # text.bin and text.idx
    file = token_file.TokenFile("text")
    file.document(3)                            # (n,), memory-mapped

`text.bin` has the tokens of all sequences one after the other. `text.idx` has,
in little-endian bytes: `MMIDIDX\0\0`, the version 1 (uint64), the code of the
tokens' type (uint8), the number of sequences and the number of documents plus
one (uint64), the length of each sequence (int32), its start in the other file
(int64, bytes), and the starts of documents, in sequences (int64), ended by the
number of sequences. Megatron-LM, NeMo and RWKV's trainer ("binidx")
read and write the same.

Source: Megatron-LM, megatron/core/datasets/indexed_dataset.py.
"""

from collections.abc import Iterable
import hashlib
import os
import pathlib
import struct
from typing import Any

import numpy as np

from jaxseq import _files
from jaxseq import limits
from jaxseq import validate

_MAGIC = b"MMIDIDX\0\0"
_HEAD = struct.Struct("<9sQBQQ")
_CODES = {
  1: np.uint8,
  2: np.int8,
  3: np.int16,
  4: np.int32,
  5: np.int64,
  8: np.uint16,
}


class TokenFile:
  """Tokens on disk, read on demand.

  Args:
    path: path of both files, without `.bin` and `.idx`.

  Attributes:
    tokens: (n,) tokens of all documents in order, memory-mapped.
    starts: (documents + 1,) int64, where documents begin in `tokens`, and n.

  Raises:
    ValueError: if the files are not of this format, or one is truncated.
    FileNotFoundError: if there are no such files.
  """

  def __init__(self, path: str | os.PathLike):
    index, binary = _paths(path)
    size = binary.stat().st_size
    # The index may be larger: a document of one byte takes 20 bytes there.
    limits.check_growth(index, index.stat().st_size, size)
    dtype, lengths, begins, documents = _read_index(index)
    self._place, self._size = index, size
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    if lengths.size and lengths.min() < 0:
      raise _damaged(index, "sequences of negative length")
    if not np.array_equal(begins, ends[:-1] * dtype.itemsize):
      raise _damaged(index, "sequences that do not follow each other")
    if size != ends[-1] * dtype.itemsize:
      expected = f"{ends[-1] * dtype.itemsize} bytes, as {index.name} says"
      raise _wrong(str(binary), f"{size} bytes", expected)
    if (
      documents[0] != 0
      or documents[-1] != len(lengths)
      or (np.diff(documents) < 0).any()
    ):
      raise _damaged(index, "documents that are not all sequences in order")
    with open(binary, "rb", opener=limits.regular) as file:
      # An empty file cannot be mapped.
      self.tokens = np.memmap(file, dtype, "r") if size else np.zeros(0, dtype)
    self.starts = ends[documents]

  def __len__(self) -> int:
    """Returns the number of documents."""
    return len(self.starts) - 1

  def digest(self) -> str:
    """Returns a sha256 of the index and of the size of the tokens in bytes."""
    digest = hashlib.sha256(limits.read_bytes(self._place))
    digest.update(f"{self._size} bytes".encode())
    return digest.hexdigest()

  def document(self, number: int) -> np.ndarray:
    """Returns the tokens (n,) of a document, memory-mapped."""
    validate.integer("number", number, 0, len(self) - 1)
    return self.tokens[self.starts[number] : self.starts[number + 1]]


def write(
  path: str | os.PathLike, documents: Iterable[object], dtype: Any = np.uint16
) -> None:
  """Writes documents one after the other, each as one sequence.

  Existing files stay until all documents are written. Memory: one document,
  and 16 bytes for each written one.

  Args:
    path: path of both files, without `.bin` and `.idx`.
    documents: arrays (n,) of integers.
    dtype: type of the tokens on disk: an integer of 8, 16 (signed or not), 32
      or 64 bits (signed).

  Raises:
    ValueError: if a document is not an array of integers, or does not fit.
  """
  dtype = np.dtype(dtype)
  codes = {np.dtype(kind): code for code, kind in _CODES.items()}
  validate.choice("dtype", dtype, codes)
  index, binary = _paths(path)
  bounds = np.iinfo(dtype)
  lengths = []
  with _files.replacing(binary) as file:
    for number, document in enumerate(documents):
      tokens = np.asarray(document)
      name = f"document {number}"
      if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
        got = f"{tokens.dtype.name}{list(tokens.shape)}"
        raise _wrong(name, got, "integers (n,)")
      if tokens.size and not bounds.min <= tokens.min() <= tokens.max() <= (
        bounds.max
      ):
        got = f"tokens from {tokens.min()} to {tokens.max()}"
        raise _wrong(name, got, f"those of {dtype.name}")
      file.write(tokens.astype(dtype.newbyteorder("<")).tobytes())
      lengths.append(len(tokens))
    # The old index does not describe the new tokens.
    index.unlink(missing_ok=True)
  ends = np.cumsum([0, *lengths], dtype="<i8")
  head = _HEAD.pack(_MAGIC, 1, codes[dtype], len(lengths), len(lengths) + 1)
  with _files.replacing(index) as file:
    file.write(
      head
      + np.asarray(lengths, "<i4").tobytes()
      + (ends[:-1] * dtype.itemsize).astype("<i8").tobytes()
      + np.arange(len(lengths) + 1, dtype="<i8").tobytes()
    )


def _paths(path) -> tuple[pathlib.Path, pathlib.Path]:
  """Returns the paths of the index and of the tokens."""
  return pathlib.Path(f"{path}.idx"), pathlib.Path(f"{path}.bin")


def _read_index(path):
  """Returns the token type, lengths, starts in bytes and documents."""
  content = limits.read_bytes(path)
  if len(content) < _HEAD.size or not content.startswith(_MAGIC):
    got = repr(content[: len(_MAGIC)])
    raise _wrong(str(path), f"a beginning {got}", repr(_MAGIC))
  _, version, code, count, documents = _HEAD.unpack_from(content)
  if version != 1 or code not in _CODES:
    got = f"version {version} and tokens of type {code}"
    raise _wrong(str(path), got, f"1 and one of {[*_CODES]}")
  size = _HEAD.size + 12 * count + 8 * documents
  # A mode byte for each sequence may follow, used for images.
  if documents < 1 or len(content) not in (size, size + count):
    raise _wrong(str(path), f"{len(content)} bytes", f"{size} bytes")
  place = _HEAD.size
  lengths = np.frombuffer(content, "<i4", count, place)
  begins = np.frombuffer(content, "<i8", count, place + 4 * count)
  ends = np.frombuffer(content, "<i8", documents, place + 12 * count)
  dtype = np.dtype(_CODES[code]).newbyteorder("<")
  return dtype, lengths.astype(np.int64), begins, ends


def _damaged(path: pathlib.Path, got: str) -> ValueError:
  """Returns the error for an index whose parts contradict each other."""
  return _wrong(str(path), got, "an index as Megatron writes it")


def _wrong(name: str, got: str, expected: str) -> ValueError:
  """Returns an error with descriptions in place of values."""
  return ValueError(f"{name}: got {got}, expected {expected}.")
