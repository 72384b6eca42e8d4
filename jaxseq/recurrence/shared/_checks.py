"""Checks of arrays that all recurrences share; None passes them.

A line says the shapes of a recurrence's arguments, in the order of the checks:

    v: *batch time dv; k: *batch time dk; decay?: *batch time dk|1;
    init?: m *batch, w *batch dv

A word stands for one size everywhere, `*batch` for any number of axes, and
`dk|1` for either; three dots are checked by somebody else. A name with a
question mark may be None. Arrays are floating, but those with `any` may have
another dtype. The last of these arguments is a tuple of arrays with names.
"""

from collections.abc import Mapping
import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxseq import validate

Sizes = dict[str, Any]


def floating(**arrays: jax.Array | None) -> None:
  """Raises ValueError unless the arrays of these names are floating."""
  for name, x in arrays.items():
    if x is not None and not jnp.issubdtype(jnp.result_type(x), jnp.floating):
      raise validate.error(
        name, f"dtype {jnp.result_type(x)}", "a floating one"
      )


def shape(name: str, x: jax.Array | None, expected: tuple[int, ...]) -> None:
  """Raises ValueError unless `x` has that shape."""
  if x is not None:
    validate.shape(name, x, expected)


def flags(name: str, x: jax.Array | None, expected: tuple[int, ...]) -> None:
  """Raises ValueError unless `x` is bool and of that shape."""
  shape(name, x, expected)
  if x is not None and jnp.result_type(x) != jnp.bool_:
    raise validate.error(name, f"dtype {jnp.result_type(x)}", "bool")


def reset(x: jax.Array | None, expected: tuple[int, ...]) -> None:
  """Raises ValueError unless resets are bool and of that shape."""
  flags("reset", x, expected)


def arguments(
  line: str, arrays: Mapping[str, Any], *, time: bool = True
) -> Sizes:
  """Checks arguments by their line; returns the sizes of its words."""
  # Without `time` they are those of a step: no array has that axis, and the
  # state, which must be there, is called so.
  sizes, entries = {}, []
  for name, optional, is_floating, leaves in _parsed(line):
    x = arrays[name]
    if name == "init" and not time:
      name, optional = "state", False
    if x is None and optional:
      continue
    entries.append((name, x, is_floating, leaves))
    if is_floating and len(leaves) == 1:
      floating(**{name: x})
  for name, x, is_floating, leaves in entries:
    if len(leaves) > 1:
      _state(name, x, leaves, sizes)
      if is_floating:
        floating(**{f"{name}.{leaf[0]}": y for leaf, y in zip(leaves, x)})
      continue
    axes = tuple(axis for axis in leaves[0] if time or axis != "time")
    if axes != ("...",):
      _array(name, x, axes, sizes)
    elif x is None:
      raise validate.error(name, None, "an array")
  return sizes


def shapes(line: str, name: str, sizes: Sizes) -> list[tuple[int, ...]]:
  """Shapes of an argument's arrays."""
  leaves = next(leaves for key, *_, leaves in _parsed(line) if key == name)
  if len(leaves) > 1:
    leaves = [leaf[1:] for leaf in leaves]
  return [_wanted(leaf, sizes) for leaf in leaves]


def names(line: str) -> list[str]:
  """Names of all arguments."""
  return [name for name, *_ in _parsed(line)]


def of_rows(line: str) -> list[str]:
  """Names of the arguments with batch axes."""
  return [name for name, *_, leaves in _parsed(line) if "*batch" in leaves[0]]


@functools.cache
def _parsed(line):
  """Name, if it may be None, if it is floating, and words of each array."""
  entries = []
  for entry in line.split(";"):
    name, axes = entry.split(":")
    leaves = axes.removeprefix(" any").split(",")
    leaves = tuple(tuple(leaf.split()) for leaf in leaves)
    is_floating = not axes.startswith(" any")
    entries.append((name.strip(" \n?"), "?" in name, is_floating, leaves))
  return tuple(entries)


def _wanted(axes, sizes):
  """The axes as numbers, or as words if they are not known yet."""
  known = []
  for axis in axes:
    size = sizes.get(axis, int(axis) if axis.isdecimal() else axis)
    known += size if isinstance(size, tuple) else (size,)
  return tuple(known)


def _array(name, x, axes, sizes):
  """Checks an array, and adds the sizes of its new words."""
  *lead, last = axes
  if "|" in last:
    options = [_wanted((*lead, size), sizes) for size in last.split("|")]
    if jnp.shape(x) not in options:
      expected = " or ".join(map(str, options))
      raise validate.error(name, f"shape {jnp.shape(x)}", expected)
    return
  got = validate.shape(name, x, _wanted(axes, sizes))
  if axes[0] == "*batch":
    sizes.setdefault("*batch", got[: len(got) - len(axes) + 1])
    axes = axes[1:]
  for axis, size in zip(axes, got[len(got) - len(axes) :]):
    sizes.setdefault(axis, size)


def _state(name, x, leaves, sizes):
  """Checks a state of several arrays."""
  expected = [_wanted(leaf[1:], sizes) for leaf in leaves]
  got = [jnp.shape(leaf) for leaf in jax.tree.leaves(x)]
  if got != expected:
    names = ", ".join(leaf[0] for leaf in leaves)
    listed = ", ".join(map(str, expected))
    raise validate.error(name, got, f"({names}) of shapes {listed}")
