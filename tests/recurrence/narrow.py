"""bfloat16 inputs: what tests of several recurrences say about them."""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from tests import jaxprs

# The largest relative error of a number that is rounded to bfloat16's 8 bits.
# The errors of many numbers have a root mean square of about 0.4 of it, and so
# have those of sums of many rounded terms, in units of the sums.
UNIT = 2.0**-8


def rounded(x, dtype=jnp.bfloat16):
  """The nearest numbers of `dtype`."""
  return jnp.asarray(np.asarray(x, np.float32), dtype)


def exact(tree):
  """The same numbers in float64 or complex128."""
  return jax.tree.map(
    lambda x: np.asarray(
      x, np.complex128 if np.iscomplexobj(x) else np.float64
    ),
    tree,
  )


def errors(got, expected):
  """Root mean square errors in units of those of the numbers, leaf by leaf."""

  def error(x, y):
    x, y = exact((x, y))
    size = np.sqrt(np.mean(np.abs(y) ** 2))
    return np.sqrt(np.mean(np.abs(x - y) ** 2)) / size / UNIT

  return jax.tree.map(error, got, expected)


def wide_products(function, *arguments):
  """Shapes of the operands of products in float32 that may be rounded.

  Those of log-decays, whose precision is the highest, may not. As a program
  for a GPU: on CPUs some sums are products too.
  """
  with mock.patch.object(jax, "default_backend", return_value="gpu"):
    jax.clear_caches()
    jaxpr = jax.make_jaxpr(function)(*arguments)
  jax.clear_caches()
  return [
    [variable.aval.shape for variable in equation.invars]
    for equation in jaxprs.find(jaxpr, "dot_general")
    if equation.invars[0].aval.dtype != jnp.bfloat16
    and equation.params["precision"] is None
  ]
