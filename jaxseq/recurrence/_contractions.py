"""Contractions in the form that XLA computes fastest."""

import functools
import math
import re

import jax
from jax import lax
import jax.numpy as jnp


def operand_dtype(
  dtype: jax.typing.DTypeLike, wide: jax.typing.DTypeLike
) -> jnp.dtype:
  """The dtype of operands of products whose sums, states and decays are `wide`.

  bfloat16 stays bfloat16 beside float32. float16 has not the range of float32,
  which states and cotangents need, and is widened like all else.
  """
  narrow = dtype == jnp.bfloat16 and wide == jnp.float32
  return jnp.dtype(dtype if narrow else wide)


def einsum(
  spec: str, x: jax.Array, y: jax.Array, operands: jax.typing.DTypeLike
) -> jax.Array:
  """jnp.einsum of two arrays that are brought to the dtype of `operands`.

  Products of bfloat16 are summed in float32, the dtype of the result; those of
  the gradient too, of cotangents that are rounded for them. It can be
  differentiated again, in reverse. Letters stand in two of the three terms.
  """
  if operands == jnp.bfloat16:
    return _narrow(spec, (x.dtype, y.dtype), x, y)
  return jnp.einsum(spec, x.astype(operands), y.astype(operands))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _narrow(spec, dtypes, x, y):
  """The derivative that jax knows would multiply float32 and bfloat16."""
  return _narrow_forward(spec, dtypes, x, y)[0]


def _narrow_forward(spec, dtypes, x, y):
  del dtypes
  x, y = x.astype(jnp.bfloat16), y.astype(jnp.bfloat16)
  return jnp.einsum(spec, x, y, preferred_element_type=jnp.float32), (x, y)


def _narrow_backward(spec, dtypes, operands, g):
  x, y = operands
  x_term, y_term, out = re.split(",|->", spec)
  dx = einsum(f"{out},{y_term}->{x_term}", g, y, jnp.bfloat16)
  dy = einsum(f"{x_term},{out}->{y_term}", x, g, jnp.bfloat16)
  return dx.astype(dtypes[0]), dy.astype(dtypes[1])


_narrow.defvjp(_narrow_forward, _narrow_backward)


def dot(
  x: jax.Array,
  y: jax.Array,
  x_axis: int,
  y_axis: int,
  exact: bool = False,
  operands: jax.typing.DTypeLike | None = None,
) -> jax.Array:
  """Sums over one of the last two axes of each; the leading ones are a batch.

  Leading axes of size 1 are repeated. No operand is transposed first, which
  XLA would do by a copy. With `operands` both are rounded as in `einsum`.
  """
  lead = jnp.broadcast_shapes(x.shape[:-2], y.shape[:-2])
  # One leading axis: XLA on CPUs has a limit on their number.
  x, y = (
    jnp.broadcast_to(z, lead + z.shape[-2:]).reshape(-1, *z.shape[-2:])
    for z in (x, y)
  )
  if operands == jnp.bfloat16:
    terms = {-1: "b{}s", -2: "bs{}"}
    spec = terms[x_axis].format("m") + "," + terms[y_axis].format("n")
    product = einsum(spec + "->bmn", x, y, operands)
  else:
    axes = ((3 + x_axis,), (3 + y_axis,)), ((0,), (0,))
    precision = lax.Precision.HIGHEST if exact else None
    product = lax.dot_general(x, y, axes, precision=precision)
  return product.reshape(lead + product.shape[1:])


def dense(x: jax.Array, w: jax.Array, **options) -> jax.Array:
  """The product of (..., n) and (n, m), with a plain one as its gradient in w.

  On CPUs the leading axes of x are merged first. The gradient in w then sums
  over one axis; over several, XLA transposes the operands, and takes up to
  twice as long. On TPUs merging axes can move the whole array.

  Args:
    x: (..., n).
    w: (n, m).
    **options: of `lax.dot_general`.

  Returns:
    (..., m).
  """
  if x.ndim > 2 and jax.default_backend() == "cpu":
    *lead, n = x.shape
    product = dense(x.reshape(math.prod(lead), n), w, **options)
    return product.reshape(*lead, w.shape[1])
  return lax.dot_general(x, w, (((x.ndim - 1,), (0,)), ((), ())), **options)


def sum_over(x: jax.Array, axis: int) -> jax.Array:
  """jnp.sum(x, axis, keepdims=True).

  On CPUs by a product with ones: measured there, XLA's own reductions take 3
  to 9 ns for an element, and these 0.5.
  """
  if x.shape[axis] == 1:
    return x
  if jax.default_backend() != "cpu":
    return jnp.sum(x, axis, keepdims=True)
  axis %= x.ndim
  if axis == x.ndim - 1:
    ones = jnp.ones((x.shape[-1], 1), x.dtype)
    return (x.reshape(-1, x.shape[-1]) @ ones).reshape(*x.shape[:-1], 1)
  flat = x.reshape(math.prod(x.shape[:axis]), x.shape[axis], -1)
  ones = jnp.ones((flat.shape[0], 1, flat.shape[1]), x.dtype)
  total = dot(ones, flat, -1, -2)
  return total.reshape(*x.shape[:axis], 1, *x.shape[axis + 1 :])
