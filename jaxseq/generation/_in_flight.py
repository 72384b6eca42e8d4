"""Requests of a server without an answer yet, in the thread of the clients."""

import asyncio
from collections.abc import AsyncIterator
from collections.abc import Coroutine
from collections.abc import Sequence
import contextlib
import time
from typing import Any
from typing import TypeVar

from jaxseq.generation import _completions
from jaxseq.generation import engine_thread
from jaxseq.generation import streaming
from jaxseq.generation import texts
from jaxseq.generation._engine_rows import Task

T = TypeVar("T")


class Refused(Exception):
  """A request that gets no completion."""

  def __init__(self, status: int, message: str, code: str | None = None):
    super().__init__(message)
    self.status = status  # Of the answer by HTTP.
    self.code = code  # A code that the interface has for the error, if any.


def _given_up():
  """Returns the error for requests that a stopping server cancels."""
  return Refused(503, "server: got no time for an end before it shuts down.")


class Rows:
  """The rows of one request, as passed to the engine."""

  def __init__(
    self,
    completion: _completions.Completion,
    tasks: Sequence[Task],
    worker: engine_thread.EngineThread,
    codec: texts.Codec,
  ):
    """Raises the errors of `EngineThread.submit`."""
    self.completion = completion
    self.tasks = tasks
    self._worker = worker
    self._given_up = False
    self._events: asyncio.Queue = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def hear(events):
      # The loop may be closed when the server ends.
      with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(self._events.put_nowait, events)

    # The tokenizer may fail with a prompt: then no row has started.
    streams = [
      [
        texts.TextStream(codec, completion.stop, request.prompt)
        for _ in range(request.count)
      ]
      for request in completion.requests
    ]
    numbers = worker.submit(tasks, hear)
    self._row = {number: i for i, number in enumerate(numbers)}
    self._texts = {
      (number, i): stream
      for number, row in zip(numbers, streams)
      for i, stream in enumerate(row)
    }

  def index(self, piece: streaming.Piece) -> int:
    """Number of the answer's choice that a piece belongs to."""
    return piece.row * self.completion.requests[0].count + piece.continuation

  async def pieces(
    self, timeout: float
  ) -> AsyncIterator[list[streaming.Piece]]:
    """Yields pieces, those of one row at a time, until all rows have ended."""
    left = set(self._texts)
    end = time.monotonic() + timeout
    while left:
      try:
        # `wait_for` of Python 3.11 may lose a cancellation.
        async with asyncio.timeout(end - time.monotonic()):
          events = await self._events.get()
      except TimeoutError:
        raise Refused(
          408, f"timeout: got no end in {timeout} seconds."
        ) from None
      if events == engine_thread.FAILED:
        raise Refused(500, "engine: it has failed, see the server's log.")
      if events == engine_thread.STOPPED:
        raise _given_up()
      # Requests before the stop signal are not worth the time.
      if self._given_up:
        raise _given_up()
      for event in events:
        name = event.request, event.continuation
        if name not in left:
          continue
        row = self._row[event.request]
        pieces = streaming.pieces_of(event, row, self._texts[name])
        if pieces[-1].reason:
          left.discard(name)
          if not event.reason:
            self._worker.cancel(*name)
        yield pieces

  def give_up(self) -> None:
    """Lets `pieces` say that the server ends."""
    self._given_up = True
    self._events.put_nowait([])

  def cancel(self) -> None:
    """Cancels the remaining rows."""
    for number in self._row:
      self._worker.cancel(number)


async def disconnect(request: Any) -> None:
  """Returns when the client of a request has gone."""
  while (await request.receive())["type"] != "http.disconnect":
    pass


class Flights:
  """Unanswered requests, until the server cancels them."""

  def __init__(self):
    self._over = asyncio.Event()
    self._rows: set[Rows] = set()

  @property
  def over(self) -> bool:
    """True once they have been canceled."""
    return self._over.is_set()

  def add(self, rows: Rows) -> None:
    """Adds rows, which are notified if they are canceled."""
    self._rows.add(rows)

  def remove(self, rows: Rows) -> None:
    """Ends rows."""
    rows.cancel()
    self._rows.discard(rows)

  def give_up(self) -> None:
    """Cancels all rows, including those that arrive later."""
    self._over.set()
    for rows in self._rows:
      rows.give_up()

  async def unless_over(self, work: Coroutine[object, object, T]) -> T:
    """Returns what a coroutine does, for as long as nothing is given up."""
    done = asyncio.ensure_future(work)
    over = asyncio.ensure_future(self._over.wait())
    try:
      await asyncio.wait({done, over}, return_when="FIRST_COMPLETED")
      if self.over:
        raise _given_up()
      return done.result()
    finally:
      for task in (done, over):
        task.cancel()
      await asyncio.gather(done, over, return_exceptions=True)
