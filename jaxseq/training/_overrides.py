"""Single fields of a config that a command line sets, `FIELD=VALUE`."""

import ast
from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import re
import types
import typing
from typing import Any

from jaxseq.training import errors

# Of a dataclass's field with options of what another field names.
OPTIONS = "options"
# Values that are no literals of Python.
_WORDS = {
  "true": True,
  "false": False,
  **{word: float(word) for word in ("inf", "-inf", "nan")},
}
ARTICLES = {
  int: "an int",
  float: "a float",
  bool: "a bool",
  str: "a string",
  complex: "a complex number",
  bytes: "bytes",
  types.NoneType: "None",
}


def put(cls: type, fields: dict[str, Any], path: str, text: str) -> None:
  """Sets a field, by its path, in dictionaries and lists."""
  *above, last = re.findall(r"[^.\[\]]+", path)
  holder, name = fields, "config"
  for field in above:
    key, inner = _entry(holder, field, name, path)
    if inner is None:
      # What the file leaves out is set from here on.
      inner = holder[key] = {}
    holder, name = inner, f"{name}.{field}"
  key, old = _entry(holder, last, name, path)
  if old is None and _is_text(cls, fields, [*above, last]):
    old = ""
  holder[key] = _read(old, text, path)


def _entry(holder: Any, field: str, name: str, path: str) -> tuple[Any, Any]:
  """Returns the key of a field or item, and its value."""
  if isinstance(holder, dict):
    return field, holder.get(field)
  if not isinstance(holder, list):
    raise errors.UserError(
      f"--config.{path}: {name} is {holder!r}, which has no fields"
    )
  if not field.isdecimal() or int(field) >= len(holder):
    raise errors.UserError(
      f"--config.{path}: {name} has {len(holder)} items, and {field} is not "
      "the number of one"
    )
  return int(field), holder[int(field)]


def _is_text(cls: type, fields: dict[str, Any], path: list[str]) -> bool:
  """True if a path leads to an option that takes text, see `options`."""
  holder = {field.name: field for field in dataclasses.fields(cls)}.get(path[0])
  of, annotations = getattr(holder, "metadata", {}).get(OPTIONS, ("", None))
  if of not in fields or len(path) != 2:
    return False
  hint = annotations(fields[of]).get(path[1])
  return str in (hint, *typing.get_args(hint))


def _read(old: Any, text: str, path: str) -> Any:
  """Returns the value that a text gives a field which holds `old`."""
  if isinstance(old, str):
    return text
  try:
    value = ast.literal_eval(text)
  except (ValueError, SyntaxError, MemoryError, RecursionError):
    value = _WORDS.get(text.lower(), text)
  if isinstance(old, bool) and value in (0, 1):
    return bool(value)
  # Options of a loader have no annotations that would tell of the mistake.
  if isinstance(old, (int, float)) and isinstance(value, str):
    raise errors.UserError(
      f"--config.{path}={text}: expected {ARTICLES[type(old)]}"
    )
  return value


def one_by_one(fields: Mapping[str, Any], path: str) -> str:
  """Says how one of the fields in a field is set; "" if it has none."""
  inner: Any = fields
  for name in path.split("."):
    inner = inner.get(name) if isinstance(inner, Mapping) else None
  if not inner or not isinstance(inner, Mapping):
    return ""
  single = list(_single(inner, path))
  # Most often it is another mixer that an arm is to have.
  mixers = [field for field in single if field[0].endswith(".mixer")]
  path, value = (mixers or single)[0]
  return f"Set its fields one by one, as --config.{path}={value}"


def _single(value: object, path: str) -> Iterator[tuple[str, Any]]:
  """Yields the fields that hold no others, with their paths."""
  if not value or not isinstance(value, Mapping):
    yield path, value
    return
  for name, inner in value.items():
    yield from _single(inner, f"{path}.{name}")
