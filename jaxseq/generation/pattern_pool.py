"""Patterns of single requests: their tables in one array of an engine.

Each request may bring a regular expression of its own. The compiled program
sees one table whose shape never changes: a pattern takes some rows of it while
a request needs them, and its rows of text begin in the first of these.
"""

import collections
from collections.abc import Sequence
import dataclasses
import functools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import _validate
from jaxseq.generation import automaton

# Tables have this many rows or a power of two times as many, so that few
# programs write them.
_ROWS = 16
# Patterns that are compiled already, for clients that send the same again.
_KNOWN = 64


@dataclasses.dataclass(frozen=True)
class PatternConfig:
  """Room for the patterns of requests.

  Attributes:
    states: rows of the table, 5 bytes each for each token of the vocabulary; a
      pattern takes as many as its automaton has states.
    tokens: bytes of each token, see `automaton.compile_pattern`; None if tokens
      are bytes.
    end_token: token that ends a text; None if nothing but a whole match does
      that cannot be longer.
  """

  states: int = 4096
  tokens: Sequence[bytes] | None = None
  end_token: int | None = None

  def __post_init__(self):
    _validate.integer("states", self.states, 2 * _ROWS)


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
      vocab_size: of the network.
      config: its room.

    Raises:
      ValueError: if the config's tokens are not those of the vocabulary.
    """
    tokens = 256 if config.tokens is None else len(config.tokens)
    if tokens != vocab_size:
      got = f"{tokens}{' (bytes)' if config.tokens is None else ''}"
      expected = f"{vocab_size}, an entry for each token of the network"
      raise _validate.error("tokens", got, expected)
    if config.end_token is not None:
      _validate.integer("end_token", config.end_token, 0, vocab_size - 1)
    shape = config.states, vocab_size
    self.table = automaton.Automaton(
      jnp.zeros(shape, jnp.int32), jnp.zeros(shape, bool).at[0].set(True)
    )
    self._config = config
    # By the pattern, those that were used last behind the others.
    self._blocks: collections.OrderedDict[str | bytes, _Block]
    self._blocks = collections.OrderedDict()
    self._compiled = functools.lru_cache(_KNOWN)(self._compile)

  def check(self, pattern: str | bytes) -> None:
    """Checks that a pattern can be used; from any thread.

    Raises:
      ValueError: if it cannot be parsed, needs more rows than there are, or
        matches no text that has a token.
    """
    self._compiled(pattern)

  def take(self, pattern: str | bytes) -> int | None:
    """Gives a pattern rows, which stay until it is given back as often.

    Returns:
      The state that its texts begin in; None if there is no room at present.
    """
    block = self._blocks.get(pattern) or self._placed(pattern)
    if block is None:
      return None
    block.users += 1
    self._blocks.move_to_end(pattern)
    return block.start

  def give_back(self, pattern: str | bytes) -> None:
    """Says that a request does not need its pattern any more."""
    self._blocks[pattern].users -= 1

  def _compile(self, pattern):
    """The table of a pattern, (transitions, permitted)."""
    config = self._config
    most = config.states - _ROWS
    made = automaton.compile_pattern(
      pattern,
      tokens=config.tokens,
      end_token=config.end_token,
      # Seconds of work at most.
      most_states=max(10_000, 2 * most),
    )
    transitions, permitted = map(np.array, (made.transitions, made.permitted))
    if _padded(len(transitions)) > most:
      got = f"{len(transitions)} states"
      expected = f"at most {most} with PatternConfig(states={config.states})"
      raise _validate.error("pattern", got, expected)
    beginnings = permitted[0]
    if config.end_token is not None:
      beginnings = np.delete(beginnings, config.end_token)
      # A row ends where nothing is permitted.
      ends = permitted[:, config.end_token]
      permitted[transitions[ends, config.end_token]] = False
    if not beginnings.any():
      expected = "one that more than the empty text matches"
      raise _validate.error("pattern", pattern, expected)
    return transitions, permitted

  def _placed(self, pattern):
    """A block for a pattern, in the place of others that nobody uses."""
    transitions, permitted = self._compiled(pattern)
    size = _padded(len(transitions))
    start = self._gap(size)
    while start is None:
      idle = (name for name, block in self._blocks.items() if not block.users)
      oldest = next(idle, None)
      if oldest is None:
        return None
      del self._blocks[oldest]
      start = self._gap(size)
    rows = ((0, size - len(transitions)), (0, 0))
    written = automaton.Automaton(
      np.pad(transitions, rows) + np.int32(start), np.pad(permitted, rows)
    )
    self.table = _write(self.table, written, np.int32(start))
    self._blocks[pattern] = _Block(start, size)
    return self._blocks[pattern]

  def _gap(self, size):
    """The first row of that many which belong to nothing."""
    start = _ROWS
    for block in sorted(self._blocks.values(), key=lambda block: block.start):
      if block.start - start >= size:
        break
      start = block.start + block.size
    return start if start + size <= self._config.states else None


def _padded(count):
  """Rows that a table of so many takes."""
  return max(_ROWS, 1 << (count - 1).bit_length())


@functools.partial(jax.jit, donate_argnums=0)
def _write(table, written, start):
  """The table with others' rows at a place."""
  return jax.tree.map(
    lambda leaf, new: lax.dynamic_update_slice_in_dim(leaf, new, start, 0),
    table,
    written,
  )
