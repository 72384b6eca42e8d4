"""JSON and text files that are always whole, even after a kill."""

import json
import math
import pathlib
from typing import Any

from jaxseq import _files

_NOT_FINITE = {math.inf: "Infinity", -math.inf: "-Infinity"}


def write_json(path: pathlib.Path, value: object) -> None:
  """Writes JSON so that the file is always whole, even after a kill.

  For floats that JSON cannot hold see `json_value`.
  """
  text = json.dumps(json_value(value), indent=2, allow_nan=False)
  write_text(path, text + "\n")


def json_value(value: object) -> Any:
  """Returns `value` with floats that are not finite as strings.

  JSON has no such numbers: they become "NaN", "Infinity" and "-Infinity".
  """
  if isinstance(value, dict):
    return {key: json_value(item) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [json_value(item) for item in value]
  if isinstance(value, float) and not math.isfinite(value):
    return _NOT_FINITE.get(value, "NaN")
  return value


def write_text(path: pathlib.Path, text: str) -> None:
  """Writes a file by writing another one and renaming it."""
  write_bytes(path, text.encode())


def write_bytes(path: pathlib.Path, content: bytes) -> None:
  """Replaces a file by a whole one; its directory is made."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with _files.replacing(path) as file:
    file.write(content)
