"""Hashable forms of stack options: mappings as sorted pairs."""

from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxseq import validate

# Names and values of options. Python code and config files write mappings; a
# StackConfig stores sorted pairs, to be hashable.
Options = tuple[tuple[str, Any], ...] | Mapping[str, Any]


def mixers(field: str, given: Any) -> tuple[tuple[str, Options], ...]:
  """Returns mixers and their options as pairs."""
  try:
    entries = tuple(given.items() if isinstance(given, Mapping) else given)
    names = [name for name, _ in entries]
    fits = all(isinstance(name, str) for name in names)
  except (TypeError, ValueError):
    fits, entries = False, ()
  if isinstance(given, str) or not fits:
    expected = "mixers with their options, as {'attention': {'window': 64}}"
    raise validate.error(field, given, expected)
  return tuple((name, pairs(field, options)) for name, options in entries)


def layers(value: object) -> tuple[Options, ...]:
  """Returns the fields of each layer as pairs."""
  if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
    expected = "the fields of each layer, as ({}, {'mixer': 'attention'})"
    raise validate.error("layers", value, expected)
  return tuple(pairs("layers", options) for options in value)


def pairs(field: str, options: Any) -> tuple[tuple[str, Any], ...]:
  """Returns options as sorted pairs."""
  try:
    values = dict(options).items()
    return tuple(sorted((name, _hashable(value)) for name, value in values))
  except (TypeError, ValueError):
    expected = "names and values of options, as {'heads': 4}"
    raise validate.error(field, options, expected) from None


def _hashable(value: object) -> Any:
  """Converts mappings to pairs and lists to tuples, at any depth."""
  if isinstance(value, Mapping):
    return pairs("options", value)
  if isinstance(value, list | tuple):
    return tuple(_hashable(item) for item in value)
  return value


def dtype_name(dtype: Any) -> Any:
  """Returns the name of a dtype such as `jnp.bfloat16`; others unchanged."""
  if dtype is None or isinstance(dtype, str):
    return dtype
  try:
    return np.dtype(dtype).name
  except TypeError:
    return dtype
