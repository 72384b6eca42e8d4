"""A server of the completions interface on an engine, by HTTP.

    POST /v1/completions   continues prompts, at once or as server-sent events
    GET  /v1/models        the one model
    GET  /health           whether the engine runs
    GET  /metrics          numbers in the text format of Prometheus

Many clients share one engine: their rows go on together. What has no room is
refused (429), what takes too long is given up (408), and so are what nobody
waits for any more and what a server that ends has no time for (503).
"""

import asyncio
from collections.abc import Sequence
import contextlib
import dataclasses
import json
import math
import signal
import time
from typing import Any
import uuid

from jaxseq import _validate
from jaxseq.data import packages
from jaxseq.generation import completions
from jaxseq.generation import engine_thread
from jaxseq.generation import in_flight
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


def _imported(name):
  """A module of starlette."""
  return packages.imported(f"starlette.{name}", EXTRA, WHY)


def make_app(
  worker: engine_thread.EngineThread,
  codec: texts.Codec,
  config: ServerConfig = ServerConfig(),
) -> Any:
  """Returns the server as an ASGI application.

  Its `state.give_up`, called in the loop that the application runs in, answers
  all requests at once that have no answer yet: with an error.

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

  flights = in_flight.Flights()
  counts = {"requests": 0, "refused": 0, "timeouts": 0, "disconnected": 0}
  seconds = {"count": 0, "sum": 0.0}

  def refusal(error):
    counts["timeouts" if error.status == 408 else "refused"] += 1
    headers = {"Retry-After": "1"} if error.status == 429 else None
    return failure(error.status, str(error), error.code, headers)

  def failure(status, message, code=None, headers=None):
    own = status in (400, 404, 405)
    kind = "invalid_request_error" if own else "server_error"
    return responses.JSONResponse(
      completions.error(message, kind, code), status, headers
    )

  async def read(request):
    size = 0
    parts = []
    async for part in request.stream():
      size += len(part)
      if size > config.body_bytes:
        raise in_flight.Refused(
          413, f"body: got more than {config.body_bytes} bytes."
        )
      parts.append(part)
    try:
      body = json.loads(b"".join(parts))
    except (ValueError, RecursionError):
      raise in_flight.Refused(
        400, "body: got no JSON, expected an object."
      ) from None
    try:
      return completions.parse(
        body, codec, config.limits, config.stop_tokens, config.model
      )
    except completions.UnknownModel as error:
      raise in_flight.Refused(404, str(error), "model_not_found") from error
    except ValueError as error:
      raise in_flight.Refused(400, str(error)) from error

  async def checked(request):
    """Reads a request; compiles patterns, which others need not wait for."""
    completion = await read(request)
    for each in completion.requests:
      if each.pattern is not None:
        try:
          await asyncio.to_thread(worker.engine.check, each)
        except ValueError as error:
          raise in_flight.Refused(400, completions.in_fields(error)) from error
    return completion

  def begin(completion):
    try:
      rows = in_flight.Rows(completion, worker, codec)
    except ValueError as error:
      raise in_flight.Refused(400, completions.in_fields(error)) from error
    except engine_thread.Full:
      message = f"rows: got more than {worker.most}, which is all there is room"
      raise in_flight.Refused(429, f"{message} for; try again later.") from None
    except RuntimeError as error:
      raise in_flight.Refused(503, f"server: {error}.") from error
    flights.add(rows)
    return rows

  async def complete(request):
    start = time.monotonic()
    counts["requests"] += 1
    number = f"cmpl-{uuid.uuid4().hex}"
    try:
      completion = await flights.unless_over(checked(request))
      rows = begin(completion)
    except in_flight.Refused as error:
      return refusal(error)
    if completion.stream:
      return streamed(rows, number, start)
    try:
      return await whole(request, rows, number)
    except in_flight.Refused as error:
      return refusal(error)
    finally:
      end(rows, start)

  def end(rows, start):
    flights.remove(rows)
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

  def streamed(rows, number, start):
    """The answer in pieces, as an application that sends them."""
    response = responses.StreamingResponse(
      events(rows, number), media_type="text/event-stream"
    )

    async def answer(scope, receive, send):
      ended = False

      async def heard(message):
        nonlocal ended
        await send(message)
        if message["type"] == "http.response.body":
          ended = not message.get("more_body", False)

      try:
        await response(scope, receive, heard)
      except asyncio.CancelledError:
        # A client that does not read holds up even the error.
        if not flights.over:
          raise
      finally:
        if not (ended or flights.over):
          counts["disconnected"] += 1
        end(rows, start)

    return answer

  async def events(rows, number):
    """Server-sent events: a piece of the answer each."""
    drawn = 0
    counted = rows.completion.include_usage
    # By the interface all pieces have the field if one has it.
    no_usage = {"usage": None} if counted else {}
    try:
      async for pieces in rows.pieces(config.timeout):
        drawn += len(pieces)
        made = completions.choice(
          rows.index(pieces[0]), pieces, codec, rows.completion.logprobs
        )
        if made["text"] or made["finish_reason"] or made["logprobs"]:
          piece = completions.answer(number, config.model, [made])
          yield sent(piece | no_usage)
      if counted:
        used = completions.usage(rows.completion, drawn)
        yield sent(completions.answer(number, config.model, [], used))
      yield "data: [DONE]\n\n"
    except in_flight.Refused as error:
      refusal(error)
      yield sent(completions.error(str(error), "server_error"))

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

  async def misdirected(request, error):
    if error.status_code == 405:
      allowed = sorted(error.headers["Allow"].split(", "))
      wrong = _validate.error("method", request.method, " or ".join(allowed))
    else:
      paths = ", ".join(repr(route.path) for route in routes)
      wrong = _validate.error("path", request.url.path, f"one of {paths}")
    return failure(error.status_code, str(wrong), headers=error.headers)

  @contextlib.asynccontextmanager
  async def lifespan(app):
    del app
    worker.start()
    try:
      yield
    finally:
      await asyncio.to_thread(worker.stop)

  routes = [
    routing.Route("/v1/completions", complete, methods=["POST"]),
    routing.Route("/v1/models", models),
    routing.Route("/health", health),
    routing.Route("/metrics", metrics),
  ]
  app = applications.Starlette(
    routes=routes,
    lifespan=lifespan,
    exception_handlers={404: misdirected, 405: misdirected},
  )
  app.state.give_up = flights.give_up
  return app


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
  `grace` seconds to their ends; those that have not come to them shortly
  before get an error.

  Args:
    app: from `make_app`.
    host: address to listen at; others than the own machine's are open to all
      who reach it.
    port: to listen at; 0 for one that is free.
    grace: seconds.

  Raises:
    MissingData: if uvicorn is not installed.
  """
  running = make_server(app, host, port, grace)
  # When all is over, uvicorn hands the signal to who listened for it before.
  for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *unused: None)
  running.run()
  if not running.started:
    raise SystemExit(3)


def make_server(
  app: Any, host: str = "127.0.0.1", port: int = 8000, grace: float = 30.0
) -> Any:
  """Returns a server of uvicorn, as `serve` runs it.

  Args:
    app: as in `serve`.
    host: as in `serve`.
    port: as in `serve`.
    grace: as in `serve`.

  Raises:
    MissingData: if uvicorn is not installed.
  """
  uvicorn = packages.imported("uvicorn", EXTRA, WHY)

  class Server(uvicorn.Server):
    """Gives requests up before uvicorn would break them off."""

    async def shutdown(self, sockets=None):
      loop = asyncio.get_running_loop()
      # Time in which the errors get to their clients.
      early = min(1.0, grace / 4)
      timer = loop.call_later(grace - early, app.state.give_up)
      try:
        await super().shutdown(sockets)
      finally:
        timer.cancel()

  return Server(
    uvicorn.Config(
      app,
      host=host,
      port=port,
      log_level="info",
      access_log=False,
      timeout_graceful_shutdown=max(1, math.ceil(grace)),
    )
  )


def stop_tokens(entry: int | Sequence[int] | None) -> tuple[int, ...]:
  """Returns `eos_token_id` of a model's config.json as stop tokens."""
  if entry is None:
    return ()
  return (entry,) if isinstance(entry, int) else tuple(entry)
