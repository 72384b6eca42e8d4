"""Checks of what a caller hands in, all with one form of message.

A message says what came, what is expected and, for names, which values exist:

    num_layers: got 0, expected an integer of at least 1.
    norm: got 'batchy', expected one of 'none', 'layer', 'rms', 'batch'.

Every function returns the value that it checked and raises a ValueError.
"""

from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import difflib
import functools
import math
import numbers
import re
import types
import typing
from typing import Any
from typing import TypeVar

import numpy as np

T = TypeVar("T")

# Errors list so many names, and of more so many that are like what came.
_MOST_LISTED, _NEAREST = 100, 5


def error(name: str, value: object, expected: str) -> ValueError:
  """Returns the error of an argument that is not what is expected.

  Args:
    name: of the argument or field.
    value: what came; a string that begins with "shape " or "dtype " is shown as
      it is, everything else by its `repr`.
    expected: what is expected, as the end of the sentence, without a full stop.
  """
  plain = isinstance(value, str) and value.startswith(("shape ", "dtype "))
  return ValueError(
    f"{name}: got {value if plain else repr(value)}, expected {expected}."
  )


def instance(name: str, value: T, kind: Any, expected: str) -> T:
  """Checks the class of a value, which is what an error shows of it."""
  if not isinstance(value, kind):
    raise error(name, type(value).__name__, expected)
  return value


def integer(
  name: str, value: object, low: int | None = None, high: int | None = None
) -> int:
  """Checks an integer, of at least `low` and at most `high`."""
  is_integer = isinstance(value, numbers.Integral) and not isinstance(
    value, bool
  )
  if not is_integer or not _within(value, low, high):
    raise error(name, value, f"an integer{_range(low, high)}")
  return value


def positive(name: str, value: object) -> int:
  """Checks an integer of at least 1."""
  return integer(name, value, 1)


def number(
  name: str, value: object, low: float | None = None, high: float | None = None
) -> float:
  """Checks a finite number, of at least `low` and at most `high`."""
  is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
  if not is_number or not math.isfinite(value) or not _within(value, low, high):
    raise error(name, value, f"a finite number{_range(low, high)}")
  return value


def above_zero(name: str, value: object) -> float:
  """Checks a finite number above 0."""
  number(name, value)
  if not value > 0:
    raise error(name, value, "a finite number above 0")
  return value


def fraction(name: str, value: object) -> float:
  """Checks a number above 0 and of at most 1."""
  if not 0 < number(name, value) <= 1:
    raise error(name, value, "a number above 0 and of at most 1")
  return value


def all_positive(**values: Any) -> None:
  """Checks integers of at least 1, by their names."""
  for name, value in values.items():
    integer(name, value, 1)


def choice(name: str, value: T, choices: Iterable[T], cutoff: float = 0.6) -> T:
  """Checks that a value is one of some names.

  The error lists them and suggests one as close as `cutoff`; of very many it
  names those that are nearest, and says how many there are.
  """
  names = tuple(choices)
  if value in names:
    return value
  words = list(map(str, names))
  if len(names) > _MOST_LISTED:
    near = difflib.get_close_matches(str(value), words, _NEAREST, cutoff=0)
    listed = f"{len(names):,}, the nearest of which are {', '.join(near)}"
    raise error(name, value, f"one of {listed}")
  close = difflib.get_close_matches(str(value), words, n=1, cutoff=cutoff)
  hint = f" (did you mean {close[0]}?)" if close else ""
  listed = ", ".join(map(repr, names)) or "none, for there is no entry"
  raise error(name, value, f"one of {listed}{hint}")


def expression(name: str, value: str) -> str:
  """Checks a regular expression of `re`."""
  try:
    re.compile(value)
  except (re.error, OverflowError) as wrong:
    raise error(name, value, f"a regular expression ({wrong})") from wrong
  except RecursionError:
    expected = "a regular expression with fewer groups in each other"
    raise error(name, value[:80], expected) from None
  return value


def shape(
  name: str, value: object, expected: Sequence[int | str]
) -> tuple[int, ...]:
  """Checks the shape of an array and returns it.

  Args:
    name: of the argument.
    value: the array, or what numpy makes one of.
    expected: sizes. A word stands for any size of at least 1, and one that
      begins with a star, as the first entry, for any number of leading axes:
      ("*batch", "time", 3).
  """
  got = np.shape(value)
  sizes = tuple(expected)
  leading = bool(sizes) and str(sizes[0]).startswith("*")
  sizes = sizes[leading:]
  last = got[len(got) - len(sizes) :] if leading else got
  if len(last) != len(sizes) or not all(
    size >= 1 if isinstance(want, str) else size == want
    for size, want in zip(last, sizes)
  ):
    listed = ", ".join(map(str, expected))
    comma = "," if len(expected) == 1 else ""
    empty = " with at least one element" if 0 in last else ""
    raise error(name, f"shape {got}", f"({listed}{comma}){empty}")
  return got


def fields(
  config: Any,
  *,
  positive: Iterable[str] = (),
  optional: Iterable[str] = (),
  above_zero: Iterable[str] = (),
  not_negative: Iterable[str] = (),
  shares: Iterable[str] = (),
) -> None:
  """Checks number fields of a configuration, each under its own name.

  Args:
    config: the configuration.
    positive: names of fields that hold integers of at least 1.
    optional: names of fields that hold such integers, or None.
    above_zero: names of fields that hold numbers above 0.
    not_negative: names of fields that hold numbers of at least 0.
    shares: names of fields that hold numbers from 0 to 1.
  """
  for name in positive:
    integer(name, getattr(config, name), 1)
  for name in optional:
    if getattr(config, name) is not None:
      integer(name, getattr(config, name), 1)
  for name in above_zero:
    _above_zero(name, getattr(config, name))
  for name in not_negative:
    number(name, getattr(config, name), 0)
  for name in shares:
    number(name, getattr(config, name), 0, 1)


def at_least(config: Any, **minima: int) -> None:
  """Checks integer fields of a configuration, each with its least value."""
  for name, minimum in minima.items():
    integer(name, getattr(config, name), minimum)


def literals(config: Any) -> None:
  """Checks each field of a dataclass that is annotated as a `Literal`.

  One of a `Literal | None` may be None as well.
  """
  for name, (kind, choices, optional) in _rules(type(config)).items():
    value = getattr(config, name)
    if kind is typing.Literal and not (optional and value is None):
      choice(name, value, choices)


def annotated(config: Any) -> None:
  """Checks each field of a dataclass by its annotation.

  A `Literal` has its choices, an `int` is at least 1 and a `float` finite and
  above 0. `Annotated[int, 0]` is at least 0, likewise for numbers, and
  `Annotated[float, None]` any finite one. With `| None` None is allowed, too.
  """
  literals(config)
  for name, (kind, low, optional) in _rules(type(config)).items():
    value = getattr(config, name)
    if kind is typing.Literal or (optional and value is None):
      continue
    if kind is int:
      integer(name, value, 1 if low is _DEFAULT else low)
    elif low is _DEFAULT:
      _above_zero(name, value)
    else:
      number(name, value, low)


_DEFAULT = object()


@functools.cache
def _rules(kind: type) -> dict[str, tuple[Any, Any, bool]]:
  """Returns what a dataclass's fields are checked for by their annotations."""
  hints, rules = typing.get_type_hints(kind, include_extras=True), {}
  for field in dataclasses.fields(kind):
    hint, optional, bound = hints[field.name], False, _DEFAULT
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
      optional = type(None) in typing.get_args(hint)
      hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) is typing.Annotated:
      hint, bound, *_ = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
      rules[field.name] = typing.Literal, typing.get_args(hint), optional
    elif hint in (int, float):
      rules[field.name] = hint, bound, optional
  return rules


# `fields` has an argument of that name.
_above_zero = above_zero


def _within(value, low, high):
  return (low is None or value >= low) and (high is None or value <= high)


def _range(low, high):
  if low is None and high is None:
    return ""
  if high is None:
    return f" of at least {low}"
  if low is None:
    return f" of at most {high}"
  return f" from {low} to {high}"
