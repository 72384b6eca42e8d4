"""Admission of requests to an engine whose patterns share a room."""

from collections.abc import Iterable

from jaxseq.generation import pattern_pool
from jaxseq.generation._engine_rows import Task

# Requests with patterns that may overtake one that waits for room.
_PASSES = 16


class Admission:
  """Room for the patterns of active requests, if there is a pool."""

  def __init__(self, pool: pattern_pool.PatternPool | None):
    self.pool = pool
    # Requests whose patterns have places in the pool.
    self._holders: list[Task] = []

  def first(self, queue: Iterable[Task], full: set[str | bytes]) -> Task | None:
    """Returns the first request that need not wait for room, or None.

    A request that waits for room lets others pass, but only a limited number
    with patterns, which also take up room. Patterns without room join `full`.
    """
    ahead: list[Task] = []
    for task in queue:
      pattern = task.request.pattern
      if self.pool is None or pattern is None:
        return task
      if pattern not in full and all(t.passed < _PASSES for t in ahead):
        start = self.pool.take(pattern)
        if start is not None:
          task.constraint = start
          self._holders.append(task)
          for other in ahead:
            other.passed += 1
          return task
        full.add(pattern)
      ahead.append(task)
    return None

  def release(self, live: set[Task]) -> None:
    """Frees the patterns of requests whose rows have all ended."""
    for task in self._holders:
      if self.pool is not None and task not in live:
        self.pool.give_back(task.request.pattern)
    self._holders = [task for task in self._holders if task in live]
