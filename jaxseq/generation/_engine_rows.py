"""Requests on their way through an engine, and the arrays of their rows."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
from typing import NamedTuple

import jax
import numpy as np

from jaxseq.generation import _slots
from jaxseq.generation import token_sampling
from jaxseq.generation.requests import Event
from jaxseq.generation.requests import Request
from jaxseq.generation.requests import Tops

# Tokens with a bias that a request may have.
BIASES = 1024


@dataclasses.dataclass(eq=False)
class Task:
  """A request on its way."""

  number: int
  request: Request
  prompt: np.ndarray  # (time,) int32
  controls: token_sampling.Controls  # Its options as arrays.
  adapter: int = 0  # Number of its adapter, 0 for none.
  digest: bytes = b""  # Of the adapter.
  position: int = 0  # How many tokens of the prompt were read.
  cut: int = 0  # Where reading pauses to keep the state.
  constraint: int = 0  # State of the constraint that its rows begin in.
  passed: int = 0  # Others with patterns that began while it waited for room.

  @property
  def is_extra(self) -> bool:
    """True for what the usual program leaves out."""
    request = self.request
    return bool(request.top_log_probs or request.sampling.logit_bias)

  def seen(self, count: int) -> np.ndarray:
    """Returns the first tokens of the prompt, (1, vocab) bool."""
    flags = np.zeros((1, len(self.controls.stop)), bool)
    prompt = self.prompt[:count]
    # Some tokens are read alone, and never drawn.
    flags[0, prompt[prompt < flags.size]] = True
    return flags


@dataclasses.dataclass(eq=False)
class Row:
  """A continuation in a slot."""

  task: Task
  continuation: int  # Which of the request's.
  placed: bool = False  # Whether it has begun; not while its prompt is read.
  drawn: int = 0  # Number of its tokens.

  def take(
    self,
    tokens: np.ndarray,
    log_probs: np.ndarray,
    matched: bool,
    tops: Tops | None = None,
  ) -> Event:
    """Counts tokens that were drawn, (n,) arrays, n > 0; returns their event.

    The row ends by the last of them, if at all; `matched` says whether its
    pattern does.
    """
    count = self.task.request.top_log_probs
    best = Tops(*(leaf[:, :count] for leaf in tops)) if count and tops else None
    task, reason = self.task, None
    self.drawn += len(tokens)
    if task.controls.stop[tokens[-1]]:
      reason = "stop"
    elif matched:
      reason = "match"
    elif self.drawn == task.request.length:
      reason = "length"
    row = task.number, self.continuation
    return Event(*row, tokens, log_probs, reason, best)


def extras(
  slots: Sequence[Row | None], vocab_size: int
) -> _slots.Extras | None:
  """Returns what rows in slots ask for; None if none asks for anything."""
  if not any(row and row.task.is_extra for row in slots):
    return None
  shape = len(slots), min(BIASES, vocab_size)
  tokens = np.full(shape, vocab_size, np.int32)
  biases = np.zeros(shape, np.float32)
  for i, row in enumerate(slots):
    pairs = row.task.request.sampling.logit_bias if row else ()
    for j, (token, bias) in enumerate(pairs):
      tokens[i, j], biases[i, j] = token, bias
  return _slots.Extras(tokens, biases)


class Chunks(NamedTuple):
  """Tokens that lines read in one call."""

  tokens: np.ndarray  # (lines, chunk) int32
  reset: np.ndarray  # (lines, chunk) bool
  adapter: np.ndarray  # (lines,) int32
  arrivals: list[Row | None]  # Rows whose prompts end with it.
  read: int  # Number of tokens.


def chunks(lines: Sequence[Row | None], chunk: int) -> Chunks:
  """Returns what comes next in lines, and moves their positions there."""
  tokens = np.zeros((len(lines), chunk), np.int32)
  reset = np.zeros((len(lines), chunk), bool)
  adapter = np.zeros(len(lines), np.int32)
  arrivals: list[Row | None] = [None] * len(lines)
  read = 0
  for i, row in enumerate(lines):
    if row is None:
      continue
    task = row.task
    # Only the first chunk of all is not full.
    count = (task.cut - task.position - 1) % chunk + 1
    tokens[i, -count:] = task.prompt[task.position : task.position + count]
    reset[i, -count] = task.position == 0
    adapter[i] = task.adapter
    task.position += count
    read += count
    if task.position == len(task.prompt):
      arrivals[i] = row
  return Chunks(tokens, reset, adapter, arrivals, read)


def arrivals(
  rows: Sequence[Row | None],
  slots: Sequence[Row | None],
  idle: token_sampling.Controls,
  patterns: bool,
) -> _slots.Arrivals:
  """Returns arrays of rows that begin."""
  there = [row.task if row else None for row in rows]
  seen = np.zeros((len(rows), len(idle.stop)), bool)
  for i, task in enumerate(there):
    if task and task.request.sampling.penalizes:
      seen[i] = task.seen(len(task.prompt))[0]

  def numbers(of, dtype=np.int32, default=0):
    return np.array([of(row) if row else default for row in rows], dtype)

  return _slots.Arrivals(
    slot=numbers(slots.index, default=len(slots)),
    seeds=numbers(lambda row: row.task.request.seed % 2**32, np.uint32),
    continuation=numbers(lambda row: row.continuation, np.uint32),
    limit=numbers(lambda row: row.task.request.length),
    controls=jax.tree.map(
      lambda *leaves: np.stack(leaves),
      *[task.controls if task else idle for task in there],
    ),
    seen=seen,
    before=numbers(lambda row: row.task.prompt[-1]),
    adapter=numbers(lambda row: row.task.adapter),
    constraint=numbers(lambda row: row.task.constraint) if patterns else None,
  )


def take(slots: list[Row | None], drawn: _slots.Drawn) -> list[Event]:
  """Returns events of rows; those that have ended leave their slots."""
  events = []
  for slot, row in enumerate(slots):
    if row is None:
      continue
    valid = drawn.valid[:, slot]
    tokens = drawn.tokens[valid, slot]
    if not len(tokens):
      continue
    matched = drawn.ended[valid, slot][-1]
    tops = drawn.tops and Tops(*(leaf[valid, slot] for leaf in drawn.tops))
    event = row.take(tokens, drawn.log_probs[valid, slot], matched, tops)
    if event.reason:
      slots[slot] = None
    events.append(event)
  return events


def all_but(number: int, continuation: int | None) -> Callable[[Row], bool]:
  """Returns what says of a row whether it is not of a request.

  Or, with a continuation, whether it is not that one: what is read of the
  prompt is for the other continuations, too.
  """

  def other(row):
    if row.task.number != number:
      return True
    if continuation is None:
      return False
    begun = row.placed or row.continuation
    return row.continuation != continuation or not begun

  return other
