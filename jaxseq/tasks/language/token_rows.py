"""Rows of tokens as a pure function of a seed and their numbers.

    read = token_rows.Windows(documents, 1024)
    tokens, targets, reset, weight = read.rows(seed, [0, 1, 2])

The documents, which may be on disk, have a different order in each epoch;
epochs follow each other without a gap. `Windows` cuts the concatenated
documents into equal rows; `Packed` keeps documents whole, with fresh states,
and fills rows with a thousand of them at a time by best fit. In both cases
every token is a target once per epoch, and there is no state but caches of
layouts that many rows share: any process can compute any row independently, and
resume anywhere.
"""

from collections.abc import Sequence
import functools
from typing import Any
from typing import NamedTuple

import numpy as np

from jaxseq import validate
from jaxseq.data import text_tokens
from jaxseq.planner import schedule
from jaxseq.training import shuffle

# Maximum number of documents whose lengths are summed at once (the sums take
# 128 MB); larger files are summed in blocks of the second number.
_AT_ONCE = 2**24
_BLOCK = 2**16
# Number of documents that are packed together.
_PACKED = 1024


class Documents(NamedTuple):
  """Concatenated documents.

  Attributes:
    tokens: (n,) integers; may be a `np.memmap`, which is only read as far as
      needed.
    offsets: (documents + 1,) int64, the start of each, and n.
  """

  tokens: np.ndarray
  offsets: np.ndarray

  @property
  def lengths(self) -> np.ndarray:
    """(documents,) int64: numbers of inputs, including `START`."""
    return np.diff(self.offsets) + 1

  def read(self, index: int) -> np.ndarray:
    """Returns `START` and the tokens of a document, int32."""
    tokens = self.tokens[self.offsets[index] : self.offsets[index + 1]]
    return np.append(np.int32(text_tokens.START), np.asarray(tokens, np.int32))


class Batch(NamedTuple):
  """Rows; arrays are (rows, length).

  Attributes:
    tokens: int32, the inputs: the token before each target, or `START` if the
      state is fresh.
    targets: int32, 0 in padding.
    reset: bool, True at the first token of a document, of a row, and of the
      padding.
    weight: float32, 1 for targets and 0 for padding.
  """

  tokens: np.ndarray
  targets: np.ndarray
  reset: np.ndarray
  weight: np.ndarray


class Rows:
  """Base class of `Windows` and `Packed`.

  Args:
    documents: the documents.
    length: elements of a row.
    vocab_size: upper bound of tokens; not checked if None.

  Raises:
    ValueError: if there are no tokens.
  """

  def __init__(
    self, documents: Documents, length: int, vocab_size: int | None = None
  ):
    validate.positive("length", length)
    count = len(documents.offsets) - 1
    total = int(documents.offsets[-1] - documents.offsets[0])
    validate.integer("documents", count, 1, 2**31 - 1)
    if not total:
      raise validate.error("documents", "0 tokens", "at least one")
    self.documents, self.length = documents, length
    self._count, self._total, self._vocab_size = count, total, vocab_size

  def rows(self, seed: int, numbers: Sequence[int] | np.ndarray) -> Batch:
    """Returns rows by their numbers.

    Args:
      seed: seed of the order of the documents, from 0.
      numbers: (n,) from 0; those beyond an epoch are of the next ones.

    Raises:
      ValueError: if a token is not below `vocab_size`.
    """
    shape = len(numbers), self.length
    targets = np.zeros(shape, np.int32)
    reset = np.zeros(shape, bool)
    weight = np.zeros(shape, np.float32)
    for i, number in enumerate(numbers):
      at = 0
      for begin, size in self._pieces(seed, int(number)):
        tokens = self.documents.tokens[begin : begin + size]
        targets[i, at : at + size] = self._checked(tokens, begin)
        reset[i, at] = True
        at += size
      weight[i, :at] = 1
      reset[i, at : at + 1] = True
    tokens = np.zeros(shape, np.int32)
    tokens[:, 1:] = targets[:, :-1]
    tokens[reset] = text_tokens.START
    tokens[weight == 0] = 0
    return Batch(tokens, targets, reset, weight)

  def _pieces(self, seed, number):
    """The chunks of tokens of a row, (begin, size), each with fresh states."""
    raise NotImplementedError

  def _checked(self, tokens, begin):
    """Returns the tokens if all are below `vocab_size`; else raises."""
    above = self._vocab_size
    if above is not None and not 0 <= tokens.min() <= tokens.max() < above:
      wrong = int(np.argmax((tokens < 0) | (tokens >= above)))
      expected = f"0 to {above - 1}, as there are {above}"
      raise validate.error(
        f"token {begin + wrong}", int(tokens[wrong]), expected
      )
    return tokens


class Windows(Rows):
  """Equal windows over the concatenated documents.

  A row begins anywhere in a document, and the last of an epoch may be shorter.

  Args:
    documents: the documents.
    length: elements of a row.
    vocab_size: upper bound of tokens; not checked if None.
    block: documents whose lengths are summed at once. Blocks of neighbors are
      in random order, and so are the documents of each. None for a single
      block, unless there are too many documents.
  """

  def __init__(
    self,
    documents: Documents,
    length: int,
    vocab_size: int | None = None,
    *,
    block: int | None = None,
  ):
    super().__init__(documents, length, vocab_size)
    if block is None:
      block = self._count if self._count <= _AT_ONCE else _BLOCK
    self._size = validate.positive("block", block)
    self._blocks = -(-self._count // block)
    self.rows_per_epoch = -(-self._total // length)
    # Consecutive rows are of one epoch and block or of two.
    self._epoch = functools.lru_cache(2)(self._order_of_blocks)
    self._block = functools.lru_cache(1)(self._order_of_documents)

  def _pieces(self, seed, number):
    epoch, place = divmod(number, self.rows_per_epoch)
    at = place * self.length
    end = min(at + self.length, self._total)
    blocks, ends = self._epoch(seed, epoch)
    turn = int(np.searchsorted(ends, at, side="right"))
    while at < end:
      order, inner = self._block(seed, epoch, int(blocks[turn]))
      before = int(ends[turn - 1]) if turn else 0
      i = int(np.searchsorted(inner, at - before, side="right"))
      while at < end and i < len(order):
        last = int(self.documents.offsets[order[i] + 1])
        left = before + int(inner[i]) - at
        if left:
          size = min(left, end - at)
          yield last - left, size
          at += size
        i += 1
      turn += 1

  def _order_of_blocks(self, seed, epoch):
    """The blocks in an epoch's order, and the end offsets of their tokens."""
    order = _permuted((seed, epoch), np.arange(self._blocks), self._blocks)
    offsets = self.documents.offsets
    last = np.minimum((order + 1) * self._size, self._count)
    return order, np.cumsum(offsets[last] - offsets[order * self._size])

  def _order_of_documents(self, seed, epoch, block):
    """The documents of a block in order, and their end offsets in it."""
    first = block * self._size
    count = min(self._size, self._count - first)
    order = _permuted((seed, epoch, block), np.arange(count), count)
    order += first
    offsets = self.documents.offsets
    return order, np.cumsum(offsets[order + 1] - offsets[order])


class Packed(Rows):
  """Whole documents, each with fresh states, packed into rows.

  Documents that are longer than a row are cut into several chunks. The rows of
  a thousand documents are in random order.
  """

  def __init__(
    self, documents: Documents, length: int, vocab_size: int | None = None
  ):
    super().__init__(documents, length, vocab_size)
    self._blocks = -(-self._count // _PACKED)
    self._layout = functools.lru_cache(4)(self._packed)
    # Number of rows up to each block of each epoch, as far as known.
    self._ends = functools.lru_cache(2)(lambda seed: [0])

  def _pieces(self, seed, number):
    ends = self._ends(seed)
    while ends[-1] <= number:
      ends.append(ends[-1] + len(self._layout(seed, len(ends) - 1)))
    block = int(np.searchsorted(ends, number, side="right")) - 1
    return self._layout(seed, block)[number - ends[block]]

  def _packed(self, seed, number):
    """The rows of a block; blocks are counted over all epochs."""
    epoch, block = divmod(number, self._blocks)
    places = np.arange(block * _PACKED, min((block + 1) * _PACKED, self._count))
    order = _permuted((seed, epoch), places, self._count)
    pieces = [
      (begin, min(self.length, last - begin))
      for first, last in zip(
        self.documents.offsets[order].tolist(),
        self.documents.offsets[order + 1].tolist(),
      )
      for begin in range(first, last, self.length)
    ]
    rows = schedule.best_fit([size for _, size in pieces], self.length)
    if not rows:
      return []
    shuffled = _permuted((seed, epoch, block), np.arange(len(rows)), len(rows))
    return [[pieces[i] for i in rows[row]] for row in shuffled]


def _permuted(place: Sequence[Any], index: np.ndarray, size: int) -> np.ndarray:
  """Maps indices by a pseudorandom bijection that `place` seeds."""
  # Unlike other NumPy streams, this one is the same in all versions.
  words = np.random.SeedSequence(place).generate_state(shuffle.NUM_WORDS)
  return shuffle.permute_on_host(words, index, size).astype(np.int64)
