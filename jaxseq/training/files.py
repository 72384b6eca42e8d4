"""JSON and text files that are always whole, even after a kill."""

from collections.abc import Iterator
import contextlib
import json
import math
import os
import pathlib
import secrets
from typing import Any
from typing import BinaryIO

_NOT_FINITE = {math.inf: "Infinity", -math.inf: "-Infinity"}


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes JSON so that the file is always whole, even after a kill.

  For floats that JSON cannot hold see `json_value`.
  """
  text = json.dumps(json_value(value), indent=2, allow_nan=False)
  write_text(path, text + "\n")


def json_value(value: Any) -> Any:
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
  """Writes a file by writing another one and renaming it."""
  with replacing(path) as file:
    file.write(content)


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[BinaryIO]:
  """Opens another file to write, which replaces `path` once it is whole.

  The directory is made.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  # A name that nobody can foresee, and that must be new: no other writer's
  # file, and no link that somebody has put there.
  temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
  with open(temporary, "xb") as file:
    try:
      yield file
      file.flush()
      os.fsync(file.fileno())
      file.close()  # Windows renames no open files
      os.replace(temporary, path)
    except BaseException:
      file.close()
      temporary.unlink(missing_ok=True)
      raise


def remove_unfinished(directory: pathlib.Path) -> None:
  """Removes what `replacing` has left in a directory when it was killed."""
  for path in directory.glob(".*.tmp"):
    path.unlink(missing_ok=True)
