"""Which collectives a program uses, read off its jaxpr."""

from collections.abc import Iterator
from typing import Any
from typing import NamedTuple

import jax
from jax.extend import core

_NAMES = ("all_gather", "all_to_all", "ppermute", "reduce_scatter")


class Collective(NamedTuple):
  """A collective, and the number of elements that a device puts into it."""

  name: str
  size: int


def used(function: Any, *args: Any) -> list[Collective]:
  """Those of `function(*args)`, sums left out, in the order of the program."""
  return list(_walk(jax.make_jaxpr(function)(*args).jaxpr))


def names(function: Any, *args: Any) -> list[str]:
  return [collective.name for collective in used(function, *args)]


def _walk(jaxpr) -> Iterator[Collective]:
  for equation in jaxpr.eqns:
    if equation.primitive.name in _NAMES:
      size = sum(variable.aval.size for variable in equation.invars)
      yield Collective(equation.primitive.name, size)
    for inner in _inner(equation.params):
      yield from _walk(inner)


def _inner(params):
  for leaf in jax.tree.leaves(tuple(params.values()), is_leaf=_is_jaxpr):
    if _is_jaxpr(leaf):
      yield getattr(leaf, "jaxpr", leaf)


def _is_jaxpr(x):
  return isinstance(x, (core.Jaxpr, core.ClosedJaxpr))
