"""Dense layers and dtypes that the package's Flax modules share."""

import functools
from typing import Any

from flax import linen
import jax
from jax import lax
import jax.numpy as jnp


def activation_dtype(dtype: Any, x: jax.Array) -> jnp.dtype:
  """Returns the dtype to compute in: `dtype`, or float64 for float64 inputs."""
  x_dtype = jnp.result_type(x)
  if not jnp.issubdtype(x_dtype, jnp.floating):
    raise ValueError(f"x must be of a floating dtype; got {x_dtype}.")
  return x_dtype if x_dtype == jnp.float64 else jnp.dtype(dtype)


def _merged_dot_general(lhs, rhs, dimension_numbers, **kwargs):
  """`lax.dot_general` of (..., n) and (n, m) with the leading axes merged.

  The gradient of the kernel then sums over one axis. Over several, compilers
  transpose the operands first: on a CPU that takes half as long again.
  """
  if lhs.ndim <= 2 or dimension_numbers != (((lhs.ndim - 1,), (0,)), ((), ())):
    return lax.dot_general(lhs, rhs, dimension_numbers, **kwargs)
  flat = lax.dot_general(
    lhs.reshape(-1, lhs.shape[-1]), rhs, (((1,), (0,)), ((), ())), **kwargs
  )
  return flat.reshape(*lhs.shape[:-1], rhs.shape[-1])


# `linen.Dense` whose gradient is a plain matrix product.
Dense = functools.partial(linen.Dense, dot_general=_merged_dot_general)
