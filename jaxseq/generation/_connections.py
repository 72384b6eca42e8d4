"""Connections of a server, with bounds on their number and their time.

A client that sends nothing, or half of a request, holds a connection and a file
descriptor. Its connection is closed after a time, and connections beyond a
maximum number are rejected.
"""

import asyncio
import math
import time
from typing import Any

from jaxseq import validate
from jaxseq.data import packages

# The package to install, and its purpose.
EXTRA, WHY = "jaxseq[serve]", "the server needs it"
_REFUSAL = (
  b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
  b"Retry-After: 1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
)
_FULL = (
  b'{"error": {"message": "connections: got as many as there is room for; try '
  b'again later.", "type": "server_error"}}'
)
# Seconds between checks of a stopping server for new connections.
_PAUSE = 0.1


def make_server(
  app: Any,
  host: str,
  port: int,
  grace: float,
  connections: int,
  request_timeout: float,
) -> Any:
  """Returns a server of uvicorn, see `server.serve`."""
  validate.positive("connections", connections)
  validate.above_zero("request_timeout", request_timeout)
  uvicorn = packages.imported("uvicorn", EXTRA, WHY)

  class Server(uvicorn.Server):
    """Cancels requests before uvicorn would abort them."""

    async def shutdown(self, sockets=None):
      loop = asyncio.get_running_loop()
      # Time for the errors to reach their clients.
      early = min(1.0, grace / 4)
      timer = loop.call_later(grace - early, app.state.give_up)
      try:
        await _arrived(self.server_state.connections, early)
        await super().shutdown(sockets)
      finally:
        timer.cancel()

  return Server(
    uvicorn.Config(
      app,
      host=host,
      port=port,
      http=_protocol(_most(connections), request_timeout),
      ws="none",
      log_level="info",
      access_log=False,
      timeout_graceful_shutdown=max(1, math.ceil(grace)),
    )
  )


async def _arrived(connections, seconds):
  """Waits for connections that were made before, and their requests."""
  before, end = None, time.monotonic() + seconds
  while time.monotonic() < end:
    silent = any(each.cycle is None for each in connections)
    if before == len(connections) and not silent:
      return
    before = len(connections)
    await asyncio.sleep(_PAUSE)


def _most(connections):
  """Returns a number of connections that leaves half of the open files."""
  try:
    import resource
  except ImportError:  # Windows has no such limit.
    return connections
  files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
  if files == resource.RLIM_INFINITY:
    return connections
  return min(connections, max(1, files // 2))


def _protocol(most, seconds):
  """Returns uvicorn's protocol of HTTP, with bounds."""
  auto = packages.imported("uvicorn.protocols.http.auto", EXTRA, WHY)

  class Protocol(auto.AutoHTTPProtocol):
    """A connection that closes unless its request arrives in time."""

    timer = None

    def connection_made(self, transport):
      super().connection_made(transport)
      self._wait()
      if len(self.connections) > most:
        transport.write(_REFUSAL % (len(_FULL), _FULL))
        transport.close()

    def data_received(self, data):
      super().data_received(data)
      self._check()

    def on_response_complete(self):
      self._wait()
      super().on_response_complete()
      # The next request may have arrived already.
      self._check()

    def connection_lost(self, exc):
      self._cancel()
      super().connection_lost(exc)

    def _wait(self):
      """Starts the timer of a request."""
      self._cancel()
      self.timer = self.loop.call_later(seconds, self._end)

    def _check(self):
      """Stops the timer once a request has arrived with its body."""
      cycle = self.cycle
      if cycle and not cycle.response_complete and not cycle.more_body:
        self._cancel()

    def _cancel(self):
      if self.timer is not None:
        self.timer.cancel()
        self.timer = None

    def _end(self):
      """Closes a connection; aborts it if its answer is not read."""
      self.transport.close()
      self.timer = self.loop.call_later(seconds, self.transport.abort)

  return Protocol
