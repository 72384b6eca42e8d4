"""Patterns of single requests: their tables in one array of an engine.

Each request may have its own regular expression. The compiled program has one
table whose shape never changes: a pattern uses some rows of it while a request
needs them, and the first of these is the initial state of its texts.
"""

import collections
from collections.abc import Sequence
import dataclasses
import functools
import hashlib
import threading

import jax
from jax import lax
import numpy as np

from jaxseq import validate
from jaxseq.generation import _vocabularies
from jaxseq.generation import automaton

# Tables have this many rows or a power of two times as many, so that few
# programs write them.
_ROWS = 16


@dataclasses.dataclass(frozen=True)
class PatternConfig:
  """Room for the patterns of requests.

  Attributes:
    states: rows of the table, see `row_bytes`; a pattern uses as many as its
      automaton has states. The same memory again caches compiled patterns.
    tokens: bytes of each token, see `automaton.compile_pattern`; None if tokens
      are bytes.
    end_token: token that ends a text; if None, only a whole match that cannot
      be longer ends it.
  """

  states: int = 4096
  tokens: Sequence[bytes] | None = None
  end_token: int | None = None

  def __post_init__(self):
    validate.integer("states", self.states, 2 * _ROWS)


def row_bytes(vocab_size: int) -> int:
  """Returns the bytes of a row of the table."""
  return 4 * 256 + -(-vocab_size // 8) + 4


@dataclasses.dataclass(eq=False)
class _Block:
  """Rows of the table that belong to a pattern."""

  start: int
  size: int
  users: int = 0


class PatternPool:
  """Tables of patterns side by side.

  Attributes:
    table: a constraint whose first state permits everything for ever.
  """

  def __init__(self, vocab_size: int, config: PatternConfig):
    """Returns a pool without patterns.

    Args:
      vocab_size: vocabulary size of the network.
      config: options of the pool.

    Raises:
      ValueError: if the config's tokens are not those of the vocabulary.
    """
    tokens = 256 if config.tokens is None else len(config.tokens)
    if tokens != vocab_size:
      got = f"{tokens}{' (bytes)' if config.tokens is None else ''}"
      expected = f"{vocab_size}, an entry for each token of the network"
      raise validate.error("tokens", got, expected)
    if config.tokens is None:
      words = [bytes([i]) for i in range(256)]
    else:
      words = config.tokens
    self._vocabulary = _vocabularies.Vocabulary(words, config.end_token)
    width = -(-vocab_size // 8)
    tables = _vocabularies.Tables(
      np.zeros((config.states, 256), np.int32),
      np.zeros((config.states, width), np.uint8),
      np.zeros(config.states, np.int32),
    )
    tables.bits[0] = 255
    self.table = self._vocabulary.automaton(tables)
    self._config = config
    # By the name of a pattern, in order of their last use.
    self._blocks: collections.OrderedDict[bytes, _Block]
    self._blocks = collections.OrderedDict()
    # Compiled patterns without rows, and their bytes.
    self._waiting: collections.OrderedDict[bytes, _vocabularies.Tables]
    self._waiting = collections.OrderedDict()
    self._lock, self._one = threading.Lock(), threading.Lock()

  def check(self, pattern: str | bytes) -> None:
    """Checks that a pattern can be used; from any thread.

    Raises:
      ValueError: if it cannot be parsed, needs more rows than there are, or
        matches no text that has a token.
    """
    name = _name(pattern)
    # One at a time: each may take much memory.
    with self._one:
      if name not in self._blocks and name not in self._waiting:
        self._keep(name, self._compile(pattern))

  @property
  def nbytes(self) -> int:
    """Bytes of the table and of compiled patterns."""
    table = self._config.states * row_bytes(len(self._vocabulary))
    return table + sum(each.nbytes for each in self._waiting.values())

  def take(self, pattern: str | bytes) -> int | None:
    """Allocates rows for a pattern, until it is released as often.

    Returns:
      The initial state of its texts; None if there is no room at present.
    """
    name = _name(pattern)
    block = self._blocks.get(name) or self._placed(name, pattern)
    if block is None:
      return None
    block.users += 1
    self._blocks.move_to_end(name)
    return block.start

  def give_back(self, pattern: str | bytes) -> None:
    """Says that a request does not need its pattern any more."""
    self._blocks[_name(pattern)].users -= 1

  def _compile(self, pattern):
    """Returns the tables of a pattern."""
    config = self._config
    most = config.states - _ROWS
    # Seconds of work at most.
    machine = automaton.over_bytes(pattern, max(10_000, 2 * most))
    states = len(machine.table) + 2
    if states > most:
      expected = f"at most {most} with PatternConfig(states={config.states})"
      raise validate.error("pattern", f"{states} states", expected)
    tables = self._vocabulary.tables(machine)
    # After an end token nothing is permitted, as the row ends.
    tables.bits[-2] = 0
    bits = np.unpackbits(tables.bits[0], count=len(self._vocabulary))
    if config.end_token is not None:
      bits[config.end_token] = False
    if not bits.any():
      expected = "one that more than the empty text matches"
      raise validate.error("pattern", pattern, expected)
    return tables

  def _keep(self, name, tables):
    """Caches compiled tables, within as many bytes as the table has."""
    with self._lock:
      self._waiting[name] = tables
      room = self._config.states * row_bytes(len(self._vocabulary))
      while sum(each.nbytes for each in self._waiting.values()) > room:
        self._waiting.popitem(last=False)

  def _placed(self, name, pattern):
    """Allocates a pattern block, evicting blocks that no request uses."""
    tables = self._waiting.get(name)
    if tables is None:
      tables = self._compile(pattern)
      self._keep(name, tables)
    size = self._padded(len(tables.table))
    blocks = self._blocks.copy()
    idle = [each for each, block in blocks.items() if not block.users]
    start = self._gap(blocks, size)
    # Nothing is evicted if there would still be no room.
    while start is None and idle:
      del blocks[idle.pop(0)]
      start = self._gap(blocks, size)
    if start is None:
      return None
    rows = size - len(tables.table)
    table, bits, ends = (
      np.pad(leaf, ((0, rows), *[(0, 0)] * (leaf.ndim - 1))) for leaf in tables
    )
    first = np.int32(start)
    leaves = self.table.table, self.table.bits, self.table.ends
    leaves = _write(leaves, (table + first, bits, ends + first), first)
    changed = dict(zip(("table", "bits", "ends"), leaves, strict=True))
    self.table = dataclasses.replace(self.table, **changed)
    self._blocks = blocks
    self._blocks[name] = _Block(start, size)
    with self._lock:
      self._waiting.pop(name, None)
    return self._blocks[name]

  def _gap(self, blocks, size):
    """Returns the first of that many unused rows."""
    start = _ROWS
    for block in sorted(blocks.values(), key=lambda block: block.start):
      if block.start - start >= size:
        break
      start = block.start + block.size
    return start if start + size <= self._config.states else None

  def _padded(self, count):
    """Rounds a number of rows up, so that there are few sizes."""
    size = max(_ROWS, 1 << (count - 1).bit_length())
    return min(size, self._config.states - _ROWS)


def _name(pattern):
  """Returns a short name of a pattern, which may be long itself."""
  content = (
    pattern
    if isinstance(pattern, bytes)
    else pattern.encode("utf-8", "surrogatepass")
  )
  return hashlib.sha256(bytes([isinstance(pattern, bytes)]) + content).digest()


@functools.partial(jax.jit, donate_argnums=0)
def _write(table, written, start):
  """Writes rows to the table at a place."""
  return jax.tree.map(
    lambda leaf, new: lax.dynamic_update_slice_in_dim(leaf, new, start, 0),
    table,
    written,
  )
