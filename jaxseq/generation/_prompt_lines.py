"""Lines of an engine, in which prompts are read."""

from typing import Any

import numpy as np

from jaxseq.generation import _slots
from jaxseq.generation._engine_rows import Row
from jaxseq.generation._engine_rows import Task


def begin(engine: Any, number: int, slot: int, task: Task) -> None:
  """Reserves a prompt-reading line and an output slot for a request."""
  row = Row(task, 0)
  task.cut = len(task.prompt)
  engine._rows[slot] = row
  engine._lines[number] = row
  entry = engine._start and (0, engine._start)
  if engine.cache is not None:
    entry = engine.cache.get(task.prompt, task.digest) or entry
    position = entry[0] if entry else 0
    shared = engine.cache.shared(task.prompt, task.digest)
    if position < shared < len(task.prompt):
      task.cut = shared
  if entry:
    _resume(engine, number, slot, *entry)


def _resume(engine, number, slot, position, prefix):
  """Resumes after a prefix; reads tokens that fill no chunk in powers of 2."""
  row = engine._lines[number]
  task, chunk = row.task, engine.config.chunk
  count = (task.cut - position) % chunk
  while count:
    size = 1 << (count.bit_length() - 1)
    tokens = task.prompt[position : position + size]
    position, count = position + size, count - size
    engine.read += size
    rest = tokens, task.seen(position), np.int32(task.adapter)
    prefix = _slots.read_on(engine._reader, engine._variables, prefix, *rest)
  task.position = position
  if position == len(task.prompt):
    engine._lines[number] = None
    _keep(engine, task, prefix)
    engine._place(slot, row, prefix)
    _others(engine, task, prefix)
  elif position == task.cut:
    _pause(engine, number, slot, prefix)
  else:
    engine._reading = _slots.put_line(engine._reading, np.int32(number), prefix)


def _pause(engine, number, slot, prefix):
  """Caches the state at the cut, and resumes up to the prompt's end."""
  task = engine._lines[number].task
  _keep(engine, task, prefix)
  task.cut = len(task.prompt)
  _resume(engine, number, slot, task.position, prefix)


def _keep(engine, task, prefix):
  """Caches the state of the tokens of a prompt that were read."""
  if engine.cache is not None:
    engine.cache.put(task.prompt[: task.position], prefix, task.digest)


def _others(engine, task, prefix):
  """Queues the other continuations for slots."""
  for i in range(1, task.request.count):
    engine._ready.append((Row(task, i), prefix))


def after_reading(engine: Any) -> None:
  """Frees lines whose prompts are read, and caches their prefix states."""
  for i, row in enumerate(engine._lines):
    if row is None or row.task.position < row.task.cut:
      continue
    task = row.task
    whole = task.position == len(task.prompt)
    if engine.cache is not None or task.request.count > 1:
      seen = task.seen(task.position)
      prefix = _slots.line(engine._reading, np.int32(i), seen)
      if not whole:
        _pause(engine, i, engine._rows.index(row), prefix)
        continue
      _keep(engine, task, prefix)
      _others(engine, task, prefix)
    row.placed = True
    engine._lines[i] = None
