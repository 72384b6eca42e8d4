"""A server of the completions interface on an engine, by HTTP.

    POST /v1/completions       continues prompts, at once or in events
    POST /v1/chat/completions  answers chats in the same ways
    POST /v1/load_lora_adapter and
    POST /v1/unload_lora_adapter, if adapters may come and go
    GET  /v1/models            the model, and its adapters
    GET  /health               whether the engine runs
    GET  /metrics              numbers in the text format of Prometheus
    GET  /                     these routes

Many clients share one engine, which draws their rows together. Requests without
room are rejected (429), those that take too long are canceled (408), and so are
those whose clients have left and those that a stopping server cannot finish
(503).
"""

import asyncio
from collections.abc import AsyncIterator
from collections.abc import Callable
from collections.abc import Sequence
import contextlib
import dataclasses
import signal
import time
from typing import Any
import uuid

from jaxseq import validate
from jaxseq.adapt import batch
from jaxseq.data import chats
from jaxseq.data import packages
from jaxseq.generation import _adapter_routes
from jaxseq.generation import _answers
from jaxseq.generation import _api_keys
from jaxseq.generation import _chats
from jaxseq.generation import _completions
from jaxseq.generation import _connections
from jaxseq.generation import _in_flight
from jaxseq.generation import _json_bodies
from jaxseq.generation import _metrics
from jaxseq.generation import engine_thread
from jaxseq.generation import streaming
from jaxseq.generation import texts

Limits = _completions.Limits
read_body = _json_bodies.read_body
EXTRA, WHY = _connections.EXTRA, _connections.WHY
# Maximum number of connections, and seconds for a request to arrive.
CONNECTIONS, REQUEST_TIMEOUT = 512, 60.0


@dataclasses.dataclass(frozen=True)
class ServerConfig:
  """Options of a server.

  Attributes:
    model: name of the model.
    timeout: maximum number of seconds for an answer.
    body_bytes: maximum number of bytes of a request's body.
    limits: bounds of requests: `max_tokens` of a continuation, `prompt_tokens`,
      `rows` of all its prompts together, and `stops`, texts.
    stop_tokens: tokens that end every row.
    api_keys: keys, of which a request must have one, as "Authorization: Bearer
      KEY", except for /health; no key is required if there are none.
  """

  model: str = "jaxseq"
  timeout: float = 600.0
  body_bytes: int = 2**20
  limits: Limits = Limits()
  stop_tokens: tuple[int, ...] = ()
  api_keys: tuple[str, ...] = ()

  def __post_init__(self):
    validate.fields(self, positive=("body_bytes",), above_zero=("timeout",))


def _imported(name):
  """Returns a module of starlette."""
  return packages.imported(f"starlette.{name}", EXTRA, WHY)


def make_app(
  worker: engine_thread.EngineThread,
  codec: texts.Codec,
  config: ServerConfig = ServerConfig(),
  template: chats.Template | None = None,
  read_adapter: Callable[[str], batch.Adapters] | None = None,
) -> Any:
  """Returns the server as an ASGI application.

  Its `state.give_up`, called in the loop that the application runs in, answers
  all pending requests immediately with an error.

  Args:
    worker: thread of the engine; it runs while the application does.
    codec: codec of prompts and answers.
    config: options.
    template: template of chats; None rejects them.
    read_adapter: function that reads the adapters of a directory in a request,
      for an engine with `adapter_room`; None rejects such requests.

  Raises:
    ValueError: if an adapter of the engine has the name of the model.
    MissingData: if starlette is not installed.
  """
  if config.model in worker.engine.adapters:
    expected = "names of adapters beside that of the model"
    raise validate.error("adapters", config.model, expected)
  app = _App(worker, codec, config, template)
  applications, routing = map(_imported, ("applications", "routing"))
  routes = [
    routing.Route("/", app.index),
    routing.Route("/v1/completions", app.complete, methods=["POST"]),
    routing.Route("/v1/chat/completions", app.chat, methods=["POST"]),
    routing.Route("/v1/models", app.models),
    routing.Route("/v1/models/{name}", app.model),
    routing.Route("/health", app.health),
    routing.Route("/metrics", app.metrics),
  ]
  if read_adapter is not None:
    rest = config.model, read_adapter, config.body_bytes
    changes = _adapter_routes.Changes(worker.engine, *rest)
    routes += [
      routing.Route(
        f"/v1/{verb}_lora_adapter", app.changing(change), methods=["POST"]
      )
      for verb, change in (("load", changes.load), ("unload", changes.unload))
    ]
  app.paths = [route.path for route in routes]
  application = applications.Starlette(
    routes=routes,
    lifespan=app.lifespan,
    exception_handlers={404: app.misdirected, 405: app.misdirected},
  )
  if config.api_keys:
    application.add_middleware(_api_keys.Keys, keys=config.api_keys)
  # A redirection would be an answer without a sentence.
  application.router.redirect_slashes = False
  application.state.give_up = app.flights.give_up
  return application


def index(routes: Sequence[Any]) -> dict[str, Any]:
  """Returns the "routes" of an application, as "GET /health"."""
  listed = []
  for route in routes:
    methods = [x for x in sorted(route.methods) if x != "HEAD"]
    listed += [f"{method} {route.path}" for method in methods]
  return {"routes": listed}


class _App:
  """The answers of a server, as `make_app` routes them."""

  def __init__(self, worker, codec, config, template):
    self.worker = worker
    self.codec = codec
    self.config = config
    self._chats = _chats.make_form(template, config.limits.max_tokens)
    # Requests that are not answered yet.
    self.flights = _in_flight.Flights()
    self.numbers = _metrics.Metrics()
    # The routes of answers.
    self.paths: list[str] = []
    self._responses = _imported("responses")
    self._left = _imported("requests").ClientDisconnect

  async def complete(self, request: Any) -> Any:
    """Continues prompts: POST /v1/completions."""
    return await self._answer(request, _chats.COMPLETIONS)

  async def chat(self, request: Any) -> Any:
    """Answers messages: POST /v1/chat/completions."""
    return await self._answer(request, self._chats)

  async def _answer(self, request, form):
    """The answer of a request, in the form of its route."""
    start = time.monotonic()
    self.numbers.requests += 1
    number = f"{form.prefix}-{uuid.uuid4().hex}"
    try:
      read = self._read(request, form)
      rows = self._begun(*await self.flights.unless_over(read))
    except _in_flight.Refused as error:
      return self._refusal(error)
    except self._left:
      return self._gone()
    if rows.completion.stream:
      return self._streamed(rows, number, start, form)
    try:
      return await self._whole(request, rows, number, form)
    except _in_flight.Refused as error:
      return self._refusal(error)
    finally:
      self._end(rows, start)

  def changing(self, change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Returns the answer of a route that changes the adapters."""

    async def answer(request):
      try:
        done = await self.flights.unless_over(change(request))
      except _in_flight.Refused as error:
        return self._refusal(error)
      except self._left:
        return self._gone()
      return self._responses.PlainTextResponse(done)

    return answer

  async def index(self, request: Any) -> Any:
    """Lists the routes: GET /."""
    return self._responses.JSONResponse(index(request.app.routes))

  async def models(self, request: Any) -> Any:
    """Lists the model, and its adapters: GET /v1/models."""
    del request
    entries = {"object": "list", "data": list(map(self._model, self._names()))}
    return self._responses.JSONResponse(entries)

  async def model(self, request: Any) -> Any:
    """Says that a model is there: GET /v1/models/NAME."""
    name = request.path_params["name"]
    if name in self._names():
      return self._responses.JSONResponse(self._model(name))
    names = " or ".join(map(repr, self._names()))
    wrong = validate.error("model", name, names)
    return self._failure(404, str(wrong), "model_not_found")

  async def health(self, request: Any) -> Any:
    """Says whether the engine runs: GET /health."""
    del request
    if self.worker.failure is not None:
      return self._responses.JSONResponse({"status": "failed"}, 503)
    return self._responses.JSONResponse({"status": "ok"})

  async def metrics(self, request: Any) -> Any:
    """Numbers in the text format of Prometheus: GET /metrics."""
    del request
    return self._responses.PlainTextResponse(
      self.numbers.text(self.worker),
      media_type="text/plain; version=0.0.4",
    )

  async def misdirected(self, request: Any, error: Any) -> Any:
    """Answers what goes to no path, or by another method."""
    if error.status_code == 405:
      allowed = sorted(error.headers["Allow"].split(", "))
      wrong = validate.error("method", request.method, " or ".join(allowed))
    else:
      paths = ", ".join(map(repr, self.paths))
      wrong = validate.error("path", request.url.path, f"one of {paths}")
    return self._failure(error.status_code, str(wrong), headers=error.headers)

  @contextlib.asynccontextmanager
  async def lifespan(self, app: Any) -> AsyncIterator[None]:
    """Runs the engine's thread for as long as the application runs."""
    del app
    self.worker.start()
    try:
      yield
    finally:
      await asyncio.to_thread(self.worker.stop)

  def _names(self):
    """Returns the name of the model, and those of its adapters."""
    return self.config.model, *self.worker.engine.adapters

  def _model(self, name):
    """Returns the entry of the model, or of one of its adapters."""
    owner = {"owned_by": "jaxseq", "created": 0}
    entry = {"id": name, "object": "model"} | owner
    base = self.config.model
    return entry if name == base else entry | {"parent": base}

  def _refusal(self, error):
    """Returns the answer to a request without a completion."""
    self.numbers.refuse(error.status)
    headers = {"Retry-After": "1"} if error.status == 429 else None
    return self._failure(error.status, str(error), error.code, headers)

  def _failure(self, status, message, code=None, headers=None):
    """Returns an error answer with a message."""
    fault = status in (400, 404, 405)
    kind = "invalid_request_error" if fault else "server_error"
    return self._responses.JSONResponse(
      _completions.error(message, kind, code), status, headers
    )

  def _gone(self):
    """Returns an answer for a client that has disconnected."""
    self.numbers.disconnected += 1
    return self._responses.Response(status_code=499)

  async def _read(self, request, form):
    """A request of a body, and what the engine has prepared of it."""
    fields = await read_body(request, self.config.body_bytes)
    config, engine = self.config, self.worker.engine
    try:
      # A template of a chat may be slow.
      if form.body:
        fields = await asyncio.to_thread(form.body, fields)
      completion = _completions.parse(
        *(fields, self.codec, config.limits, config.stop_tokens),
        *(config.model, engine.adapters),
      )
      # Other requests do not wait while a pattern is compiled.
      tasks = [
        await asyncio.to_thread(engine.prepare, each)
        if each.pattern is not None
        else engine.prepare(each)
        for each in completion.requests
      ]
    except _completions.UnknownModel as error:
      raise _in_flight.Refused(404, str(error), "model_not_found") from error
    except ValueError as error:
      message = _completions.in_fields(error)
      if message.startswith("prompt:"):
        message = form.prompt + message.removeprefix("prompt")
      raise _in_flight.Refused(400, message) from error
    return completion, tasks

  def _begun(self, completion, tasks):
    """Returns the rows of a request, submitted to the engine."""
    try:
      rows = _in_flight.Rows(completion, tasks, self.worker, self.codec)
    except ValueError as error:
      raise _in_flight.Refused(400, _completions.in_fields(error)) from error
    except engine_thread.Full:
      most = self.worker.most
      message = f"rows: got more than {most}, which is all there is room for"
      raise _in_flight.Refused(429, f"{message}; try again later.") from None
    except RuntimeError as error:
      raise _in_flight.Refused(503, f"server: {error}.") from error
    self.flights.add(rows)
    return rows

  def _end(self, rows, start):
    """Cancels the remaining rows, and counts their time."""
    self.flights.remove(rows)
    self.numbers.take(time.monotonic() - start)

  async def _whole(self, request, rows, number, form):
    """The answer in one piece, unless the client goes away."""
    work = asyncio.ensure_future(self._gathered(rows, form))
    gone = asyncio.ensure_future(_in_flight.disconnect(request))
    try:
      await asyncio.wait({work, gone}, return_when="FIRST_COMPLETED")
      if not work.done():
        return self._gone()
      answer, pieces = work.result()
    finally:
      for task in (work, gone):
        task.cancel()
      await asyncio.gather(work, gone, return_exceptions=True)
    choices = answer.whole(pieces)
    name, used = self._name_of(rows), answer.usage()
    body = _completions.answer(number, name, choices, used, form.whole)
    return self._responses.JSONResponse(body)

  def _name_of(self, rows):
    """Returns the name of the answering model or adapter."""
    return rows.completion.requests[0].adapter or self.config.model

  async def _answer_of(self, rows, form):
    """The answer to rows, with the scores of prompts that it wants."""
    scores, completion = (), rows.completion
    if completion.echo and completion.logprobs:
      score = self.worker.engine.score
      work = asyncio.to_thread(score, rows.tasks)
      scores = await self.flights.unless_over(work)
    return _answers.Answer(completion, self.codec, form, scores)

  async def _gathered(self, rows, form):
    """The answer, and the pieces of each row, when all have ended."""
    answer = await self._answer_of(rows, form)
    gathered: dict[int, list[streaming.Piece]] = {}
    async for pieces in rows.pieces(self.config.timeout):
      gathered.setdefault(rows.index(pieces[0]), []).extend(pieces)
    return answer, gathered

  def _streamed(self, rows, number, start, form):
    """Returns the streamed answer as an application that sends it."""
    response = self._responses.StreamingResponse(
      self._events(rows, number, form), media_type="text/event-stream"
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
        # A client that does not read also blocks the error.
        if not self.flights.over:
          raise
      finally:
        if not (ended or self.flights.over):
          self.numbers.disconnected += 1
        self._end(rows, start)

    return answer

  async def _events(self, rows, number, form):
    """Server-sent events: a piece of the answer each."""
    name = self._name_of(rows)
    counted = rows.completion.include_usage
    # In the interface all chunks have the field if one has it.
    no_usage = {"usage": None} if counted else {}
    try:
      answer = await self._answer_of(rows, form)
      async for pieces in rows.pieces(self.config.timeout):
        choice = answer.piece(rows.index(pieces[0]), pieces)
        if choice is not None:
          body = _completions.answer(number, name, [choice], None, form.piece)
          yield _completions.event(body | no_usage)
      if counted:
        used = answer.usage()
        yield _completions.event(
          _completions.answer(number, name, [], used, form.piece)
        )
      yield "data: [DONE]\n\n"
    except _in_flight.Refused as error:
      self.numbers.refuse(error.status)
      yield _completions.event(_completions.error(str(error), "server_error"))


def serve(
  app: Any,
  host: str = "127.0.0.1",
  port: int = 8000,
  grace: float = 30.0,
  *,
  connections: int = CONNECTIONS,
  request_timeout: float = REQUEST_TIMEOUT,
) -> None:
  """Serves an application until SIGTERM or SIGINT.

  After the signal no connection is accepted, and started answers have `grace`
  seconds to finish; those that have not finished shortly before get an error.

  Args:
    app: from `make_app`.
    host: address to listen at; any but that of the own machine is open to
      everyone who can reach it.
    port: port to listen at; 0 for a free one.
    grace: seconds for started answers to finish.
    connections: maximum number at a time, and at most half of the files that
      the process may open; further ones are rejected with 503.
    request_timeout: seconds in which a request, with its body, has to arrive;
      then its connection is closed.

  Raises:
    MissingData: if uvicorn is not installed.
  """
  running = make_server(
    app,
    host,
    port,
    grace,
    connections=connections,
    request_timeout=request_timeout,
  )
  # At the end, uvicorn passes the signal to the previous handlers.
  for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *unused: None)
  running.run()
  if not running.started:
    raise SystemExit(3)


def make_server(
  app: Any,
  host: str = "127.0.0.1",
  port: int = 8000,
  grace: float = 30.0,
  *,
  connections: int = CONNECTIONS,
  request_timeout: float = REQUEST_TIMEOUT,
) -> Any:
  """Returns a server of uvicorn, as `serve` runs it, with the same errors."""
  return _connections.make_server(
    app, host, port, grace, connections, request_timeout
  )
