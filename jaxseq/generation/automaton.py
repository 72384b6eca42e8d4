r"""Constraints by finite automata: of regular expressions, or of a table.

A pattern becomes a minimal automaton over bytes, and a mask is one row of a
table. Tokens may be of several bytes.

    number = automaton.compile_pattern(r"-?\d{1,3}(\.\d+)?", end_token=10)
    generation.beam_search(..., end_token=10, constraint=number)
"""

import collections
from collections.abc import Sequence
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.generation import _patterns
from jaxseq.generation import _vocabularies


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Automaton:
  """A constraint by a table; its state is a row number, (*batch,) int32.

  Attributes:
    transitions: (states, vocab) int32, the state after each token.
    permitted: (states, vocab) bool, tokens from which the end can be reached.
  """

  transitions: jax.Array
  permitted: jax.Array

  def initial(self, batch_shape: tuple[int, ...] = ()) -> jax.Array:
    """Returns the first state."""
    return jnp.zeros(batch_shape, jnp.int32)

  def allowed(self, state: jax.Array) -> jax.Array:
    """Returns the tokens that may come next, (*batch, vocab) bool."""
    return self.permitted[state]

  def advance(self, state: jax.Array, token: jax.Array) -> jax.Array:
    """Returns the state after a token."""
    return self.transitions[state, token]


def compile_pattern(
  pattern: str | bytes,
  *,
  tokens: Sequence[bytes] | None = None,
  end_token: int | None = None,
  most_states: int = 100_000,
) -> Automaton | _vocabularies.TokenAutomaton:
  r"""Compiles a regular expression, which all tokens together match.

  The syntax is that of `re`: characters, `.`, classes, `\d \w \s` and their
  opposites (of ASCII), groups, `|`, and quantifiers. The whole text matches, as
  by `re.fullmatch`. A pattern of str is of text in UTF-8, so that what it
  permits can always be decoded; one of bytes is of single bytes.

  Args:
    pattern: the regular expression.
    tokens: bytes of each token of the vocabulary; empty ones, as of special
      tokens, are never permitted. If None, the tokens are bytes. States times
      tokens are at most 2**29, which take some seconds.
    end_token: token that ends a text, permitted only if the tokens before it
      match the pattern; after it no other token is. It has no other meaning. If
      None, no token ends a text: then no token is permitted after a match that
      cannot be longer.
    most_states: maximum number of states of the automaton before it is
      minimized; a pattern of a page needs some hundreds. It bounds the time,
      too.

  Raises:
    ValueError: if the pattern cannot be parsed, matches nothing, or needs more
      than `most_states`, or far more work than usual for them; if tokens are
      not bytes.
  """
  machine = over_bytes(pattern, most_states)
  if tokens is None:
    table = machine.table[:, machine.column]
    return _constraint("pattern", table, machine.accepting, end_token)
  vocabulary = _vocabularies.Vocabulary(tokens, end_token)
  found = vocabulary.automaton(vocabulary.tables(machine))
  return _with_tokens("pattern", found)


def over_bytes(
  pattern: str | bytes, most_states: int = 100_000
) -> _vocabularies.Automaton:
  """Returns the automaton of a pattern over bytes, as `compile_pattern`."""
  table, accepting, widths = _table(_patterns.parse(pattern), most_states)
  table, accepting = _minimized(table, accepting)
  column = np.repeat(np.arange(len(widths)), widths)
  return _vocabularies.Automaton(table, accepting, column)


def from_table(
  transitions: np.ndarray,
  accepting: np.ndarray,
  *,
  end_token: int | None = None,
) -> Automaton:
  """Returns a constraint from an automaton's table.

  Args:
    transitions: (states, vocab) integers: the state after each token, or -1 for
      no state. The first state is 0.
    accepting: (states,) bool: states in which a text may end.
    end_token: as in `compile_pattern`; its column is overwritten.

  Raises:
    ValueError: if a shape does not fit, a state is out of range, or no end can
      be reached.
  """
  transitions = np.asarray(transitions)
  states, vocab = validate.shape("transitions", transitions, ("s", "vocab"))
  accepting = np.asarray(accepting, bool)
  validate.shape("accepting", accepting, (states,))
  if transitions.dtype.kind not in "iu":
    got = f"dtype {transitions.dtype}"
    raise validate.error("transitions", got, "integers")
  if transitions.min() < -1 or transitions.max() >= states:
    extent = f"states from {transitions.min()} to {transitions.max()}"
    raise validate.error("transitions", extent, f"-1 to {states - 1}")
  if end_token is not None:
    validate.integer("end_token", end_token, 0, vocab - 1)
  return _constraint("the automaton", transitions, accepting, end_token)


def _constraint(name, transitions, accepting, end_token):
  """Returns the constraint of a table; errors have the name of its source."""
  states, vocab = transitions.shape
  # Two more states: one after the end, and one without a way out.
  end, nowhere = states, states + 1
  table = np.full((states + 2, vocab), nowhere, np.int32)
  table[:states] = np.where(transitions < 0, nowhere, transitions)
  if end_token is not None:
    table[:, end_token] = nowhere
  edges = _vocabularies.edges_of(table)
  live = _vocabularies.live(edges, np.append(accepting, [False, False]))
  if not live[0]:
    why = "" if end_token is None else f" without the end_token {end_token}"
    raise ValueError(f"{name}: no text matches it{why}.")
  permitted = live[table]
  if end_token is not None:
    permitted[:states, end_token] = accepting
    permitted[end, end_token] = True
    table[:states, end_token] = np.where(accepting, end, nowhere)
    table[end, end_token] = end
  return _with_tokens(
    name, Automaton(jnp.asarray(table), jnp.asarray(permitted))
  )


def _with_tokens(name, found):
  """Rejects a constraint that permits no first token."""
  if not np.any(found.allowed(found.initial())):
    raise ValueError(
      f"{name}: only the empty text matches it. Pass an end_token."
    )
  return found


# Maximum average number of pattern parts that one state stands for.
_PARTS = 100


def _table(choices, most):
  """Returns the deterministic table, accepting states, and bytes of columns."""
  cuts = {0, 256}
  for edges in choices.edges:
    for low, high, _ in edges:
      cuts |= {low, high + 1}
  cuts = sorted(cuts)
  place = {cut: i for i, cut in enumerate(cuts)}
  number: dict[frozenset[int], int] = {}
  sets: list[frozenset[int]] = []
  rows: list[list[int]] = []
  parts = 0

  def numbered(states):
    states = _with_free(choices.free, states)
    if states not in number:
      if len(sets) >= most:
        raise ValueError(f"pattern: it takes more than {most} states.")
      number[states] = len(sets)
      sets.append(states)
    return number[states]

  numbered({choices.start})
  while len(rows) < len(sets):
    parts += len(sets[len(rows)])
    if parts > _PARTS * most:
      raise ValueError("pattern: too many of its parts can match at a time.")
    reached: list[set[int]] = [set() for _ in cuts[:-1]]
    for state in sets[len(rows)]:
      for low, high, to in choices.edges[state]:
        for i in range(place[low], place[high + 1]):
          reached[i].add(to)
    rows.append([numbered(subset) if subset else -1 for subset in reached])
  accepting = np.array([choices.end in states for states in sets])
  return np.array(rows, np.int32), accepting, np.diff(cuts)


def _with_free(free, states):
  """Returns all states that are reached without a further byte."""
  result, waiting = set(states), list(states)
  while waiting:
    for state in free[waiting.pop()]:
      if state not in result:
        result.add(state)
        waiting.append(state)
  return frozenset(result)


def _minimized(table, accepting):
  """Merges states that accept the same texts (Hopcroft, 1971)."""
  # A last row for -1, the dead state.
  table = np.vstack([table, np.full(table.shape[1], -1)])
  accepting = np.append(accepting, False)
  group = _groups(np.where(table < 0, len(table) - 1, table), accepting)
  _, first, group = np.unique(group, return_index=True, return_inverse=True)
  # Numbers in the order of first states, so that the start stays 0.
  order = np.argsort(np.argsort(first))
  group, first = order[group], np.sort(first)
  merged = group[table[first]]
  accepting = accepting[first]
  nowhere = group[-1]
  merged = np.where(merged == nowhere, -1, merged)
  if nowhere == len(first) - 1 and nowhere:
    merged, accepting = merged[:-1], accepting[:-1]
  return merged, accepting


def _groups(table, accepting):
  """Returns a number for each state, equal for states that accept the same."""
  columns = range(table.shape[1])
  origins = [_origins(table[:, column]) for column in columns]
  _, group = np.unique(accepting, return_inverse=True)
  members = [
    set(np.flatnonzero(group == number).tolist())
    for number in range(group.max() + 1)
  ]
  group = group.tolist()
  smaller = min(range(len(members)), key=lambda i: len(members[i]))
  waiting = {(smaller, column) for column in columns}
  while waiting:
    splitter, column = waiting.pop()
    # By their group, the states that lead into the splitter.
    leading = collections.defaultdict(set)
    for state in members[splitter]:
      for origin in origins[column].get(state, ()):
        leading[group[origin]].add(origin)
    for old, states in leading.items():
      if len(states) == len(members[old]):
        continue
      new = len(members)
      members[old] -= states
      members.append(states)
      for state in states:
        group[state] = new
      fewer = new if len(states) <= len(members[old]) else old
      for each in columns:
        waiting.add((new if (old, each) in waiting else fewer, each))
  return np.array(group)


def _origins(column):
  """Returns for each state the states that lead to it."""
  origins = collections.defaultdict(list)
  for origin, state in enumerate(column.tolist()):
    origins[state].append(origin)
  return origins
