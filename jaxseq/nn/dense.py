"""Dense layers and dtypes that the package's Flax modules share."""

import functools

from flax import linen
import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import _validate
from jaxseq import recurrence


def activation_dtype(dtype: jax.typing.DTypeLike, x: jax.Array) -> jnp.dtype:
  """Returns the dtype to compute in: `dtype`, or float64 for float64 inputs."""
  x_dtype = jnp.result_type(x)
  if not jnp.issubdtype(x_dtype, jnp.floating):
    raise _validate.error("x", f"dtype {x_dtype}", "a floating dtype")
  return x_dtype if x_dtype == jnp.float64 else jnp.dtype(dtype)


def _dot_general(lhs, rhs, dimension_numbers, **options):
  """`lax.dot_general`, by `recurrence.dense` where that is what is asked."""
  if dimension_numbers == (((lhs.ndim - 1,), (0,)), ((), ())) and rhs.ndim == 2:
    return recurrence.dense(lhs, rhs, **options)
  return lax.dot_general(lhs, rhs, dimension_numbers, **options)


def dropout(x: jax.Array, rate: float, train: bool, step: bool) -> jax.Array:
  """Drops features (*batch, time, n) by one mask for all of the time."""
  layer = linen.Dropout(rate, broadcast_dims=() if step else (-2,))
  return layer(x, deterministic=not train)


# `linen.Dense` whose gradient is a plain matrix product.
Dense = functools.partial(linen.Dense, dot_general=_dot_general)
