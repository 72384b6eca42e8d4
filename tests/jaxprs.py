"""What a traced program holds."""

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
