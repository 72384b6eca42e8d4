"""Rows of tokens as a pure function of a seed and of their numbers.

    read = token_rows.Windows(documents, 1024)
    tokens, targets, reset, weight = read.rows(seed, [0, 1, 2])

The documents, which may lie on the disk, come in an order of their own in each
epoch; epochs follow each other without a gap. In `Windows` they lie one behind
the other and are cut into equal rows; in `Packed` each is whole, and fresh, and
best fit fills rows with a thousand of them at a time. Either way every token is
a target once in an epoch, and nothing is remembered from call to call but what
is computed once for many rows: any process computes any row alone, and goes on
anywhere.
"""

from collections.abc import Sequence
import functools
from typing import Any
from typing import NamedTuple

import numpy as np

from jaxseq import _validate
from jaxseq.data import text_tokens
from jaxseq.planner import schedule
from jaxseq.training import shuffle

# Documents whose lengths are summed at once: all of a file's if there are not
# more than so many (the sums take 128 MB), and in blocks of so many if there
# are.
_AT_ONCE = 2**24
_BLOCK = 2**16
# Documents that are packed together.
_PACKED = 1024


class Documents(NamedTuple):
  """Documents, one behind the other.

  Attributes:
    tokens: (n,) integers; may be a `np.memmap`, of which only what is asked for
      is read.
    offsets: (documents + 1,) int64, where each begins, and n.
  """

  tokens: np.ndarray
  offsets: np.ndarray

  @property
  def lengths(self) -> np.ndarray:
    """(documents,) int64: elements that are read, `START` included."""
    return np.diff(self.offsets) + 1

  def read(self, index: int) -> np.ndarray:
    """Returns `START` and the tokens of a document, int32."""
    tokens = self.tokens[self.offsets[index] : self.offsets[index + 1]]
    return np.append(np.int32(text_tokens.START), np.asarray(tokens, np.int32))


class Batch(NamedTuple):
  """Rows; arrays are (rows, length).

  Attributes:
    tokens: int32, what is read: the token before each target, and `START` where
      the state is fresh.
    targets: int32, 0 in padding.
    reset: bool, True where a document begins, at the beginning of a row, and at
      that of padding.
    weight: float32, 1 for targets and 0 for padding.
  """

  tokens: np.ndarray
  targets: np.ndarray
  reset: np.ndarray
  weight: np.ndarray


class Rows:
  """The base of `Windows` and `Packed`.

  Args:
    documents: the documents.
    length: elements of a row.
    vocab_size: tokens are below it; not checked if None.

  Raises:
    ValueError: there is no token.
  """

  def __init__(
    self, documents: Documents, length: int, vocab_size: int | None = None
  ):
    _validate.positive("length", length)
    count = len(documents.offsets) - 1
    total = int(documents.offsets[-1] - documents.offsets[0])
    _validate.integer("documents", count, 1, 2**31 - 1)
    if not total:
      raise _validate.error("documents", "0 tokens", "at least one")
    self.documents, self.length = documents, length
    self._count, self._total, self._vocab_size = count, total, vocab_size

  def rows(self, seed: int, numbers: Sequence[int] | np.ndarray) -> Batch:
    """Returns rows by their numbers.

    Args:
      seed: of the order of the documents, from 0.
      numbers: (n,) from 0; those beyond an epoch's are of the next ones.

    Raises:
      ValueError: a token is not below `vocab_size`.
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
    """The places of the tokens of a row, (begin, size), each read afresh."""
    raise NotImplementedError

  def _checked(self, tokens, begin):
    """The tokens, if a network has them all."""
    above = self._vocab_size
    if above is not None and not 0 <= tokens.min() <= tokens.max() < above:
      wrong = int(np.argmax((tokens < 0) | (tokens >= above)))
      expected = f"0 to {above - 1}, as there are {above}"
      raise _validate.error(
        f"token {begin + wrong}", int(tokens[wrong]), expected
      )
    return tokens


class Windows(Rows):
  """Equal windows over all documents, one behind the other.

  A row begins anywhere in a document, and the last of an epoch may be shorter.

  Args:
    documents: the documents.
    length: elements of a row.
    vocab_size: tokens are below it; not checked if None.
    block: documents whose lengths are summed at once. Blocks of neighbors come
      in a random order, and so do the documents of each. All are one block if
      None and there are not too many.
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
    self._size = _validate.positive("block", block)
    self._blocks = -(-self._count // block)
    self.rows_per_epoch = -(-self._total // length)
    # Rows that follow each other are of one epoch and block or of two.
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
    """The blocks as an epoch has them, and where the tokens of each end."""
    order = _permuted((seed, epoch), np.arange(self._blocks), self._blocks)
    offsets = self.documents.offsets
    last = np.minimum((order + 1) * self._size, self._count)
    return order, np.cumsum(offsets[last] - offsets[order * self._size])

  def _order_of_documents(self, seed, epoch, block):
    """The documents of a block, and where each ends among its tokens."""
    first = block * self._size
    count = min(self._size, self._count - first)
    order = _permuted((seed, epoch, block), np.arange(count), count)
    order += first
    offsets = self.documents.offsets
    return order, np.cumsum(offsets[order + 1] - offsets[order])


class Packed(Rows):
  """Whole documents, each read afresh, packed into rows.

  Documents that are longer than a row are cut into several. The rows of a
  thousand documents come in a random order.
  """

  def __init__(
    self, documents: Documents, length: int, vocab_size: int | None = None
  ):
    super().__init__(documents, length, vocab_size)
    self._blocks = -(-self._count // _PACKED)
    self._layout = functools.lru_cache(4)(self._packed)
    # How many rows there are after each block of each epoch, as far as known.
    self._ends = functools.lru_cache(2)(lambda seed: [0])

  def _pieces(self, seed, number):
    ends = self._ends(seed)
    while ends[-1] <= number:
      ends.append(ends[-1] + len(self._layout(seed, len(ends) - 1)))
    block = int(np.searchsorted(ends, number, side="right")) - 1
    return self._layout(seed, block)[number - ends[block]]

  def _packed(self, seed, number):
    """The rows of a block, which are counted over all epochs."""
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
  """Numbers as a bijection takes them, which those of `place` choose."""
  # Unlike other streams of NumPy, this one is the same in all its versions.
  words = np.random.SeedSequence(place).generate_state(shuffle.NUM_WORDS)
  return shuffle.permute_on_host(words, index, size).astype(np.int64)
