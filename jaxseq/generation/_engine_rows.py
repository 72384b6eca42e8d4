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

# Maximum number of tokens with a bias in a request.
BIASES = 1024


@dataclasses.dataclass(eq=False)
class Task:
  """A request on its way."""

  number: int
  request: Request
  prompt: np.ndarray  # (time,) int32
  controls: token_sampling.Controls  # Its options as arrays.
  adapter: int = 0  # Number of its adapter, 0 for no adapter.
  digest: bytes = b""  # Digest of the adapter.
  position: int = 0  # Number of tokens of the prompt that were read.
  cut: int = 0  # Place at which reading pauses to cache the state.
  constraint: int = 0  # Initial state of its rows' constraint.
  passed: int = 0  # Number of requests with patterns that overtook it.

  @property
  def is_extra(self) -> bool:
    """True for options that the usual program does not support."""
    request = self.request
    return bool(request.top_log_probs or request.sampling.logit_bias)

  def seen(self, count: int) -> np.ndarray:
    """Returns the first tokens of the prompt, (1, vocab) bool."""
    flags = np.zeros((1, len(self.controls.stop)), bool)
    prompt = self.prompt[:count]
    # Some tokens are only read, and never drawn.
    flags[0, prompt[prompt < flags.size]] = True
    return flags


@dataclasses.dataclass(eq=False)
class Row:
  """A continuation in a slot."""

  task: Task
  continuation: int  # Number of the continuation in the request.
  placed: bool = False  # Whether it is in its slot, after its prompt.
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
  """Returns the extra options of rows in slots; None if there are none."""
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
  reset: np.ndarray  # Rows whose prompts end with this chunk.
  adapter: np.ndarray  # (lines,) int32
  arrivals: list[Row | None]  # Rows whose prompts end with it.
  read: int  # Number of tokens.


def chunks(lines: Sequence[Row | None], chunk: int) -> Chunks:
  """Returns the next chunks of lines, and advances their positions."""
  tokens = np.zeros((len(lines), chunk), np.int32)
  reset = np.zeros((len(lines), chunk), bool)
  adapter = np.zeros(len(lines), np.int32)
  arrivals: list[Row | None] = [None] * len(lines)
  read = 0
  for i, row in enumerate(lines):
    if row is None:
      continue
    task = row.task
    # Only the first of a prompt's chunks may be shorter.
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
  """Returns arrays of new rows."""
  tasks = [row.task if row else None for row in rows]
  seen = np.zeros((len(rows), len(idle.stop)), bool)
  for i, task in enumerate(tasks):
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
      *[task.controls if task else idle for task in tasks],
    ),
    seen=seen,
    before=numbers(lambda row: row.task.prompt[-1]),
    adapter=numbers(lambda row: row.task.adapter),
    constraint=numbers(lambda row: row.task.constraint) if patterns else None,
  )


def take(slots: list[Row | None], drawn: _slots.Drawn) -> list[Event]:
  """Returns events of rows; ended ones leave their slots."""
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
  """Returns a predicate of rows that do not belong to a request.

  Or, with a continuation, of rows that are not that one: the prompt is also
  read for the other continuations.
  """

  def other(row):
    if row.task.number != number:
      return True
    if continuation is None:
      return False
    started = row.placed or row.continuation
    return row.continuation != continuation or not started

  return other
