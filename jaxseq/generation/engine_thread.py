"""An engine in its own thread, for programs that serve many clients."""

import collections
from collections.abc import Callable
from collections.abc import Sequence
import logging
import threading
from typing import Any

from jaxseq import validate
from jaxseq.generation import engine as engines
from jaxseq.generation._engine_rows import Task
from jaxseq.generation.requests import Event
from jaxseq.generation.requests import Request

# Signals to listeners when the engine has failed, or was stopped.
FAILED = "failed"
STOPPED = "stopped"


class Full(Exception):
  """There is no room for further waiting requests."""


class EngineThread:
  """Runs an engine; requests come from other threads.

  Attributes:
    engine: the engine; while the thread runs, only it may call it.
    most: maximum number of rows at a time, waiting or not.
    failure: the exception that ended the thread; or None.
  """

  def __init__(self, engine: engines.Engine, waiting: int = 256):
    """Returns an engine's thread, which is not running yet.

    Args:
      engine: an engine without requests.
      waiting: maximum number of rows that wait for a slot.
    """
    validate.integer("waiting", waiting, 0)
    self.engine = engine
    self.most = engine.config.slots + waiting
    self.failure: BaseException | None = None
    self._changed = threading.Condition()
    self._stopped = False
    self._new: collections.deque[Task] = collections.deque()
    self._given_up: list[tuple[int, int | None]] = []
    # By the number of a request: the remaining rows, and their listener.
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
    hear: Callable[[list[Event] | str], object],
  ) -> list[int]:
    """Submits requests, all or none.

    Args:
      requests: requests, checked here unless by `Engine.prepare`.
      hear: called in the engine's thread with lists of events of one request;
        or with `FAILED`; or with `STOPPED`, in the thread that stops the
        engine.

    Returns:
      The number of each request.

    Raises:
      ValueError: if a request does not fit the network, or there are more rows
        than can ever fit.
      Full: if there is no room for them at present.
    """
    tasks = [
      each if isinstance(each, Task) else self.engine.prepare(each)
      for each in requests
    ]
    count = sum(task.request.count for task in tasks)
    if count > self.most:
      expected = f"at most {self.most}, the rows that may run or wait"
      raise validate.error("rows", count, expected)
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
    """Cancels a request, or a continuation that has started."""
    with self._changed:
      self._close(number, continuation)
      self._given_up.append((number, continuation))
      self._changed.notify()

  def _close(self, number, continuation):
    """Removes rows."""
    left = self._open.get(number, set())
    left -= left if continuation is None else {continuation}
    if not left:
      self._open.pop(number, None)
      self._hear.pop(number, None)

  def _run(self):
    """Runs the thread."""
    try:
      self._serve()
    # No other thread would see it.
    except BaseException as error:
      logging.exception("The engine has failed.")
      with self._changed:
        self.failure = error
      self._tell(FAILED)

  def _tell(self, word):
    """Removes all rows, and signals the reason to their listeners."""
    with self._changed:
      listeners = list(self._hear.values())
      self._open.clear()
      self._hear.clear()
    for hear in listeners:
      hear(word)

  def _serve(self):
    """Runs the engine while there are requests."""
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
      # While it waits, the thread keeps no reference to a request.
      del new

  def _turn(self, new, given_up):
    """Passes requests and cancellations to the engine, and advances it."""
    for task in new:
      self.engine.submit(task)
    for number, continuation in given_up:
      self.engine.cancel(number, continuation)
    if self.engine.busy:
      self._deliver(self.engine.advance())

  def _deliver(self, events):
    """Passes events to their listeners."""
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
