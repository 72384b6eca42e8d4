"""FM-index of documents: the places of a run of tokens, and its successors.

The index of Ferragina and Manzini (2000) over the reversed documents, as in
SEAL (arXiv:2204.10628). Extending a run by one token is a single step of
backward search, and the symbols before a run's rows are the tokens that
follow it.

    index = fm_index.build([b"in the beginning", b"the end"], 256)
    rows = index.rows(b"the ")
    index.next_counts(rows)  # (256,), one "b" and one "e"

`generation.substrings` uses it as a constraint on decoding.
"""

from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import json
import os
import pathlib
from typing import NamedTuple

import numpy as np

from jaxseq import _files
from jaxseq import _json
from jaxseq import limits
from jaxseq import validate
from jaxseq.data import _npy

# Symbols are tokens + SHIFT, as published. Below it, 0 ends the text and
# SEPARATOR separates documents.
SHIFT = 10
SEPARATOR = 1
_FORMAT = "jaxseq FM-index 1"
_ARRAYS = ("text", "suffix_array", "bwt", "starts", "checkpoints")
_DOCUMENTS = ("beginnings", "lengths")


class Rows(NamedTuple):
  """Range of rows of the sorted suffixes, from `low` to before `high`."""

  low: int
  high: int


@dataclasses.dataclass(frozen=True, eq=False)
class FMIndex:
  """An index of n symbols, built by `build` or read by `load`.

  Attributes:
    vocab_size: number of tokens.
    separate: whether documents are separated; see `build`.
    block: number of rows between checkpoints.
    text: (n,) symbols: the documents, each reversed, and 0.
    suffix_array: (n,) start of each suffix in the text, in sorted order.
    bwt: (n,) the symbol before each suffix, in sorted order.
    starts: (vocab_size + SHIFT + 1,) number of symbols less than each symbol.
    checkpoints: (n // block + 1, vocab_size + SHIFT) count of each symbol in
      the first i * block entries of `bwt`.
    beginnings: (documents,) start of each document in the text.
    lengths: (documents,) number of tokens of each document.
  """

  vocab_size: int
  separate: bool
  block: int
  text: np.ndarray
  suffix_array: np.ndarray
  bwt: np.ndarray
  starts: np.ndarray
  checkpoints: np.ndarray
  beginnings: np.ndarray
  lengths: np.ndarray

  def __len__(self) -> int:
    """Returns the number of rows."""
    return len(self.bwt)

  def extend(self, rows: Rows, token: int) -> Rows:
    """Returns the rows of a run extended by a token; (0, 0) if it has none."""
    symbol = int(token) + SHIFT
    if not SHIFT <= symbol < self.vocab_size + SHIFT:
      expected = f"a token from 0 to {self.vocab_size - 1}"
      raise validate.error("token", token, expected)
    start = int(self.starts[symbol])
    low, high = (start + self._rank(symbol, row) for row in rows)
    return Rows(low, high) if low < high else Rows(0, 0)

  def rows(self, tokens: Sequence[int]) -> Rows:
    """Returns the rows of a run of tokens: all rows if it is empty."""
    if isinstance(tokens, str):
      expected = "tokens: bytes, or a list of integers"
      raise validate.error("tokens", tokens, expected)
    rows = Rows(0, len(self))
    for token in tokens:
      rows = self.extend(rows, token)
    return rows

  def count(self, tokens: Sequence[int]) -> int:
    """Counts the occurrences of a run of tokens in the documents."""
    low, high = self.rows(tokens)
    return high - low

  def next_counts(self, rows: Rows) -> np.ndarray:
    """Counts how often each token follows, (vocab_size,) int64."""
    # Only the two ends of the rows are read.
    low, high = (self._ranks(row) for row in rows)
    return (high - low)[SHIFT:]

  def places(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Returns the places of a run of tokens in the documents.

    Returns:
      The document and the place in it of the run's last token, each (count,)
      int64, in the order of the rows.
    """
    positions = np.asarray(self.suffix_array[slice(*rows)], np.int64)
    document = np.searchsorted(self.beginnings, positions, "right") - 1
    end = np.asarray(self.beginnings)[document] + self.lengths[document]
    return document, end - 1 - positions

  def document(self, number: int) -> np.ndarray:
    """Returns the tokens of a document, (length,) int64."""
    start = self.beginnings[number]
    symbols = self.text[start : start + self.lengths[number]]
    return symbols[::-1].astype(np.int64) - SHIFT

  def save(self, folder: str | os.PathLike) -> None:
    """Writes the index into a folder, which is created if it is missing."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*_ARRAYS, *_DOCUMENTS):
      # The arrays may be maps of these files.
      with _files.replacing(folder / f"{name}.npy") as file:
        np.save(file, getattr(self, name))
    about = {"format": _FORMAT}
    about |= {k: getattr(self, k) for k in ("vocab_size", "separate", "block")}
    with _files.replacing(folder / "index.json") as file:
      file.write(f"{json.dumps(about, indent=2)}\n".encode())

  def _rank(self, symbol, row):
    """Counts a symbol in the first `row` entries of `bwt`."""
    block, left = divmod(row, self.block)
    symbols = self.bwt[row - left : row]
    return int(self.checkpoints[block, symbol]) + np.count_nonzero(
      symbols == symbol
    )

  def _ranks(self, row):
    """Counts each symbol in the first `row` entries of `bwt`."""
    block, left = divmod(row, self.block)
    entries = self.bwt[row - left : row]
    more = np.bincount(entries, minlength=self.vocab_size + SHIFT)
    return self.checkpoints[block] + more


def build(
  documents: Iterable[bytes | Sequence[int] | np.ndarray],
  vocab_size: int,
  *,
  separate: bool = True,
  block: int = 256,
) -> FMIndex:
  """Builds an index; takes about 50 bytes of memory per token.

  Args:
    documents: bytes, or tokens, of each document; at least one token.
    vocab_size: number of tokens.
    separate: whether a separator stands between documents, so that no run
      crosses from one into another. If False, as published, the first token of
      a document follows the last one of the document after it.
    block: number of rows between checkpoints; fewer are faster and need
      4 * (vocab_size + 10) / block bytes per token.

  Raises:
    ValueError: if there is no document, one is empty, or a token is not below
      `vocab_size`.
  """
  validate.all_positive(vocab_size=vocab_size, block=block)
  dtype = np.min_scalar_type(vocab_size + SHIFT)
  pieces = []
  for number, document in enumerate(documents):
    if isinstance(document, bytes):
      document = np.frombuffer(document, np.uint8)
    tokens = np.asarray(document)
    if tokens.ndim != 1 or not len(tokens) or tokens.dtype.kind not in "iu":
      got = f"shape {tokens.shape} and dtype {tokens.dtype}"
      expected = "(tokens,) integers, at least one"
      raise validate.error(f"document {number}", got, expected)
    if tokens.min() < 0 or tokens.max() >= vocab_size:
      received = f"tokens from {tokens.min()} to {tokens.max()}"
      expected = f"tokens from 0 to {vocab_size - 1}"
      raise validate.error(f"document {number}", received, expected)
    pieces.append(tokens[::-1].astype(np.int64) + SHIFT)
  if not pieces:
    raise validate.error("documents", [], "at least one document")
  lengths = np.array([len(piece) for piece in pieces])
  steps = lengths + int(separate)
  beginnings = np.cumsum(steps) - steps
  text = np.full(beginnings[-1] + lengths[-1] + 1, SEPARATOR, dtype)
  for start, piece in zip(beginnings, pieces):
    text[start : start + len(piece)] = piece
  text[-1] = 0
  order = sort_suffixes(text)
  bwt = text[order - 1]
  symbols = vocab_size + SHIFT
  counts = np.bincount(text, minlength=symbols)
  blocks = np.arange(len(text)) // block
  shape = len(text) // block + 1, symbols
  each = np.bincount(blocks * symbols + bwt, minlength=shape[0] * symbols)
  each = each.reshape(shape)
  small = np.int32 if len(text) < 2**31 else np.int64
  return FMIndex(
    vocab_size,
    separate,
    block,
    text,
    order.astype(small),
    bwt,
    np.concatenate([[0], np.cumsum(counts)]),
    (np.cumsum(each, axis=0) - each).astype(small),
    beginnings,
    lengths,
  )


def load(folder: str | os.PathLike) -> FMIndex:
  """Opens a saved index; its arrays are memory-mapped.

  Sizes and small arrays are checked; large arrays are read when they are used.

  Raises:
    ValueError: if there is no index, or its files do not fit together.
  """
  folder = pathlib.Path(folder)
  try:
    about = _json.loads(limits.read_bytes(folder / "index.json", limits.JSON))
    arrays = {
      name: _npy.open_map(folder / f"{name}.npy")
      for name in (*_ARRAYS, *_DOCUMENTS)
    }
    return _checked(about, arrays)
  except (OSError, ValueError) as error:
    raise ValueError(f"{folder} is no whole FM-index: {error}.") from error


def sort_suffixes(text: np.ndarray) -> np.ndarray:
  """Returns the start of each suffix of a text, in sorted order.

  Prefix doubling (Manber and Myers, 1993), except that the first keys hold as
  many symbols as fit in a word, and only suffixes not yet in place are sorted.

  Args:
    text: (n,) non-negative integers; only the last one is 0.

  Returns:
    The suffix array, (n,) int64.
  """
  count = len(text)
  bits = max(1, int(text.max()).bit_length())
  width = 62 // bits
  key = np.zeros(count, np.int64)
  for i in range(width):
    key <<= bits
    behind = text[i:].astype(np.int64)
    key[: len(behind)] |= behind
  order = np.argsort(key, kind="stable")
  places = np.arange(count)
  rank = np.empty(count, np.int64)
  rows, key = order, key[order]
  while len(places):
    first = np.concatenate([[True], key[1:] != key[:-1]])
    rank[rows] = np.maximum.accumulate(np.where(first, places, 0))
    shared = ~(first & np.concatenate([first[1:], [True]]))
    places = places[shared]
    # A suffix that still ties with others does not end within `width`.
    rows = order[places]
    key = rank[rows] * count + rank[rows + width]
    sort = np.argsort(key, kind="stable")
    rows, key = rows[sort], key[sort]
    order[places] = rows
    width *= 2
  return order


def _checked(about: object, arrays: dict[str, np.ndarray]) -> FMIndex:
  """Builds the index of a folder after checks that its files fit together."""
  if not isinstance(about, dict) or about.pop("format", None) != _FORMAT:
    raise ValueError(f"index.json does not say that it is {_FORMAT!r}")
  if set(about) != {"vocab_size", "separate", "block"}:
    raise ValueError(f"index.json has the entries {sorted(about)}")
  for name in ("vocab_size", "block"):
    validate.integer(name, about[name], 1, 2**31)
  if not isinstance(about["separate"], bool):
    raise validate.error("separate", about["separate"], "true or false")
  for name, array in arrays.items():
    kind = "u" if name in ("text", "bwt") else "i"
    if array.dtype.kind != kind:
      raise ValueError(f"{name} is an array of {array.dtype}")
  count, symbols = arrays["bwt"].size, about["vocab_size"] + SHIFT
  shapes = dict.fromkeys(_ARRAYS, (count,))
  shapes["starts"] = (symbols + 1,)
  shapes["checkpoints"] = (count // about["block"] + 1, symbols)
  shapes |= dict.fromkeys(_DOCUMENTS, (arrays["lengths"].size,))
  for name, expected in shapes.items():
    if arrays[name].shape != expected:
      raise validate.error(name, f"shape {arrays[name].shape}", str(expected))
  lengths, starts = arrays["lengths"], arrays["starts"]
  steps = lengths + int(about["separate"])
  if (
    not len(lengths)
    or lengths.min() < 1
    or (arrays["beginnings"] != np.cumsum(steps) - steps).any()
    or steps.sum() + int(not about["separate"]) != count
  ):
    raise ValueError("its documents do not fill its text")
  if starts[0] or starts[-1] != count or (np.diff(starts) < 0).any():
    raise ValueError("its symbols do not fill its text")
  return FMIndex(**about, **arrays)
