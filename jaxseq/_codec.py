"""Dataclasses and modules as JSON, and back: the one codec of all files.

Dataclasses become objects of their fields, tuples lists, and floats that are
not finite objects, as JSON has none: infinity is {"float": "inf"}.
"""

from collections.abc import Collection
import dataclasses
from typing import Any

import numpy as np

from jaxseq import validate

# Fields of Linen modules that say nothing of what they compute.
OF_MODULES = ("parent", "name")
# Options of the devices that a network was on.
OF_DEVICES = ("time_axis", "time_scheme", "kernels")


def encode(value: object, name: str, without: Collection[str] = ()) -> Any:
  """Returns a value as JSON has it.

  Args:
    value: numbers, strings, lists, mappings, dataclasses and Linen modules of
      these.
    name: what it is called in messages.
    without: fields of dataclasses that are left out.

  Raises:
    ValueError: if it holds something else.
  """
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    left_out = (*without, *(OF_MODULES if hasattr(value, "parent") else ()))
    return {
      field.name: encode(getattr(value, field.name), field.name, without)
      for field in dataclasses.fields(value)
      if field.name not in left_out
    }
  if hasattr(value, "items"):
    return {str(k): encode(x, f"{name}.{k}", without) for k, x in value.items()}
  if isinstance(value, (list, tuple)):
    return [encode(x, name, without) for x in value]
  if isinstance(value, np.generic):
    value = value.item()
  if isinstance(value, float) and not np.isfinite(value):
    return {"float": str(value)}
  if value is None or isinstance(value, (bool, int, float, str)):
    return value
  raise validate.error(
    name, value, "numbers, strings, lists and mappings, to be saved"
  )


def decode(value: object) -> Any:
  """Undoes what `encode` does to floats that are not finite.

  Raises:
    ValueError: if one is none.
  """
  if isinstance(value, list):
    return [decode(x) for x in value]
  if not isinstance(value, dict):
    return value
  if set(value) == {"float"}:
    word = validate.choice("float", value["float"], ("inf", "-inf", "nan"))
    return float(word)
  return {k: decode(x) for k, x in value.items()}
