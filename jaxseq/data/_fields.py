"""Type checks of records from files, by the annotations of their fields."""

from collections.abc import Mapping
import dataclasses
import math
import types
import typing
from typing import Any
from typing import TypeVar

from jaxseq import validate

T = TypeVar("T")
_WORDS = {
  tuple[str, ...]: "names",
  tuple[int, ...]: "integers",
  tuple[float, ...]: "finite numbers",
  float: "a finite number",
  int: "an integer",
  bool: "True or False",
  str: "a text",
}


def check(record: object, name: str = "") -> None:
  """Raises if a field of a dataclass or named tuple has another type."""
  for key, hint in hints(type(record)).items():
    value = getattr(record, key)
    if not _fits(value, hint):
      words = [_WORDS[k] for k in (hint, *typing.get_args(hint)) if k in _WORDS]
      raise validate.error(f"{name}{key}", value, (*words, str(hint))[0])


def make(kind: type[T], values: Any, name: str) -> T:
  """Builds a record from a JSON object of its fields; lists become tuples."""
  validate.instance(name, values, Mapping, "an object of its fields")
  known = hints(kind)
  for key in values:
    validate.choice(f"{name}: field", key, known)
  fields = {
    key: tuple(value) if isinstance(value, list) else value
    for key, value in values.items()
  }
  try:
    record = kind(**fields)
  except TypeError as error:
    lacking = ", ".join(key for key in known if key not in fields)
    raise validate.error(name, list(fields), f"also {lacking}") from error
  check(record, f"{name}: ")
  return record


def hints(kind: type) -> dict[str, object]:
  """Returns the annotations of the fields of a dataclass or named tuple."""
  types = typing.get_type_hints(kind)
  if not dataclasses.is_dataclass(kind):
    return types
  return {field.name: types[field.name] for field in dataclasses.fields(kind)}


def _fits(value, hint):
  """True if a value is of an annotated type; numbers have to be finite."""
  origin, kinds = typing.get_origin(hint), typing.get_args(hint)
  if hint is Any:
    return True
  if origin in (typing.Union, types.UnionType):
    return any(_fits(value, kind) for kind in kinds)
  if origin is typing.Literal:
    return value in kinds
  if origin is tuple:
    if kinds[-1] is Ellipsis and isinstance(value, tuple):
      kinds = kinds[:1] * len(value)
    return (
      isinstance(value, tuple)
      and len(value) == len(kinds)
      and all(map(_fits, value, kinds))
    )
  if hint is float:
    return type(value) in (int, float) and math.isfinite(value)
  if hint in (int, bool, str):
    return type(value) is hint
  return isinstance(value, origin or hint)
