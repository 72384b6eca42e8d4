"""The bodies of requests, in the thread of the clients."""

import json
from typing import Any

from jaxseq.generation import _in_flight


async def read_body(request: Any, most: int) -> Any:
  """Returns the JSON of a request's body.

  Args:
    request: of starlette.
    most: bytes.

  Raises:
    Refused: if it is longer, no JSON in UTF-8, or has halves of characters.
  """
  size, body = 0, []
  async for part in request.stream():
    size += len(part)
    if size > most:
      raise _in_flight.Refused(413, f"body: got more than {most} bytes.")
    body.append(part)
  try:
    fields = json.loads(b"".join(body).decode("utf-8-sig"))
    # JSON may contain half of a surrogate pair, which no answer can encode.
    json.dumps(fields, ensure_ascii=False).encode()
    return fields
  except UnicodeEncodeError:
    wrong = "body: got half of a character, expected whole characters."
  except (ValueError, RecursionError):
    wrong = "body: got no JSON, expected an object."
  raise _in_flight.Refused(400, wrong)
