"""Requests on their way through an engine, and the arrays of their rows."""

from collections.abc import Sequence
import dataclasses

import jax
import numpy as np

from jaxseq.generation import _slots
from jaxseq.generation import token_sampling
from jaxseq.generation.requests import Request


@dataclasses.dataclass(eq=False)
class Task:
  """A request on its way.

  Attributes:
    number: of the request; 0 before an engine has taken it.
    request: the request.
    prompt: (time,) int32.
    controls: its options as arrays.
    position: how many tokens of the prompt were read.
    cut: where reading pauses to keep the state.
    constraint: state of the constraint that its rows begin in.
    passed: requests with patterns that have begun while it waited for room.
  """

  number: int
  request: Request
  prompt: np.ndarray
  controls: token_sampling.Controls
  position: int = 0
  cut: int = 0
  constraint: int = 0
  passed: int = 0

  def seen(self, count: int) -> np.ndarray:
    """Returns the first tokens of the prompt, (1, vocab) bool."""
    flags = np.zeros((1, len(self.controls.stop)), bool)
    flags[0, self.prompt[:count]] = True
    return flags


@dataclasses.dataclass(eq=False)
class Row:
  """A continuation in a slot.

  Attributes:
    task: its request.
    continuation: which of the request's.
    placed: whether it has begun; not while its prompt is read.
    drawn: number of its tokens.
  """

  task: Task
  continuation: int
  placed: bool = False
  drawn: int = 0


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

  def numbers(of, dtype):
    return np.array([of(row) if row else 0 for row in rows], dtype)

  return _slots.Arrivals(
    slot=np.array(
      [slots.index(row) if row else len(slots) for row in rows], np.int32
    ),
    seeds=numbers(lambda row: row.task.request.seed % 2**32, np.uint32),
    continuation=numbers(lambda row: row.continuation, np.uint32),
    limit=numbers(lambda row: row.task.request.length, np.int32),
    controls=jax.tree.map(
      lambda *leaves: np.stack(leaves),
      *[task.controls if task else idle for task in there],
    ),
    seen=seen,
    before=numbers(lambda row: row.task.prompt[-1], np.int32),
    constraint=numbers(lambda row: row.task.constraint, np.int32)
    if patterns
    else None,
  )
