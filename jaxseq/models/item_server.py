r"""An HTTP server that recommends items and records the users' events.

    python -m experiments.serve --checkpoint=runs/films/gru
    curl localhost:8000/v1/events -d '{"user": "anna", "item": "Heat"}'
    curl localhost:8000/v1/recommend -d '{"user": "anna", "k": 5}'

    POST /v1/events     one more item of a user: "user", "item" and "time", or
                        the names of these columns in the training's table;
                        without gaps the time may be missing, or null
    POST /v1/recommend  "user", or its column's name, and perhaps "k", "items"
                        that may be recommended, and "repeats"
    GET  /health        whether the server runs
    GET  /              these routes

An event changes the state of its user in constant time; recommendations equal
those of `predict` on the whole history, up to rounding. States are in memory:
send the events again after a restart, or for a user whom the server evicted,
the least recent one beyond its limit.
"""

import asyncio
from collections.abc import Callable
from collections.abc import Mapping
import threading
from typing import Any

from jaxseq import validate
from jaxseq.data import packages
from jaxseq.generation import _completions
from jaxseq.generation import _in_flight
from jaxseq.generation import server
from jaxseq.models import model as trained

_BODY = 2**20
# Largest number of users, and of characters of a name.
USERS, NAME_LENGTH = 2**16, 1024
_ITEMS = 2**16
_FIELDS = ("user", "k", "repeats", "items")


def make_app(
  model: trained.Model,
  body_bytes: int = _BODY,
  *,
  users: int = USERS,
  name_length: int = NAME_LENGTH,
) -> Any:
  """Returns the server as an ASGI application, for `server.serve`.

  Args:
    model: a recommendation model.
    body_bytes: the largest body of a request.
    users: largest number of users; a new one evicts the least recently active
      user.
    name_length: largest number of characters of a name.

  Raises:
    ValueError: if the model cannot answer events.
    MissingData: if starlette is not installed.
  """
  validate.all_positive(
    body_bytes=body_bytes, users=users, name_length=name_length
  )
  if model.parts.stream is None:
    raise validate.error("model", model.kind, "one that answers events")
  names = "applications", "routing", "responses", "requests"
  applications, routing, responses, requests = (
    packages.imported(f"starlette.{name}", server.EXTRA, server.WHY)
    for name in names
  )
  stream, lock = model.parts.stream(model, users), threading.Lock()
  columns = _Columns(model, name_length)

  def failure(status, message):
    error = _completions.error(message, "invalid_request_error")
    return responses.JSONResponse(error, status)

  def route(path, respond):
    async def answer(request):
      try:
        fields = await server.read_body(request, body_bytes)
        validate.instance("body", fields, Mapping, "an object")
        # One request at a time: states are changed in place.
        done = await asyncio.to_thread(_locked, lock, respond, fields)
      except _in_flight.Refused as error:
        return failure(error.status, str(error))
      except requests.ClientDisconnect:
        return responses.Response(status_code=499)
      except (TypeError, ValueError) as error:
        return failure(400, str(error))
      return responses.JSONResponse(done)

    return routing.Route(path, answer, methods=["POST"])

  def take(fields):
    event = columns.event(fields)
    stream.update(event)
    return {"user": event[columns.user]}

  def recommend(fields):
    return _list(stream, _renamed(fields, {columns.user: "user"}))

  async def health(request):
    del request
    return responses.JSONResponse({"status": "ok"})

  async def index(request):
    return responses.JSONResponse(server.index(request.app.routes))

  application = applications.Starlette(
    routes=[
      routing.Route("/", index),
      route("/v1/events", take),
      route("/v1/recommend", recommend),
      routing.Route("/health", health),
    ],
    exception_handlers={
      status: lambda request, error: failure(
        error.status_code, f"{request.method} {request.url.path}: no such route"
      )
      for status in (404, 405)
    },
  )
  application.router.redirect_slashes = False
  # No response takes longer than a recommendation.
  application.state.give_up = lambda: None
  return application


class _Columns:
  """Columns of the training's table, and the requests' names of them."""

  def __init__(self, model, name_length):
    prepared = model.preparation
    self.user, self._time = prepared.user, prepared.time
    self._needed = (prepared.user, prepared.item)
    self._needed += (prepared.time,) if model.network.gaps else ()
    # Documented names, which requests may use instead of column names.
    self._names = {
      name: getattr(prepared, name) for name in ("user", "item", "time")
    }
    self._name_length = name_length

  def event(self, fields):
    """Returns the columns of an event as texts."""
    fields = _renamed(fields, self._names)
    for name in self._needed:
      _require(fields, name)
    # A time is optional if it is not needed; null means no time.
    if self._time not in self._needed and fields.get(self._time) is None:
      fields = {k: x for k, x in fields.items() if k != self._time}
    names = {*self._needed, self._time} & fields.keys()
    for name in names:
      if not isinstance(fields[name], str | int | float):
        raise validate.error(name, fields[name], "a text or a number")
      length = len(str(fields[name]))
      if length > self._name_length:
        expected = f"at most {self._name_length}"
        raise validate.error(f"{name}: characters", length, expected)
    return {name: str(fields[name]) for name in names}


def _renamed(fields, names):
  """Renames fields; fields with a new name already keep it."""
  names = {old: new for old, new in names.items() if old not in names.values()}
  for old, new in names.items():
    if {old, new} <= fields.keys():
      raise validate.error("body", sorted(fields), f"{old!r} or {new!r}")
  return {names.get(name, name): value for name, value in fields.items()}


def _list(stream, fields):
  """Returns the requested list of items."""
  for name in fields:
    validate.choice("field", name, _FIELDS)
  items, repeats = fields.get("items"), fields.get("repeats")
  if items is not None:
    validate.instance("items", items, list, "a list of names")
    items = list(map(str, items))
  if repeats is not None:
    validate.instance("repeats", repeats, bool, "true or false")
  k = validate.integer("k", fields.get("k", 10), 1, _ITEMS)
  _require(fields, "user")
  return stream.recommend(str(fields["user"]), k, repeats=repeats, items=items)


def _require(fields, name):
  """Raises a ValueError if a request lacks a field."""
  if name not in fields:
    raise validate.error("body", sorted(fields), f"{name!r} too: it is missing")


def _locked(lock: threading.Lock, function: Callable, fields: object) -> Any:
  """Calls a function of fields under a lock."""
  with lock:
    return function(fields)
