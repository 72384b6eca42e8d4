"""Requests on their way through an engine, and the arrays of their rows."""

from collections.abc import Sequence
import dataclasses

import jax
import numpy as np

from jaxseq.generation import _slots
from jaxseq.generation import token_sampling
from jaxseq.generation.requests import Event
from jaxseq.generation.requests import Request


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
    self, tokens: np.ndarray, log_probs: np.ndarray, matched: bool
  ) -> Event:
    """Counts tokens that were drawn, (n,) arrays, n > 0; returns their event.

    The row ends by the last of them, if at all; `matched` says whether its
    pattern does.
    """
    task, reason = self.task, None
    self.drawn += len(tokens)
    if task.controls.stop[tokens[-1]]:
      reason = "stop"
    elif matched:
      reason = "match"
    elif self.drawn == task.request.length:
      reason = "length"
    return Event(task.number, self.continuation, tokens, log_probs, reason)


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
