"""Estimates the costs of a chat template's operations before they run.

A unit is a step of a loop, 64 characters or an element of a container, which
takes about a microsecond. No estimate is far below the true cost, so that units
bound time and memory.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import MappingView
import itertools
import re
from typing import Any

# Log2 of the characters per unit.
_BITS = 6
_TEXT = (str, bytes, bytearray)
_CONTAINERS = (list, tuple, set, frozenset, MappingView)
# An unlimited number of units.
ENDLESS = 2**62
# Fields of format strings, and nested widths in them.
_FIELDS = re.compile(r"\{[^{}]*|%[^a-zA-Z%]*")
_NESTED = re.compile(r"\{[^{}]*\{|%[^a-zA-Z%]*\*")


def of(value: object, most: int = ENDLESS) -> int:
  """Returns the units of a value with its elements, up to some `most`.

  An element that occurs several times counts each time, as in its text.
  """
  kind = type(value)
  if kind is str or isinstance(value, _TEXT):
    return len(value) >> _BITS
  if value is None or isinstance(value, int):
    return (value or 0).bit_length() >> _BITS
  if kind.__name__ == "Namespace":
    value = object.__getattribute__(value, "_Namespace__attrs")
  if isinstance(value, _CONTAINERS):
    parts = value
  elif isinstance(value, Mapping):
    parts = itertools.chain(value.keys(), value.values())
  else:
    return 0
  total = 0
  for part in parts:
    total += 1 + of(part, most - total)
    if total > most:
      break
  return total


def operation(sign: str, left: object, right: object, most: int) -> int:
  """Returns the units of `left sign right`."""
  if isinstance(left, int) and isinstance(right, int):
    bits = left.bit_length(), right.bit_length()
    if sign == "**":
      # A bound of the bits of a power; with a negative exponent it is a float.
      return (bits[0] * max(0, right) >> _BITS) ** 2
    return (sum(bits) >> _BITS) ** 2
  if sign == "+":
    return _size(left) + _size(right) >> _BITS
  if sign == "*":
    times, repeated = (left, right) if isinstance(left, int) else (right, left)
    if isinstance(times, int):
      return (of(repeated, most) + _size(repeated) + 64) * max(
        0, times
      ) >> _BITS
  if sign == "%" and isinstance(left, _TEXT):
    args = right if isinstance(right, tuple) else (right,)
    return _formatted(left, args, most)
  return 0


def method(receiver: Any, name: str, args: Any, options: Any, most: int) -> int:
  """Returns the units of a method call on a text, number or container.

  Args:
    receiver: object of the method.
    name: name of the method.
    args: arguments, without iterators.
    options: arguments by name.
    most: units that are left.
  """
  arguments = (*args, *options.values())
  if isinstance(receiver, Mapping):
    return 0
  if isinstance(receiver, str):
    rule = _METHODS.get(name)
    if rule is not None:
      return rule(receiver, arguments, most)
  if name in ("encode", "decode"):
    # Some codecs take quadratic time.
    return len(receiver) ** 2 >> 2 * _BITS
  if not isinstance(receiver, (*_TEXT, int, float)):
    return of([receiver, *arguments], most)
  text = receiver if isinstance(receiver, _TEXT) else ""
  return _product((text, *arguments), most) >> _BITS


def filtered(name: str, args: Any, options: Any, most: int) -> int:
  """Returns the units of a filter, see `method`; `args` begin with its value.

  Filters that yield elements one by one cost nothing themselves.
  """
  value = args[0]
  if name in _LINEAR:
    return of(value, most)
  if name in _FREE:
    return 0
  if name in _SHALLOW:
    return _size(value) >> _BITS
  others = args[1:]
  arguments = (*others, *options.values())
  if name == "tojson":
    return (of(value, most) + 1) * (6 + sum(map(_weight, arguments)))
  if name == "format":
    return _formatted(value, arguments, most)
  if name == "round":
    return sum(map(_weight, arguments)) ** 2 >> _BITS
  if name in ("batch", "slice"):
    return _product(args, most) + _product(arguments, most)
  if name == "sum" and not (options or others):
    return of(value, most)
  if name == "striptags":
    return _size(value) ** 2 >> 2 * _BITS
  if isinstance(value, str) or name in ("join", "replace"):
    rule = _METHODS.get(name)
    if rule is not None and name == "join":
      joiner = arguments[0] if arguments else ""
      return rule(str(joiner), (value,), most)
    if rule is not None:
      return rule(str(value), arguments, most)
  return _product((value, *arguments), most) >> _BITS


def _size(value):
  """Characters, or bytes of a container without its elements."""
  if isinstance(value, (list, tuple)):
    return 8 * len(value)
  return len(value) if isinstance(value, (*_TEXT, range)) else 0


def _weight(value):
  """The factor by which an argument may lengthen a result."""
  if isinstance(value, int):
    return abs(value)
  return len(value) if isinstance(value, str) else of(value) << _BITS


def _product(values, most):
  """Characters of a result as long as all arguments multiplied."""
  total = 1
  for value in values:
    weight = abs(value) if isinstance(value, int) else _length(value, most)
    total *= max(1, weight)
  return total


def _length(value, most):
  """Characters of a value's text."""
  return len(value) if isinstance(value, _TEXT) else of(value, most) << _BITS


def _formatted(form, args, most):
  """Units of a format string whose fields may be any argument."""
  form = str(form)
  fields = _FIELDS.findall(form)
  digits = re.findall("[0-9]+", " ".join(fields))
  widths = [int(x) if len(x) < 10 else ENDLESS for x in digits]
  size = max(widths, default=0) + sum(_length(x, most) + 64 for x in args)
  if _NESTED.search(form):
    size += _product(args, most)
  return len(form) + (len(fields) + 1) * size >> _BITS


def _one_pass(text, args, most):
  """Units of reading a text once."""
  del args, most
  return len(text) >> _BITS


def _search(text, args, most):
  """Units of a search from the end, which may restart at each place."""
  del most
  return len(text) * (1 + _size(args[0] if args else "")) >> 10


def _pieces(text, args, most):
  """Units of splitting a text, with one object per piece."""
  separator = args[0] if args else None
  if not isinstance(separator, str):
    return len(text) >> 3
  size = _search(text, args, most) + (len(text) >> _BITS)
  return size + (text.count(separator) if separator else 0)


def _replaced(text, args, most):
  """Units of replacing a word in a text."""
  if len(args) < 2:
    return 0
  old, new = map(str, args[:2])
  count = text.count(old)
  return len(text) + count * len(new) + _size(old) >> _BITS


def _joined(text, args, most):
  """Units of joining texts."""
  (parts,) = args if len(args) == 1 else ((),)
  count = len(parts) if hasattr(parts, "__len__") else 0
  return of(parts, most) + (len(text) * count >> _BITS)


def _form(text, args, most):
  """Units of formatting a text."""
  return _formatted(text, args, most)


Rule = Callable[[str, Any, int], int]
# Methods of texts; others may return the product of all argument lengths.
_METHODS: Mapping[str, Rule] = {
  **dict.fromkeys(
    (
      *("strip", "lstrip", "rstrip", "lower", "upper", "title", "capitalize"),
      *("casefold", "swapcase", "startswith", "endswith", "removeprefix"),
      *("removesuffix", "find", "index", "count", "isdigit", "isalpha"),
      *("isalnum", "isspace", "isupper", "islower", "isnumeric", "isdecimal"),
      "partition",
    ),
    _one_pass,
  ),
  **dict.fromkeys(("rfind", "rindex", "rpartition"), _search),
  **dict.fromkeys(("split", "rsplit"), _pieces),
  **dict.fromkeys(("format", "format_map"), _form),
  "splitlines": lambda text, args, most: len(text) >> 3,
  "replace": _replaced,
  "join": _joined,
}
# Filters that take constant time, or yield their elements lazily.
_FREE = frozenset(
  (
    *("length", "count", "first", "last", "default", "d", "int", "float"),
    *("abs", "attr", "items", "random", "map", "select", "reject"),
    *("selectattr", "rejectattr"),
  )
)
_SHALLOW = frozenset(("list", "reverse"))
_LINEAR = frozenset(
  (
    *("trim", "lower", "upper", "capitalize", "title", "string", "safe"),
    *("escape", "e", "forceescape", "sort", "unique", "min", "max"),
    *("dictsort", "groupby", "wordcount"),
  )
)
