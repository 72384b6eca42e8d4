"""What a traced program holds."""

from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np


def inner(equation: Any) -> Iterator[Any]:
  """Yields the jaxprs in the parameters of an equation."""

  def is_jaxpr(leaf):
    return hasattr(leaf, "eqns") or hasattr(leaf, "jaxpr")

  for leaf in jax.tree.leaves(equation.params, is_leaf=is_jaxpr):
    if is_jaxpr(leaf):
      yield getattr(leaf, "jaxpr", leaf)


def size(jaxpr: Any) -> int:
  """Returns how many numbers all results and constants hold, loops run once."""
  jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
  variables = [*jaxpr.constvars]
  for equation in jaxpr.eqns:
    variables += equation.outvars
  own = sum(int(np.prod(v.aval.shape)) for v in variables)
  return own + sum(size(j) for e in jaxpr.eqns for j in inner(e))


def find(jaxpr: Any, name: str) -> Iterator[Any]:
  """Yields the equations of a primitive, those of inner jaxprs too."""
  jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
  for equation in jaxpr.eqns:
    if equation.primitive.name == name:
      yield equation
    for each in inner(equation):
      yield from find(each, name)


Marks = frozenset[str]


def follow(
  jaxpr: Any,
  marks: list[Marks],
  visit: Callable[[Any, list[Marks]], Marks],
) -> list[Marks]:
  """Follows what the numbers of a program are made of.

  Those of what a loop carries are followed until they grow no more.

  Args:
    jaxpr: a jaxpr, open or closed.
    marks: those of its inputs.
    visit: called for every equation without an inner jaxpr, for those in loops
      more than once: from it and the marks of its operands to those of its
      results, the union mostly.

  Returns:
    The marks of the outputs.
  """
  jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
  none: Marks = frozenset()
  known = dict(zip(jaxpr.invars, marks, strict=True))

  def of(variables):
    # Literals are no keys.
    return [
      none if hasattr(v, "val") else known.get(v, none) for v in variables
    ]

  for equation in jaxpr.eqns:
    operands = of(equation.invars)
    bodies = list(inner(equation))
    if not bodies:
      results = [visit(equation, operands)] * len(equation.outvars)
    elif equation.primitive.name == "scan":
      results = _follow_scan(equation, bodies[0], operands, visit)
    elif equation.primitive.name == "while":
      raise NotImplementedError("a loop of unknown length")
    else:
      # The first operand of a switch is the number of its branch.
      each = [
        follow(b, operands[len(operands) - len(b.invars) :], visit)
        for b in bodies
      ]
      results = [none.union(*branches) for branches in zip(*each, strict=True)]
    known.update(zip(equation.outvars, results, strict=True))
  return of(jaxpr.outvars)


def _follow_scan(equation, body, operands, visit):
  """Operands are constants, the carry and slices; results carry and slices."""

  def sliced(outside, inside):
    pairs = zip(outside, inside, strict=True)
    return sum(v.aval.ndim > w.aval.ndim for v, w in pairs)

  count = len(body.outvars) - sliced(equation.outvars, body.outvars)
  consts = len(operands) - count - sliced(equation.invars, body.invars)
  while True:
    results = follow(body, operands, visit)
    carry = operands[consts : consts + count]
    grown = [a | b for a, b in zip(carry, results[:count])]
    if grown == carry:
      return results
    operands = [*operands[:consts], *grown, *operands[consts + count :]]
