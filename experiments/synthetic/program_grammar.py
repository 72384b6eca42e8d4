"""Constraint to programs: the grammar of `jaxseq.data.tokens.program_codes`."""

from collections.abc import Sequence
import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.data.tokens import byte_programs
from jaxseq.data.tokens import program_codes as codes


class State(NamedTuple):
  """State of the grammar.

  Attributes:
    place: (*batch,) int32, the place in a line of the next token.
    lines: (*batch,) int32, number of lines so far.
  """

  place: jax.Array
  lines: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Grammar:
  """A constraint: all tokens together are a program, followed by END.

  A line refers to earlier lines only, and there are at most `lines` of them:
  the tokens up to END can be parsed and run. The length of a program has no
  other bound.

  Attributes:
    table: (places, vocab) int32, the place after each token.
    permitted: (places, vocab) bool.
    lines: () int32, maximum number of lines of a program.
  """

  table: jax.Array
  permitted: jax.Array
  lines: jax.Array

  def initial(self, batch_shape: tuple[int, ...] = ()) -> State:
    """Returns the state before a program."""
    zeros = jnp.zeros(batch_shape, jnp.int32)
    return State(zeros, zeros)

  def allowed(self, state: State) -> jax.Array:
    """Returns the tokens that may come next, (*batch, vocab) bool."""
    token = jnp.arange(codes.VOCAB_SIZE)
    line = token - codes.LINE
    lines = state.lines[..., None]
    refers = (line >= 0) & (line < codes.LINES)
    ok = self.permitted[state.place] & (~refers | (line < lines))
    # The first line refers to no line, and the last one is the output.
    some = (lines > 0) | jnp.asarray(_needs_no_line())
    head = (token >= codes.FUNCTION) & (token < codes.PREDICATE)
    return ok & some & ((lines < self.lines) | ~head)

  def advance(self, state: State, token: jax.Array) -> State:
    """Returns the state after a token."""
    place = self.table[state.place, token]
    ended = (place == 0) & (state.place > 0)
    return State(place, state.lines + ended)


@functools.cache
def _needs_no_line():
  """Returns the tokens of programs without lines, (vocab,) bool."""
  free = np.ones(codes.VOCAB_SIZE, bool)
  for token, function in enumerate(
    byte_programs.FUNCTIONS.values(), codes.FUNCTION
  ):
    free[token] = byte_programs.LIST not in function.arguments
  free[codes.OUTPUT] = False
  return free


def grammar(lines: int = codes.LINES) -> Grammar:
  """Returns the constraint.

  Args:
    lines: maximum number of lines of a program.

  Raises:
    ValueError: if they are fewer than one, or more than tokens can name.
  """
  validate.integer("lines", lines, 1, codes.LINES)
  rows: list[dict[int, int]] = [{}]

  def add(kinds: Sequence[int], behind: int | None) -> int:
    """Adds places for arguments; returns the first, or the place after them."""
    first = len(rows)
    for i, kind in enumerate(kinds):
      rows.append({})
      last = i == len(kinds) - 1
      state = len(rows) - 1
      after = behind if last and behind is not None else state + 1
      if kind == byte_programs.VALUES:
        # The first number, and then more or the end; it is the last argument.
        rows.append(dict.fromkeys(range(256), state + 1))
        rows[state] = dict.fromkeys(range(256), state + 1)
        rows[state + 1][codes.LIST_END] = 0
        continue
      tokens = {
        byte_programs.VALUE: range(256),
        byte_programs.STOP: range(256),
        byte_programs.COUNT: range(1, 256),
        byte_programs.PREDICATE: range(codes.PREDICATE, codes.OUTPUT),
        byte_programs.LIST: range(codes.LINE, codes.LINE + codes.LINES),
      }[kind]
      rows[state] = dict.fromkeys(tokens, after)
    return first

  for token, function in enumerate(
    byte_programs.FUNCTIONS.values(), codes.FUNCTION
  ):
    rows[0][token] = add(function.arguments, 0)
  rows[0][codes.OUTPUT] = add((byte_programs.LIST,), None)
  rows.append({codes.END: len(rows)})
  table = np.zeros((len(rows), codes.VOCAB_SIZE), np.int32)
  permitted = np.zeros(table.shape, bool)
  for place, edges in enumerate(rows):
    tokens = list(edges)
    table[place, tokens] = list(edges.values())
    permitted[place, tokens] = True
  arrays = map(jnp.asarray, (table, permitted, np.int32(lines)))
  return Grammar(*arrays)
