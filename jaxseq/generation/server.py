"""A server of the completions interface on an engine, by HTTP.

    POST /v1/completions   continues prompts, at once or as server-sent events
    GET  /v1/models        the one model
    GET  /health           whether the engine runs
    GET  /metrics          numbers in the text format of Prometheus

Many clients share one engine: their rows go on together. What has no room is
refused (429), what takes too long is given up (408), and what nobody waits for
any more is given up, too.
"""

import asyncio
from collections.abc import AsyncIterator
from collections.abc import Sequence
import contextlib
import dataclasses
import json
import signal
import time
from typing import Any
import uuid

from jaxseq import _validate
from jaxseq.data import packages
from jaxseq.generation import completions
from jaxseq.generation import engine_thread
from jaxseq.generation import streaming
from jaxseq.generation import texts

# What to install, and what for.
EXTRA, WHY = "jaxseq[serve]", "the server needs it"


@dataclasses.dataclass(frozen=True)
class ServerConfig:
  """Options of a server.

  Attributes:
    model: its name.
    timeout: seconds that an answer may take.
    body_bytes: the largest body of a request.
    limits: what a request may ask for.
    stop_tokens: tokens that end every row.
  """

  model: str = "jaxseq"
  timeout: float = 600.0
  body_bytes: int = 2**20
  limits: completions.Limits = completions.Limits()
  stop_tokens: tuple[int, ...] = ()

  def __post_init__(self):
    _validate.fields(self, positive=("body_bytes",), above_zero=("timeout",))


class _Refused(Exception):
  """A request that gets no completion."""

  def __init__(self, status: int, message: str):
    super().__init__(message)
    self.status = status


class _Rows:
  """The rows of one request, in the thread of the clients."""

  def __init__(self, completion, worker, codec):
    self.completion = completion
    self._worker = worker
    self._codec = codec
    self._events: asyncio.Queue = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def hear(events):
      # The loop may be closed when the server ends.
      with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(self._events.put_nowait, events)

    self._tickets = worker.submit(completion.requests, hear)
    self._row = {ticket: i for i, ticket in enumerate(self._tickets)}
    self._texts = {
      (ticket, i): texts.TextStream(codec, completion.stop)
      for ticket, request in zip(self._tickets, completion.requests)
      for i in range(request.count)
    }

  def index(self, piece):
    """Which of the answer's choices a piece belongs to."""
    return piece.row * self.completion.requests[0].count + piece.continuation

  async def pieces(
    self, timeout: float
  ) -> AsyncIterator[list[streaming.Piece]]:
    """Yields pieces, those of one row at a time, until all rows have ended."""
    left = set(self._texts)
    end = time.monotonic() + timeout
    while left:
      try:
        remaining = end - time.monotonic()
        events = await asyncio.wait_for(self._events.get(), remaining)
      except TimeoutError:
        raise _Refused(
          408, f"timeout: got no end in {timeout} seconds."
        ) from None
      if events == engine_thread.FAILED:
        raise _Refused(500, "engine: it has failed, see the server's log.")
      for event in events:
        name = event.request, event.continuation
        if name not in left:
          continue
        row = self._row[event.request]
        found = streaming.pieces_of(event, row, self._texts[name])
        if found[-1].reason:
          left.discard(name)
          if not event.reason:
            self._worker.cancel(*name)
        yield found

  def cancel(self):
    """Gives up what is left."""
    for ticket in self._tickets:
      self._worker.cancel(ticket)


def _imported(name):
  """A module of starlette."""
  return packages.imported(f"starlette.{name}", EXTRA, WHY)


def make_app(
  worker: engine_thread.EngineThread,
  codec: texts.Codec,
  config: ServerConfig = ServerConfig(),
) -> Any:
  """Returns the server as an ASGI application.

  Args:
    worker: of the engine; it runs while the application does.
    codec: of prompts and answers.
    config: options.

  Raises:
    MissingData: if starlette is not installed.
  """
  applications, responses, routing = map(
    _imported, ("applications", "responses", "routing")
  )

  counts = {"requests": 0, "refused": 0, "timeouts": 0, "disconnected": 0}
  seconds = {"count": 0, "sum": 0.0}

  def refusal(error):
    counts["timeouts" if error.status == 408 else "refused"] += 1
    kind = "invalid_request_error" if error.status == 400 else "server_error"
    headers = {"Retry-After": "1"} if error.status == 429 else None
    return responses.JSONResponse(
      completions.error(str(error), kind), error.status, headers
    )

  async def read(request):
    size = 0
    parts = []
    async for part in request.stream():
      size += len(part)
      if size > config.body_bytes:
        raise _Refused(413, f"body: got more than {config.body_bytes} bytes.")
      parts.append(part)
    try:
      body = json.loads(b"".join(parts))
    except (ValueError, RecursionError):
      raise _Refused(400, "body: got no JSON, expected an object.") from None
    try:
      return completions.parse(body, codec, config.limits, config.stop_tokens)
    except ValueError as error:
      raise _Refused(400, str(error)) from error

  async def check(completion):
    """Compiles patterns, which others need not wait for."""
    for each in completion.requests:
      if each.pattern is not None:
        try:
          await asyncio.to_thread(worker.engine.check, each)
        except ValueError as error:
          raise _Refused(400, str(error)) from error

  def begin(completion):
    try:
      return _Rows(completion, worker, codec)
    except ValueError as error:
      raise _Refused(400, str(error)) from error
    except engine_thread.Full:
      message = f"rows: got more than {worker.most}, which is all there is room"
      raise _Refused(429, f"{message} for; try again later.") from None
    except RuntimeError as error:
      raise _Refused(503, f"server: {error}.") from error

  async def complete(request):
    start = time.monotonic()
    counts["requests"] += 1
    number = f"cmpl-{uuid.uuid4().hex}"
    try:
      completion = await read(request)
      await check(completion)
      rows = begin(completion)
    except _Refused as error:
      return refusal(error)
    if completion.stream:
      return responses.StreamingResponse(
        events(rows, number, start), media_type="text/event-stream"
      )
    try:
      return await whole(request, rows, number)
    except _Refused as error:
      return refusal(error)
    finally:
      rows.cancel()
      seconds["count"] += 1
      seconds["sum"] += time.monotonic() - start

  async def whole(request, rows, number):
    """The answer in one piece, unless the client goes away."""
    work = asyncio.ensure_future(gathered(rows))
    gone = asyncio.ensure_future(disconnect(request))
    try:
      await asyncio.wait({work, gone}, return_when="FIRST_COMPLETED")
      if not work.done():
        counts["disconnected"] += 1
        return responses.Response(status_code=499)
      found = work.result()
    finally:
      for task in (work, gone):
        task.cancel()
      await asyncio.gather(work, gone, return_exceptions=True)
    choices = [
      completions.choice(i, pieces, codec, rows.completion.logprobs)
      for i, pieces in sorted(found.items())
    ]
    drawn = sum(map(len, found.values()))
    used = completions.usage(rows.completion, drawn)
    return responses.JSONResponse(
      completions.answer(number, config.model, choices, used)
    )

  async def gathered(rows):
    found: dict[int, list[streaming.Piece]] = {}
    async for pieces in rows.pieces(config.timeout):
      found.setdefault(rows.index(pieces[0]), []).extend(pieces)
    return found

  async def events(rows, number, start):
    """Server-sent events: a piece of the answer each."""
    try:
      async for pieces in rows.pieces(config.timeout):
        made = completions.choice(
          rows.index(pieces[0]), pieces, codec, rows.completion.logprobs
        )
        if made["text"] or made["finish_reason"] or made["logprobs"]:
          yield sent(completions.answer(number, config.model, [made]))
      yield "data: [DONE]\n\n"
    except _Refused as error:
      refusal(error)
      yield sent(completions.error(str(error), "server_error"))
    finally:
      rows.cancel()
      seconds["count"] += 1
      seconds["sum"] += time.monotonic() - start

  async def models(request):
    del request
    entry = {"id": config.model, "object": "model", "owned_by": "jaxseq"}
    return responses.JSONResponse(
      {"object": "list", "data": [entry | {"created": 0}]}
    )

  async def health(request):
    del request
    if worker.failure is not None:
      return responses.JSONResponse({"status": "failed"}, 503)
    return responses.JSONResponse({"status": "ok"})

  async def metrics(request):
    del request
    engine = worker.engine
    lines = [
      *(f"jaxseq_{name}_total {count}" for name, count in counts.items()),
      f"jaxseq_request_seconds_sum {seconds['sum']}",
      f"jaxseq_request_seconds_count {seconds['count']}",
      f"jaxseq_generated_tokens_total {engine.drawn}",
      f"jaxseq_prompt_tokens_total {engine.read}",
      f"jaxseq_rows {worker.rows}",
      f"jaxseq_rows_limit {worker.most}",
    ]
    if engine.cache is not None:
      lines += [
        f"jaxseq_prefix_hits_total {engine.cache.hits}",
        f"jaxseq_prefix_misses_total {engine.cache.misses}",
        f"jaxseq_prefix_bytes {engine.cache.nbytes}",
      ]
    return responses.PlainTextResponse(
      "\n".join(lines) + "\n", media_type="text/plain; version=0.0.4"
    )

  @contextlib.asynccontextmanager
  async def lifespan(app):
    del app
    worker.start()
    try:
      yield
    finally:
      await asyncio.to_thread(worker.stop)

  return applications.Starlette(
    routes=[
      routing.Route("/v1/completions", complete, methods=["POST"]),
      routing.Route("/v1/models", models),
      routing.Route("/health", health),
      routing.Route("/metrics", metrics),
    ],
    lifespan=lifespan,
  )


async def disconnect(request: Any) -> None:
  """Returns when the client of a request has gone."""
  while (await request.receive())["type"] != "http.disconnect":
    pass


def sent(value: Any) -> str:
  """Returns a value as a server-sent event."""
  return f"data: {json.dumps(value)}\n\n"


def serve(
  app: Any, host: str = "127.0.0.1", port: int = 8000, grace: float = 30.0
) -> None:
  """Serves an application until SIGTERM or SIGINT.

  Then no connection is taken any more, and answers that have begun are given
  `grace` seconds to their ends.

  Args:
    app: from `make_app`.
    host: address to listen at; others than the own machine's are open to all
      who reach it.
    port: to listen at; 0 for one that is free.
    grace: seconds.

  Raises:
    MissingData: if uvicorn is not installed.
  """
  uvicorn = packages.imported("uvicorn", EXTRA, WHY)

  # When all is over, uvicorn hands the signal to who listened for it before.
  for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *unused: None)
  uvicorn.run(
    app,
    host=host,
    port=port,
    log_level="info",
    access_log=False,
    timeout_graceful_shutdown=max(1, round(grace)),
  )


def stop_tokens(entry: int | Sequence[int] | None) -> tuple[int, ...]:
  """Returns `eos_token_id` of a model's config.json as stop tokens."""
  if entry is None:
    return ()
  return (entry,) if isinstance(entry, int) else tuple(entry)
