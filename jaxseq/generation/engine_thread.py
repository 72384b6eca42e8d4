"""An engine in a thread of its own, for programs that wait on many clients."""

import collections
from collections.abc import Callable
from collections.abc import Sequence
import logging
import threading
from typing import Any

from jaxseq import _validate
from jaxseq.generation import engine as engines
from jaxseq.generation._engine_rows import Task
from jaxseq.generation.requests import Event
from jaxseq.generation.requests import Request

# What listeners get when the engine has failed, or was stopped.
FAILED = "failed"
STOPPED = "stopped"


class Full(Exception):
  """There is no more room for requests that wait."""


class EngineThread:
  """Runs an engine; requests come from other threads.

  Attributes:
    engine: only its thread may call it while that runs.
    most: rows that may be there at a time, waiting or not.
    failure: what has ended the thread; None while all is well.
  """

  def __init__(self, engine: engines.Engine, waiting: int = 256):
    """Returns an engine's thread, which is not running yet.

    Args:
      engine: without requests.
      waiting: the most rows that wait for a slot.
    """
    _validate.integer("waiting", waiting, 0)
    self.engine = engine
    self.most = engine.config.slots + waiting
    self.failure: BaseException | None = None
    self._changed = threading.Condition()
    self._stopped = False
    self._new: collections.deque[Task] = collections.deque()
    self._given_up: list[tuple[int, int | None]] = []
    # By the number of a request: the rows that are left, and who hears of them.
    self._open: dict[int, set[int]] = {}
    self._hear: dict[int, Callable[[list[Event] | str], Any]] = {}
    self._thread = threading.Thread(target=self._run, daemon=True)

  @property
  def rows(self) -> int:
    """Number of rows that have not ended."""
    with self._changed:
      return sum(map(len, self._open.values()))

  def start(self) -> None:
    """Starts the thread."""
    self._thread.start()

  def stop(self) -> None:
    """Ends the thread after the call that runs; rows hear of `STOPPED`."""
    with self._changed:
      self._stopped = True
      self._changed.notify()
    if self._thread.is_alive():
      self._thread.join()
    self._tell(STOPPED)

  def submit(
    self,
    requests: Sequence[Request | Task],
    hear: Callable[[list[Event] | str], Any],
  ) -> list[int]:
    """Takes requests, all or none.

    Args:
      requests: they are checked here, or `Engine.prepare` has done so.
      hear: is called in the engine's thread with lists of events of one
        request; or with `FAILED`; or with `STOPPED`, in the thread that stops
        the engine.

    Returns:
      The number of each request.

    Raises:
      ValueError: if a request does not fit the network, or there is never room
        for so many rows.
      Full: if there is no room for them at present.
    """
    tasks = [
      each if isinstance(each, Task) else self.engine.prepare(each)
      for each in requests
    ]
    count = sum(task.request.count for task in tasks)
    if count > self.most:
      expected = f"at most {self.most}, the rows that may run or wait"
      raise _validate.error("rows", count, expected)
    with self._changed:
      if sum(map(len, self._open.values())) + count > self.most:
        raise Full
      if self._stopped or self.failure is not None:
        raise RuntimeError("the engine has stopped")
      for task in tasks:
        self._open[task.number] = set(range(task.request.count))
        self._hear[task.number] = hear
        self._new.append(task)
      self._changed.notify()
    return [task.number for task in tasks]

  def cancel(self, number: int, continuation: int | None = None) -> None:
    """Gives up a request, or a continuation that has begun."""
    with self._changed:
      self._close(number, continuation)
      self._given_up.append((number, continuation))
      self._changed.notify()

  def _close(self, number, continuation):
    """Forgets rows."""
    left = self._open.get(number, set())
    left -= left if continuation is None else {continuation}
    if not left:
      self._open.pop(number, None)
      self._hear.pop(number, None)

  def _run(self):
    """The thread."""
    try:
      self._serve()
    # Nobody else would hear of it.
    except BaseException as error:
      logging.exception("The engine has failed.")
      with self._changed:
        self.failure = error
      self._tell(FAILED)

  def _tell(self, word):
    """Forgets all rows, and says why to those who wait for them."""
    with self._changed:
      listeners = list(self._hear.values())
      self._open.clear()
      self._hear.clear()
    for hear in listeners:
      hear(word)

  def _serve(self):
    """Lets the engine work for as long as there is something to do."""
    while True:
      with self._changed:
        while not (self._stopped or self._new or self._given_up):
          if self.engine.busy:
            break
          self._changed.wait()
        if self._stopped:
          return
        new, self._new = self._new, collections.deque()
        given_up, self._given_up = self._given_up, []
      self._turn(new, given_up)
      # While it waits, the thread knows no request.
      del new

  def _turn(self, new, given_up):
    """Hands on what clients want, and lets the engine work."""
    for task in new:
      self.engine.submit(task)
    for number, continuation in given_up:
      self.engine.cancel(number, continuation)
    if self.engine.busy:
      self._deliver(self.engine.advance())

  def _deliver(self, events):
    """Hands events to those who wait for them."""
    by_number = collections.defaultdict(list)
    for event in events:
      by_number[event.request].append(event)
    for number, news in by_number.items():
      with self._changed:
        hear = self._hear.get(number)
        for event in news:
          if event.reason:
            self._close(number, event.continuation)
      if hear is not None:
        hear(news)
