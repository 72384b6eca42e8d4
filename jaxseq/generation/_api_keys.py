"""Keys that requests of a server have to bring."""

from collections.abc import Sequence
import hmac
from typing import Any

from jaxseq.data import packages
from jaxseq.generation import _completions
from jaxseq.generation._connections import EXTRA
from jaxseq.generation._connections import WHY


class Keys:
  """Refuses requests without a key."""

  def __init__(self, app: Any, keys: Sequence[str]):
    self.app = app
    self.keys = [f"Bearer {key}".encode() for key in keys]

  async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
    """Answers 401, or hands the request on."""
    if scope["type"] == "http" and scope["path"] != "/health":
      said = dict(scope["headers"]).get(b"authorization", b"")
      # All are compared, so that the time does not depend on the key.
      if not sum(hmac.compare_digest(said, key) for key in self.keys):
        message = "Authorization: got no key of this server, expected one."
        body = _completions.error(message, "invalid_request_error")
        answer = packages.imported(
          "starlette.responses", EXTRA, WHY
        ).JSONResponse(body, 401)
        return await answer(scope, receive, send)
    return await self.app(scope, receive, send)
