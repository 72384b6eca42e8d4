"""Configs: the frozen dataclasses of programs, built and checked by field.

A config file's `get_config` returns a program's dataclass, whose fields the
command line overrides one by one. Files of one's own may return a mapping.
`from_config_dict` checks the whole config once, against the annotations of the
dataclass, and gives an object that is hashable and so can be static under
`jax.jit`.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
import importlib.util
import pathlib
import re
import sys
import types
import typing
from typing import Annotated
from typing import Any
from typing import Literal
from typing import TypeVar

import numpy as np

from jaxseq.training import _field_names
from jaxseq.training import _overrides
from jaxseq.training import app
from jaxseq.training import errors
from jaxseq.training import files
from jaxseq.training._frozen_mapping import FrozenMapping

# In the place of a field that one of two configs lacks.
ABSENT = "(absent)"

T = TypeVar("T")

EMPTY = FrozenMapping()
# Some fields of a dataclass that is built later, such as those that arms share.
Fields = Annotated[Mapping[str, Any], "fields"]

Rename = Callable[[dict[str, Any], dict[str, Any]], Mapping[str, Any]]

_MISSING = dataclasses.MISSING


def options(of: str, annotations: Callable[[Any], Mapping[str, Any]]) -> Any:
  """Returns a dataclass's field with options of what another field names.

  Args:
    of: name of that other field.
    annotations: from its value to the options' annotations, by name, which tell
      how the command line's text is read where the file sets nothing.
  """
  return dataclasses.field(
    default=EMPTY, metadata={_overrides.OPTIONS: (of, annotations)}
  )


def from_config_dict(
  cls: type[T], config: object, *, name: str = "config", base: T | None = None
) -> T:
  """Builds a (nested) dataclass from a config and checks every field.

  Fields that the config leaves out keep the dataclass's defaults; inside a
  field whose default is a dataclass, those of that default. An int is
  accepted where a float is expected, a list where a tuple is expected, and a
  mapping where a tuple of pairs is expected. Mappings are frozen, so that the
  result stays hashable.

  Args:
    cls: a dataclass whose annotations say what each field may hold: scalars,
      tuples, `Literal`, `X | None`, other dataclasses, `Mapping`, `Any`.
    config: a `cls` or a mapping from field names to values.
    name: what the config is called in messages.
    base: has the fields that the config leaves out, if not the defaults.

  Raises:
    UserError: (a ValueError) a field does not exist, is missing or has the
      wrong type, or the dataclass itself refused the values.
  """
  if not dataclasses.is_dataclass(cls):
    raise TypeError(f"cls must be a dataclass, got {cls!r}")
  return _convert_dataclass(cls, _field_names.shallow(config), name, base)


def load(
  spec: str | None,
  overrides: Sequence[str],
  cls: type[T],
  rename: Rename = lambda before, after: after,
) -> T:
  """Builds the config of a command line.

  Args:
    spec: FILE[:VARIANT], a Python file whose `get_config` takes the variant, if
      there is one, and returns a `cls` or a mapping of its fields.
    overrides: "FIELD=VALUE", with dots between fields of fields. A value is
      read as the type that the field has in the file; if it holds nothing
      there, as a Python literal, or else as text.
    cls: the dataclass to build.
    rename: from the fields of the file, and those with the overrides, to the
      fields to build it of.

  Raises:
    UserError: the file cannot be loaded, or `from_config_dict` refused it.
  """
  if spec is None:
    raise errors.UserError("--config=FILE is missing: name a config file")
  path, variant = app.configuration_file(spec)
  module_spec = importlib.util.spec_from_file_location("_jaxseq_config", path)
  if module_spec is None or module_spec.loader is None:
    raise errors.UserError(f"--config: {str(path)!r} is no Python file")
  module = importlib.util.module_from_spec(module_spec)
  try:
    module_spec.loader.exec_module(module)
    config = _getter(module)(*([variant] if variant else []))
  except (ValueError, TypeError, AttributeError, SyntaxError) as error:
    raise errors.UserError(
      f"--config: {path}: {errors.one_sentence(error)}"
    ) from error
  before = _thawed(_field_names.shallow(config))
  fields = _thawed(before)
  for override in overrides:
    _overrides.put(cls, fields, *override.split("=", 1))
  try:
    return from_config_dict(cls, rename(before, fields))
  except FieldError as error:
    path = error.path.removeprefix("config.")
    whole = path in (override.split("=", 1)[0] for override in overrides)
    hint = _overrides.one_by_one(before, path) if whole else ""
    if not hint:
      raise
    said = str(error).rstrip(".")
    raise FieldError(f"{said}. {hint}", error.path) from error


def _getter(module: types.ModuleType) -> Callable[..., object]:
  """Returns the `get_config` of a file."""
  getter = getattr(module, "get_config", None)
  if callable(getter):
    return getter
  got = "no such name" if getter is None else f"a {type(getter).__name__}"
  raise errors.UserError(
    f"--config: {module.__file__}: get_config: got {got}, expected a function "
    "that returns the config. Write `def get_config(): return Config(...)`"
  )


def freeze(value: object) -> Any:
  """Returns `value` with mappings, by the order of names, and lists frozen."""
  if isinstance(value, Mapping):
    return FrozenMapping({key: freeze(value[key]) for key in sorted(value)})
  if isinstance(value, (list, tuple)):
    return tuple(freeze(item) for item in value)
  return value


def merged(
  fields: Mapping[str, Any], *changes: Mapping[str, object]
) -> dict[str, Any]:
  """Returns fields with some of them changed, those of mappings one by one."""
  out = dict(fields)
  for change in changes:
    for name, value in change.items():
      nested = isinstance(out.get(name), Mapping) and isinstance(value, Mapping)
      out[name] = merged(out[name], value) if nested else value
  return out


def updated(config: T, **changes: object) -> T:
  """Returns a config with other fields, which are checked.

  A mapping changes single fields of `Fields` and of dataclasses; it takes the
  place of any other mapping.

  Raises:
    UserError: see `from_config_dict`.
  """
  fields, hints = _field_names.shallow(config), _hints(type(config))
  for name, value in changes.items():
    old = fields.get(name)
    partly = hints.get(name) == Fields or dataclasses.is_dataclass(old)
    if partly and isinstance(value, Mapping):
      value = merged(_field_names.shallow(old), value)
    fields[name] = value
  return from_config_dict(type(config), fields)


def _thawed(value: object) -> Any:
  """Returns mappings, dataclasses and tuples so that they can be changed."""
  value = _field_names.shallow(value)
  if isinstance(value, (list, tuple)):
    return [_thawed(item) for item in value]
  if not isinstance(value, Mapping):
    return value
  return {name: _thawed(item) for name, item in value.items()}


def to_json(value: object) -> Any:
  """Returns a config as what JSON can hold, in a form that can be compared.

  Dataclasses become dicts with their class under "_type", so that two configs
  with the same fields and different classes differ. Tuples become lists.
  """
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    out = {"_type": _type_name(type(value))}
    return out | {
      k: to_json(item) for k, item in _field_names.shallow(value).items()
    }
  if isinstance(value, Mapping):
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


def difference(old: object, new: object, path: str = "") -> list[tuple]:
  """Lists where two configs (as `to_json` gives them) differ.

  Returns:
    Triples (dotted path, old value, new value); a side that lacks the field
    has the string `ABSENT`.
  """
  if isinstance(old, dict) and isinstance(new, dict):
    out = []
    for key in sorted({**old, **new}):
      inner = f"{path}.{key}" if path else key
      out += difference(old.get(key, ABSENT), new.get(key, ABSENT), inner)
    return out
  # 1 and 1.0 are the same setting, True and 1 are not.
  same = old == new and isinstance(old, bool) == isinstance(new, bool)
  return [] if same else [(path, old, new)]


def at_defaults(config: object, path: str = "") -> set[str]:
  """Returns the dotted names of dataclasses' fields that have their defaults.

  Options in mappings are at their defaults where they are None. The names are
  those of `difference`: a run from before a field existed lacks it, and may
  resume if the field has its default.
  """
  names: set[str] = set()
  if isinstance(config, Mapping):
    items = {str(key): value for key, value in config.items()}
    names |= {path + key for key, value in items.items() if value is None}
  elif dataclasses.is_dataclass(config) and not isinstance(config, type):
    items = _field_names.shallow(config)
  else:
    return names
  for key, value in items.items():
    names |= at_defaults(value, f"{path}{key}.")
  if not isinstance(config, Mapping):
    for field in dataclasses.fields(config):
      default = field.default
      if field.default_factory is not _MISSING:
        default = field.default_factory()
      if to_json(items[field.name]) == to_json(default):
        names.add(path + field.name)
  return names


def _type_name(cls: type) -> str:
  """Returns a class's name that is the same however its module was started."""
  module = cls.__module__
  if module == "__main__":
    main = sys.modules[module]
    spec = getattr(main, "__spec__", None)
    module = (
      spec.name if spec else pathlib.Path(getattr(main, "__file__", "")).stem
    )
  # The class stays the same where its module has another name than it had when
  # configs were saved.
  old = getattr(sys.modules.get(cls.__module__), "SAVED_AS", None)
  if old is not None:
    return f"{old}.{cls.__qualname__}"
  # A folder of `experiments`, or of `tasks`, has the name of what it is about.
  module = module.removesuffix(".program").removesuffix(".task")
  return f"{module.rpartition('.')[2]}.{cls.__qualname__}"


@functools.cache
def _hints(cls: type) -> dict[str, object]:
  return typing.get_type_hints(cls, include_extras=True)


def _convert(
  annotation: object, value: object, path: str, default: object = None
) -> Any:
  """Returns `value` as `annotation` wants it, or raises a UserError."""
  if annotation is Any or isinstance(annotation, TypeVar):
    return freeze(value)
  origin, args = typing.get_origin(annotation), typing.get_args(annotation)
  if origin in (typing.Union, types.UnionType):
    return _convert_union(annotation, args, value, path, default)
  if origin is Annotated:
    return _convert(args[0], value, path)
  if origin is tuple or annotation is tuple:
    return _convert_tuple(annotation, args, value, path)
  if dataclasses.is_dataclass(annotation):
    return _convert_dataclass(annotation, value, path, default)
  if origin is Literal:
    # True == 1 in Python, but not in a config.
    fits = any(type(a) is type(value) and a == value for a in args)
  else:
    kind = origin or annotation
    if isinstance(value, np.generic):
      value = value.item()
    if kind is float and type(value) is int:
      return float(value)
    fits = not isinstance(kind, type) or isinstance(value, kind)
    fits = fits and not (kind is int and isinstance(value, bool))
  if not fits:
    raise _wrong_type(annotation, value, path)
  return freeze(value)


def _convert_union(annotation, args, value, path, default):
  if value is None and types.NoneType in args:
    return None
  arms = [a for a in args if a is not types.NoneType]
  # An exact type first, so that 1 stays an int where int | float is allowed.
  arms.sort(key=lambda arm: type(value) is not arm)
  for arm in arms:
    try:
      return _convert(arm, value, path, default)
    except errors.UserError as error:
      # What is wrong inside of the only kind that there is.
      inside = getattr(error, "path", None) != path or error.__cause__
      if len(arms) == 1 and inside:
        raise
  raise _wrong_type(annotation, value, path)


def _convert_tuple(annotation, args, value, path):
  """Converts a list or tuple, or a mapping into pairs."""
  variadic = len(args) == 2 and args[1] is Ellipsis
  pairs = variadic and typing.get_origin(args[0]) is tuple
  if isinstance(value, Mapping) and pairs:
    value = tuple(sorted(value.items()))
  if not isinstance(value, (list, tuple)):
    raise _wrong_type(annotation, value, path)
  if annotation is tuple:
    return freeze(value)
  if variadic:
    args = (args[0],) * len(value)
  if len(args) != len(value):
    raise _wrong_type(annotation, value, path)
  return tuple(
    _convert(arg, item, f"{path}[{i}]")
    for i, (arg, item) in enumerate(zip(args, value))
  )


def _convert_dataclass(cls, value, path, default):
  """Converts a mapping into `cls`; fields left out are as in `default`."""
  if isinstance(value, cls):
    return value
  if not isinstance(value, Mapping):
    raise _wrong_type(cls, value, path)
  fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
  for key in value:
    if key not in fields:
      text = _field_names.unknown(path, key, fields, value)
      raise FieldError(text, f"{path}.{key}")
  kwargs = {}
  for name, field in fields.items():
    hint, before = _hints(cls)[name], field.default
    if isinstance(default, cls):
      before = kwargs[name] = getattr(default, name)
    if name in value:
      kwargs[name] = _convert(hint, value[name], f"{path}.{name}", before)
    elif name in kwargs:
      continue
    elif field.default is _MISSING and field.default_factory is _MISSING:
      raise errors.UserError(
        f"{path}.{name} is missing: {path} needs it, with {_describe(hint)}"
      )
  try:
    return cls(**kwargs)
  except errors.UserError:
    raise
  except ValueError as error:
    sentence = errors.one_sentence(error)
    field = re.match(r"[\w.-]+(?=: got)", sentence)
    raise FieldError(
      f"{path}: {sentence}", f"{path}.{field[0]}" if field else path
    ) from error


class FieldError(errors.UserError):
  """A field that does not exist or has a wrong value, and its path."""

  def __init__(self, message: str, path: str):
    super().__init__(message)
    self.path = path


def _wrong_type(annotation: object, value: object, path: str) -> FieldError:
  kind = "" if value is None else f" ({type(value).__name__})"
  return FieldError(
    f"{path}: got {value!r}{kind}, expected {_describe(annotation)}", path
  )


def _describe(annotation: object) -> str:
  """Returns an annotation in words."""
  origin, args = typing.get_origin(annotation), typing.get_args(annotation)
  if origin in (typing.Union, types.UnionType):
    return " or ".join(_describe(arg) for arg in args)
  if origin is Annotated:
    return _describe(args[0])
  if origin is Literal:
    return "one of " + ", ".join(repr(arg) for arg in args)
  if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
    return f"a tuple, each item {_describe(args[0])}"
  if origin is tuple:
    return "a tuple (" + ", ".join(_describe(arg) for arg in args) + ")"
  if annotation in _overrides.ARTICLES:
    return _overrides.ARTICLES[annotation]
  if dataclasses.is_dataclass(annotation):
    names = ", ".join(f.name for f in dataclasses.fields(annotation))
    return f"a mapping with fields of {annotation.__name__} ({names})"
  if (origin or annotation) in (dict, Mapping):
    return "a mapping"
  return f"a {getattr(annotation, '__name__', str(annotation))}"
