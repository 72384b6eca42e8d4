"""Config files (ml_collections) turned into validated frozen dataclasses.

A config file returns a `ConfigDict`, which the command line overrides field by
field. It knows nothing of the fields that a program reads: a misspelt one, or
one of the wrong type, would fail far from its cause. `from_config_dict` checks
the whole config once, against the annotations of a dataclass, and gives an
object that is hashable and so can be static under `jax.jit`.
"""

import collections.abc
import dataclasses
import difflib
import pathlib
import sys
import types
import typing
from typing import Any
from typing import Literal
from typing import TypeVar

import ml_collections
from ml_collections import config_dict
import numpy as np

from jaxseq.training import errors
from jaxseq.training import files

T = TypeVar("T")

_MISSING = dataclasses.MISSING
_ARTICLES = {
  int: "an int",
  float: "a float",
  bool: "a bool",
  str: "a string",
  complex: "a complex number",
  bytes: "bytes",
  types.NoneType: "None",
}


def from_config_dict(cls: type[T], config: Any, *, name: str = "config") -> T:
  """Builds a (nested) dataclass from a config and checks every field.

  Fields that the config leaves out keep the dataclass's defaults; inside a
  field whose default is a dataclass, those of that default. An int is
  accepted where a float is expected, a list where a tuple is expected, and a
  mapping where a tuple of pairs is expected. Mappings become
  `FrozenConfigDict`s, so that the result stays hashable.

  Args:
    cls: a dataclass whose annotations say what each field may hold: scalars,
      tuples, `Literal`, `X | None`, other dataclasses, `Mapping`, `Any`.
    config: a ConfigDict or another mapping from field names to values.
    name: what the config is called in messages.

  Raises:
    UserError: (a ValueError) a field does not exist, is missing or has the
      wrong type, or the dataclass itself refused the values.
  """
  if not dataclasses.is_dataclass(cls):
    raise TypeError(f"cls must be a dataclass, got {cls!r}")
  return _convert(cls, config, name)


def parse(config: Any, cls: type[T]) -> T:
  """Turns the value of an absl `--config` flag into a `cls`.

  Args:
    config: `FLAGS.config`, as defined by `app.define_flags`.
    cls: the dataclass to build.

  Returns:
    An instance of `cls`.

  Raises:
    UserError: there is no config, its file could not be loaded, or
      `from_config_dict` refused it.
  """
  if config is None:
    raise errors.UserError("--config=FILE is missing: name a config file")
  try:
    # A config flag whose file failed to load raises when it is first touched.
    config.keys()
  except OSError as error:
    raise errors.UserError(errors.one_sentence(error)) from error
  return from_config_dict(cls, config)


def to_json(value: Any) -> Any:
  """Returns a config as what JSON can hold, in a form that can be compared.

  Dataclasses become dicts with their class under "_type", so that two configs
  with the same fields and different classes differ. Tuples become lists.
  """
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    out = {"_type": _type_name(type(value))}
    for field in dataclasses.fields(value):
      out[field.name] = to_json(getattr(value, field.name))
    return out
  if _is_mapping(value):
    return {str(k): to_json(v) for k, v in value.items()}
  if isinstance(value, (list, tuple)):
    return [to_json(item) for item in value]
  if isinstance(value, np.generic):
    return to_json(value.item())
  if isinstance(value, float):
    return files.json_value(value)
  if value is None or isinstance(value, (bool, int, str)):
    return value
  return repr(value)


def difference(old: Any, new: Any, path: str = "") -> list[tuple]:
  """Lists where two configs (as `to_json` gives them) differ.

  Returns:
    Triples (dotted path, old value, new value); a side that lacks the field
    has the string "(absent)".
  """
  if isinstance(old, dict) and isinstance(new, dict):
    out = []
    for key in sorted({**old, **new}):
      inner = f"{path}.{key}" if path else key
      out += difference(
        old.get(key, "(absent)"), new.get(key, "(absent)"), inner
      )
    return out
  # 1 and 1.0 are the same setting, True and 1 are not.
  same = old == new and isinstance(old, bool) == isinstance(new, bool)
  return [] if same else [(path, old, new)]


def unknown_field(name: str, field: str, known: typing.Iterable[str]) -> str:
  """Returns the sentence for a field that does not exist."""
  known = sorted(known)
  close = difflib.get_close_matches(field, known, n=1)
  hint = f" (did you mean {close[0]!r}?)" if close else ""
  if name == "config" and not close:
    hint = " (does the file belong to another experiment?)"
  listed = ", ".join(known) or "none"
  return f"{name} has no field {field!r}{hint}; its fields are: {listed}"


def _type_name(cls: type) -> str:
  """Returns a class's name that is the same however its module was started."""
  module = cls.__module__
  if module == "__main__":
    main = sys.modules[module]
    spec = getattr(main, "__spec__", None)
    module = (
      spec.name if spec else pathlib.Path(getattr(main, "__file__", "")).stem
    )
  return f"{module.rpartition('.')[2]}.{cls.__qualname__}"


def _is_mapping(value: Any) -> bool:
  kinds = (collections.abc.Mapping, ml_collections.ConfigDict)
  return isinstance(value, kinds)


def _convert(
  annotation: Any, value: Any, path: str, default: Any = None
) -> Any:
  """Returns `value` as `annotation` wants it, or raises a UserError."""
  if annotation is Any or isinstance(annotation, TypeVar):
    return _freeze(value)
  origin, args = typing.get_origin(annotation), typing.get_args(annotation)
  if origin in (typing.Union, types.UnionType):
    return _convert_union(annotation, args, value, path, default)
  if origin is typing.Annotated:
    return _convert(args[0], value, path)
  if origin is Literal:
    # True == 1 in Python, but not in a config.
    if any(type(a) is type(value) and a == value for a in args):
      return value
    raise _wrong_type(annotation, value, path)
  if origin is tuple or annotation is tuple:
    return _convert_tuple(annotation, args, value, path)
  if dataclasses.is_dataclass(annotation):
    return _convert_dataclass(annotation, value, path, default)
  kind = origin or annotation
  if kind in (dict, collections.abc.Mapping, ml_collections.FrozenConfigDict):
    if not _is_mapping(value):
      raise _wrong_type(annotation, value, path)
    return _freeze(value)
  return _convert_plain(annotation, kind, value, path)


def _convert_plain(annotation: Any, kind: Any, value: Any, path: str) -> Any:
  if isinstance(value, np.generic):
    value = value.item()
  if kind is float and type(value) is int:
    return float(value)
  if kind is int and isinstance(value, bool):
    raise _wrong_type(annotation, value, path)
  if isinstance(kind, type) and not isinstance(value, kind):
    raise _wrong_type(annotation, value, path)
  return value


def _convert_union(annotation, args, value, path, default):
  if value is None and types.NoneType in args:
    return None
  arms = [a for a in args if a is not types.NoneType]
  if len(arms) == 1:
    try:
      return _convert(arms[0], value, path, default)
    except FieldError as error:
      if error.path != path:
        raise
      raise _wrong_type(annotation, value, path) from None
  # An exact type first, so that 1 stays an int where int | float is allowed.
  arms.sort(key=lambda arm: type(value) is not arm)
  for arm in arms:
    try:
      return _convert(arm, value, path, default)
    except errors.UserError:
      continue
  raise _wrong_type(annotation, value, path)


def _convert_tuple(annotation, args, value, path):
  """Converts a list or tuple, or a mapping into pairs."""
  variadic = len(args) == 2 and args[1] is Ellipsis
  if _is_mapping(value) and variadic and typing.get_origin(args[0]) is tuple:
    value = tuple(value.items())
  if not isinstance(value, (list, tuple)):
    raise _wrong_type(annotation, value, path)
  if not args:
    return _freeze(value) if annotation is tuple else ()
  if variadic:
    args = (args[0],) * len(value)
  if len(args) != len(value):
    raise _wrong_type(annotation, value, path)
  return tuple(
    _convert(arg, item, f"{path}[{i}]")
    for i, (arg, item) in enumerate(zip(args, value))
  )


def _convert_dataclass(cls, value, path, default):
  """Converts a mapping into `cls`; what is left out is as in `default`."""
  if isinstance(value, cls):
    return value
  if not _is_mapping(value):
    raise _wrong_type(cls, value, path)
  fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
  for key in value:
    if key not in fields:
      raise FieldError(unknown_field(path, key, fields), f"{path}.{key}")
  hints = typing.get_type_hints(cls, include_extras=True)
  kwargs = {}
  for field in fields.values():
    kept = field.default
    if isinstance(default, cls):
      kept = kwargs[field.name] = getattr(default, field.name)
    if field.name in value:
      try:
        item = value[field.name]
      except config_dict.RequiredValueError as error:
        raise errors.UserError(f"{path}.{field.name} is not set") from error
      kwargs[field.name] = _convert(
        hints[field.name], item, f"{path}.{field.name}", kept
      )
    elif field.name in kwargs:
      continue
    elif field.default is _MISSING and field.default_factory is _MISSING:
      raise errors.UserError(
        f"{path}.{field.name} is missing: {path} needs it, with "
        f"{_describe(hints[field.name])}"
      )
  try:
    return cls(**kwargs)
  except errors.UserError:
    raise
  except ValueError as error:
    raise errors.UserError(f"{path}: {errors.one_sentence(error)}") from error


def _freeze(value: Any) -> Any:
  """Returns `value` with mappings and lists made hashable."""
  if _is_mapping(value):
    return ml_collections.FrozenConfigDict(dict(value.items()))
  if isinstance(value, (list, tuple)):
    return tuple(_freeze(item) for item in value)
  return value


class FieldError(errors.UserError):
  """A field that does not exist or has a wrong type, and its path."""

  def __init__(self, message: str, path: str):
    super().__init__(message)
    self.path = path


def _wrong_type(annotation: Any, value: Any, path: str) -> FieldError:
  kind = "" if value is None else f" ({type(value).__name__})"
  return FieldError(
    f"{path}: got {value!r}{kind}, expected {_describe(annotation)}", path
  )


def _describe(annotation: Any) -> str:
  """Returns an annotation in words."""
  origin, args = typing.get_origin(annotation), typing.get_args(annotation)
  if origin in (typing.Union, types.UnionType):
    return " or ".join(_describe(arg) for arg in args)
  if origin is Literal:
    return "one of " + ", ".join(repr(arg) for arg in args)
  if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
    return f"a tuple, each item {_describe(args[0])}"
  if origin is tuple:
    return "a tuple (" + ", ".join(_describe(arg) for arg in args) + ")"
  if annotation in _ARTICLES:
    return _ARTICLES[annotation]
  if dataclasses.is_dataclass(annotation):
    names = ", ".join(f.name for f in dataclasses.fields(annotation))
    return f"a mapping with fields of {annotation.__name__} ({names})"
  if (origin or annotation) in (dict, collections.abc.Mapping):
    return "a mapping"
  return f"a {getattr(annotation, '__name__', str(annotation))}"
