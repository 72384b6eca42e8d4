"""Counts what devices send each other, from the traced program."""

from collections.abc import Iterator
import math
from typing import NamedTuple

import jax
import numpy as np

# Elements that one device receives, over those of the operand: a function of
# the number of devices.
_RECEIVED = {
  "ppermute": lambda devices: 1,
  "all_gather": lambda devices: devices - 1,
  "all_to_all": lambda devices: (devices - 1) / devices,
  "reduce_scatter": lambda devices: (devices - 1) / devices,
  # A reduce-scatter and an all-gather.
  "psum": lambda devices: 2 * (devices - 1) / devices,
}


class Collective(NamedTuple):
  """A collective of a program.

  Attributes:
    name: "ppermute", "all_gather", "all_to_all", "reduce_scatter" or "psum".
    shape: of the operand on one device.
    dtype: of the operand.
    times: how often it is run; more than once inside a loop.
    pairs: of a "ppermute", which device sends to which.
  """

  name: str
  shape: tuple[int, ...]
  dtype: np.dtype
  times: int
  pairs: tuple[tuple[int, int], ...] | None = None

  @property
  def size(self) -> int:
    """Elements of the operand."""
    return math.prod(self.shape)

  def received(self, devices: int) -> float:
    """Elements that so many devices receive in all runs, on average."""
    factor = _RECEIVED[self.name](devices)
    if self.pairs is not None:
      factor *= len(self.pairs) / devices
    return self.times * factor * self.size


def of(function, *arguments) -> list[Collective]:
  """Lists the collectives of `function(*arguments)`, in the program's order.

  What is worked out and not used is left out, as the compiler does. A branch
  that only some devices take counts as if all took it.
  """
  closed = jax.make_jaxpr(jax.jit(function))(*arguments)
  return list(_collectives(_without_dead_code(closed.jaxpr), 1))


def exchanges(function, *arguments) -> list[Collective]:
  """As `of`, without the sums."""
  return [each for each in of(function, *arguments) if each.name != "psum"]


def names(function, *arguments) -> list[str]:
  """The names of the exchanges, one for each time that they are run."""
  found = exchanges(function, *arguments)
  return [each.name for each in found for _ in range(each.times)]


def equations(function, *arguments):
  """Lists a program's equations, loops unfolded in number only.

  What is worked out and not used is left out.

  Args:
    function: to trace.
    *arguments: arrays or shapes.

  Returns:
    For each equation of the traced program: it, how often it is run, and
    whether devices run it, inside a `shard_map`.
  """
  closed = jax.make_jaxpr(jax.jit(function))(*arguments)
  return list(_equations(_without_dead_code(closed.jaxpr), 1))


def largest(function, *arguments) -> int:
  """Elements of the largest array inside the `shard_map` of a function."""
  closed = jax.make_jaxpr(function)(*arguments)
  sizes = [
    math.prod(variable.aval.shape)
    for equation, _, inside in _equations(closed.jaxpr, 1)
    if inside
    for variable in equation.outvars
  ]
  return max(sizes)


def count(collectives: list[Collective]) -> dict[str, int]:
  """How often each kind is run."""
  counts = {}
  for each in collectives:
    counts[each.name] = counts.get(each.name, 0) + each.times
  return counts


def _without_dead_code(jaxpr):
  from jax.interpreters import partial_eval

  return partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[0]


def _collectives(jaxpr, times) -> Iterator[Collective]:
  for equation, repeats, _ in _equations(jaxpr, times):
    name = equation.primitive.name.removesuffix("_invariant")
    if name in _RECEIVED:
      pairs = equation.params.get("perm")
      if pairs is not None:
        pairs = tuple((int(source), int(to)) for source, to in pairs)
      for operand in equation.invars:
        aval = operand.aval
        yield Collective(name, aval.shape, aval.dtype, repeats, pairs)


def _equations(jaxpr, times, inside=False):
  """All equations, how often each is run, and whether devices run it."""
  for equation in jaxpr.eqns:
    name = equation.primitive.name
    yield equation, times, inside
    repeats = times * equation.params["length"] if name == "scan" else times
    for inner in jax.tree.leaves(
      list(equation.params.values()), is_leaf=_is_jaxpr
    ):
      if _is_jaxpr(inner):
        inner = getattr(inner, "jaxpr", inner)
        yield from _equations(inner, repeats, inside or name == "shard_map")


def _is_jaxpr(leaf) -> bool:
  return hasattr(leaf, "eqns") or hasattr(leaf, "jaxpr")
