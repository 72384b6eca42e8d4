"""Automata over bytes that read the tokens of a vocabulary.

A table of all states and tokens of a real vocabulary would take gigabytes.
Instead there are a table over bytes, which follows a drawn token, and a bit for
each state and token, whether it is permitted. The bits are computed on the
host, along the trie of all tokens, with bytes that a pattern treats alike
merged.
"""

from collections.abc import Sequence
import dataclasses
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate

# Maximum of states times tokens: some seconds of work, and an eighth of it
# bytes.
MOST_PAIRS = 2**29
# Number of pairs that are processed together, and maximum number of steps.
_CHUNK, _EDGES = 2**22, 2**25


class Automaton(NamedTuple):
  """An automaton over bytes, whose first state is 0."""

  # (states, columns) int32, the state after a byte of each column, or -1.
  table: np.ndarray
  accepting: np.ndarray  # (states,) bool, states in which a text may end.
  column: np.ndarray  # (256,) the column of each byte.


class Tables(NamedTuple):
  """An automaton over bytes and the tokens that it permits, as host arrays.

  The last two states are that after an end token, and a dead state without a
  way out.
  """

  table: np.ndarray  # (states, 256) int32, the state after each byte.
  # (states, ceil(vocab / 8)) uint8, tokens from which the end can be reached,
  # the first one in the highest bit.
  bits: np.ndarray
  ends: np.ndarray  # (states,) int32, the state after an end token.

  @property
  def nbytes(self) -> int:
    """Bytes of the arrays."""
    return sum(leaf.nbytes for leaf in self)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TokenAutomaton:
  """A constraint of `Tables`; its state is a row of them, (*batch,) int32."""

  table: jax.Array
  bits: jax.Array
  ends: jax.Array
  content: jax.Array  # The bytes of all tokens, one after the other, uint8.
  starts: jax.Array  # (vocab + 1,) int32, the first byte of each.
  end_token: int | None = dataclasses.field(metadata={"static": True})

  def initial(self, batch_shape: tuple[int, ...] = ()) -> jax.Array:
    """Returns the first state."""
    return jnp.zeros(batch_shape, jnp.int32)

  def allowed(self, state: jax.Array) -> jax.Array:
    """Returns the tokens that may come next, (*batch, vocab) bool."""
    count = self.starts.shape[0] - 1
    bits = jnp.unpackbits(self.bits[state], axis=-1, count=count)
    return bits.astype(bool)

  def advance(self, state: jax.Array, token: jax.Array) -> jax.Array:
    """Returns the state after a token."""
    start, stop = self.starts[token], self.starts[token + 1]

    def read(i, at):
      after = self.table[at, self.content[start + i]]
      return jnp.where(start + i < stop, after, at)

    state = jnp.asarray(state)
    after = lax.fori_loop(0, jnp.max(stop - start), read, state)
    if self.end_token is None:
      return after
    return jnp.where(token == self.end_token, self.ends[state], after)


class Vocabulary:
  """Tokens as bytes, with the trie of all of them.

  One of 150,000 takes a second. Empty tokens are never permitted, and the end
  token ends a text whatever its bytes.
  """

  def __init__(self, tokens: Sequence[bytes], end_token: int | None = None):
    for i, token in enumerate(tokens):
      validate.instance(f"tokens[{i}]", token, bytes, "bytes")
    validate.positive("number of tokens", len(tokens))
    if end_token is not None:
      validate.integer("end_token", end_token, 0, len(tokens) - 1)
    self.end_token = end_token
    lengths = [len(token) for token in tokens]
    self.starts = np.cumsum([0, *lengths], dtype=np.int32)
    self.content = np.frombuffer(b"".join(tokens) or b"\0", np.uint8)
    # For each node except the root: its parent, and the byte between them.
    nodes: dict[int, int] = {}
    self._ends = np.zeros(len(tokens), np.int32)
    for i, token in enumerate(tokens):
      node = 0
      for byte in token:
        node = nodes.setdefault(node * 256 + byte, len(nodes) + 1)
      self._ends[i] = node
    ways = np.fromiter(nodes, np.int64, len(nodes))
    above = ways // 256
    depth = np.zeros(len(nodes) + 1, np.int32)
    for node, parent in enumerate(above.tolist(), 1):
      depth[node] = depth[parent] + 1
    order = np.argsort(depth, kind="stable")[1:]
    cuts = np.searchsorted(depth[order], np.arange(2, depth.max() + 1))
    # Level by level: nodes, their parents, and the bytes.
    self._levels = [
      (level, above[level - 1], ways[level - 1] % 256)
      for level in np.split(order, cuts)
    ]
    self._some = np.diff(self.starts) > 0
    if end_token is not None:
      self._some[end_token] = False

  def __len__(self) -> int:
    return len(self._ends)

  def tables(self, automaton: Automaton) -> Tables:
    """Returns the tables of the tokens that an automaton over bytes permits."""
    states, most = len(automaton.table) + 2, MOST_PAIRS // len(self)
    if states > most:
      expected = f"at most {most} with {len(self)} tokens"
      raise validate.error("pattern", f"{states} states", expected)
    end, nowhere = states - 2, states - 1
    table = np.pad(automaton.table, ((0, 2), (0, 0)), constant_values=-1)
    table = np.where(table < 0, nowhere, table).astype(np.int32)
    accepting = np.append(automaton.accepting, [False, False])
    trie = self._joined(automaton.column)
    live = self._live(table, accepting, automaton.column, trie)
    if not live[0]:
      raise ValueError("pattern: no text of the tokens matches it.")
    bits = np.zeros((states, -(-len(self) // 8)), np.uint8)
    for some, after in self._after(table, np.arange(end), trie):
      permitted = live[after][trie.ends] & self._some[:, None]
      if self.end_token is not None:
        permitted[self.end_token] = accepting[some]
      bits[some] = np.packbits(permitted, axis=0).T
    ends = np.full(states, nowhere, np.int32)
    if self.end_token is not None:
      ends[accepting] = ends[end] = end
      bits[end, self.end_token // 8] = 128 >> self.end_token % 8
    return Tables(table[:, automaton.column], bits, ends)

  def automaton(self, tables: Tables) -> TokenAutomaton:
    """Returns the constraint of some tables, on the device."""
    arrays = map(jnp.asarray, (*tables, self.content, self.starts))
    return TokenAutomaton(*arrays, self.end_token)

  def _joined(self, column):
    """Returns the trie with bytes of the same column merged."""
    names = np.zeros(sum(len(level) for level, _, _ in self._levels) + 1, int)
    levels, count = [], 1
    for level, above, byte in self._levels:
      ways = names[above] * 256 + column[byte]
      distinct, numbers = np.unique(ways, return_inverse=True)
      names[level] = count + numbers
      levels.append((distinct // 256, distinct[:, None] % 256))
      count += len(distinct)
    return _Trie(levels, count, names[self._ends])

  def _after(self, table, states, trie):
    """Yields some of the states, and those (nodes, some) after them."""
    size = max(1, _CHUNK // max(len(self), trie.size))
    for first in range(0, len(states), size):
      some = states[first : first + size]
      after = [some[None].astype(np.int32)]
      begins, count = [0], 1
      for above, column in trie.levels:
        before = after[-1][above - begins[-1]]
        after.append(table[before, column])
        begins.append(count)
        count += len(above)
      yield some, np.concatenate(after)

  def _live(self, table, accepting, column, trie):
    """Returns the states that reach an accepting one, token by token."""
    single = self._some & (np.diff(self.starts) == 1)
    columns = np.unique(column[self.content[self.starts[:-1][single]]])
    by_bytes = live(edges_of(table), accepting)
    by_single = live(edges_of(table[:, columns]), accepting)
    if np.array_equal(by_bytes, by_single):
      return by_single
    words = np.unique(trie.ends[self._some])
    origins, reached, count = [], [], 0
    for some, after in self._after(table, np.flatnonzero(by_bytes), trie):
      ways = np.zeros((len(some), len(table)), bool)
      ways[np.arange(len(some)), after[words]] = True
      origin, to = np.nonzero(ways & by_bytes)
      origins.append(some[origin])
      reached.append(to)
      count += len(to)
      if count > _EDGES:
        raise ValueError("pattern: too many of its parts can match at a time.")
    edges = np.concatenate(origins), np.concatenate(reached)
    return live(edges, accepting)


class _Trie(NamedTuple):
  """Nodes level by level, the root first."""

  # For each level the nodes' parents, and the columns between them.
  levels: list[tuple[np.ndarray, np.ndarray]]
  size: int  # Number of nodes.
  ends: np.ndarray  # (vocab,) the node of each token.


def live(
  edges: tuple[np.ndarray, np.ndarray], accepting: np.ndarray
) -> np.ndarray:
  """Returns the states from which edges lead to an accepting one."""
  origins, to = edges
  order = np.argsort(to, kind="stable")
  starts = np.searchsorted(to[order], np.arange(len(accepting) + 1))
  origins = origins[order]
  flags = accepting.copy()
  waiting = np.flatnonzero(flags).tolist()
  while waiting:
    state = waiting.pop()
    for origin in origins[starts[state] : starts[state + 1]].tolist():
      if not flags[origin]:
        flags[origin] = True
        waiting.append(origin)
  return flags


def edges_of(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the edges of a table for `live`; equal ones count once."""
  ordered = np.sort(table, axis=1)
  first = np.ones(table.shape, bool)
  first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
  origins = np.nonzero(first)[0]
  return origins, ordered[first]
