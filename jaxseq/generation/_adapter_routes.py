"""Routes that load and unload adapters of a running server, like those of vLLM.

POST /v1/load_lora_adapter    {"lora_name": NAME, "lora_path": DIRECTORY}
POST /v1/unload_lora_adapter  {"lora_name": NAME}
"""

import asyncio
from collections.abc import Callable
from typing import Any

from jaxseq import validate
from jaxseq.adapt import batch
from jaxseq.generation import _in_flight
from jaxseq.generation import _json_bodies
from jaxseq.generation import engine as engines


class Changes:
  """The work of both routes."""

  def __init__(
    self,
    engine: engines.Engine,
    model: str,
    read: Callable[[str], batch.Adapters],
    body_bytes: int,
  ):
    """Returns the routes of an engine.

    Args:
      engine: an engine with `adapter_room`.
      model: name of the model, which no adapter may have.
      read: function that reads the adapters of a directory.
      body_bytes: the largest body of a request.
    """
    self._engine = engine
    self._model = model
    self._read = read
    self._body_bytes = body_bytes

  async def load(self, request: Any) -> str:
    """Adds an adapter; returns what has been done.

    Raises:
      Refused: if the request is wrong, or there is no such adapter.
    """
    fields = await self._fields(request, ("lora_name", "lora_path"))
    name, path = fields["lora_name"], fields["lora_path"]
    try:
      if name == self._model:
        raise validate.error("lora_name", name, "another name than the model's")
      await asyncio.to_thread(self._add, name, path)
    except (ValueError, OSError) as error:
      raise _in_flight.Refused(400, _in_fields(error)) from error
    return f"Success: LoRA adapter '{name}' added successfully."

  async def unload(self, request: object) -> str:
    """Lets no new request have an adapter; returns what has been done.

    Raises:
      Refused: if the request is wrong, or there is no such adapter.
    """
    fields = await self._fields(request, ("lora_name",))
    name = fields["lora_name"]
    try:
      self._engine.remove_adapter(name)
    except ValueError as error:
      raise _in_flight.Refused(404, _in_fields(error)) from error
    return f"Success: LoRA adapter '{name}' removed successfully."

  def _add(self, name, path):
    """Reads an adapter, and adds it."""
    self._engine.add_adapter(name, self._read(path))

  async def _fields(self, request, names):
    """The fields of a body, each of them a text."""
    body = await _json_bodies.read_body(request, self._body_bytes)
    try:
      validate.instance("body", body, dict, "a JSON object")
      # Numbers of other servers' interfaces are not used here.
      fields = {k: v for k, v in body.items() if k != "lora_int_id"}
      for name in fields:
        validate.choice("field", name, names)
      for name in names:
        value = fields.get(name)
        if not isinstance(value, str) or not value:
          raise validate.error(name, value, "a text that is not empty")
    except ValueError as error:
      raise _in_flight.Refused(400, str(error)) from error
    return fields


def _in_fields(error):
  """Prefixes a message with the name of the field."""
  message = str(error)
  if message.startswith("adapter:"):
    message = "lora_name" + message.removeprefix("adapter")
  return message
