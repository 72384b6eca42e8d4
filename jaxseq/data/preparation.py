"""Sources by their old name, until no one asks for it."""

from typing import Any

import numpy as np

from jaxseq.data.sources.base import Examples as Examples
from jaxseq.data.sources.registry import KINDS
from jaxseq.data.sources.registry import derive as derive
from jaxseq.data.sources.registry import from_json as from_json


def Preparation(kind: str, **fields: Any) -> Any:
  """Returns the source of a kind."""
  return KINDS.get(kind)(**fields)


def as_numbers(values: Any) -> tuple[float, ...] | None:
  """Returns an array (n,) as the numbers of a field; None as None."""
  if values is None:
    return None
  return tuple(float(value) for value in np.atleast_1d(values))
