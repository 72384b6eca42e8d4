"""Contractions in the form that XLA computes fastest."""

import functools
import math
import re
import string

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.platform import contexts
from jaxseq.recurrence.shared import _varying
from jaxseq.recurrence.shared import weights


def operand_dtype(
  dtype: jax.typing.DTypeLike, wide: jax.typing.DTypeLike
) -> jnp.dtype:
  """Dtype of the operands of products whose sums and states are `wide`."""
  # bfloat16 stays bfloat16 beside float32. float16 lacks the range of float32,
  # which states and cotangents need, and is widened like all other dtypes.
  narrow = dtype == jnp.bfloat16 and wide == jnp.float32
  return jnp.dtype(dtype if narrow else wide)


def einsum(
  spec: str, x: jax.Array, y: jax.Array, operands: jax.typing.DTypeLike
) -> jax.Array:
  """jnp.einsum of two arrays that are brought to the dtype of `operands`."""
  if operands == jnp.bfloat16:
    return narrow_einsum(spec, operands, jnp.dtype(jnp.float32), x, y)
  return jnp.einsum(spec, x.astype(operands), y.astype(operands))


def batched(
  spec: str, x: jax.Array, y: jax.Array, operands: jax.typing.DTypeLike
) -> jax.Array:
  """`einsum` of arrays that start with the same axes, written as "..."."""
  letters = string.ascii_uppercase[: x.ndim - len(spec.split(",")[0]) + 3]
  return einsum(spec.replace("...", letters), x, y, operands)


def dot(
  x: jax.Array,
  y: jax.Array,
  x_axis: int,
  y_axis: int,
  exact: bool = False,
  operands: jax.typing.DTypeLike | None = None,
) -> jax.Array:
  """Sums over one of each array's last two axes; the others are a batch."""
  # Leading axes of size 1 are repeated. No operand is transposed first, which
  # XLA would do by a copy. With `operands` both are rounded as in `einsum`.
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


def dense(
  x: jax.Array,
  w: jax.Array | weights.Weight,
  bias: jax.Array | None = None,
  *,
  wide: bool = False,
) -> jax.Array:
  """Returns the product of (..., n) and (n, m); the gradient is a product, too.

  If x is narrower than float32 (bfloat16, float16) the products, also those of
  the gradient, have its dtype, and their sums float32. The gradients of w and
  the bias are not rounded: they have the dtypes of these arrays.

  On CPUs the leading axes of x are merged first. The gradient of w then sums
  over one axis; over several, XLA transposes the operands, and takes up to
  twice as long. On TPUs merging axes can move the whole array.

  Args:
    x: (..., n).
    w: (n, m), cast to the dtype of x; or a `Weight`, which computes the
      product.
    bias: (m,), added before the sum is rounded; or None.
    wide: whether sums of narrow x are returned in float32, without rounding.

  Returns:
    (..., m) in the dtype of x, or in float32 if that is wider and `wide`. It
    can be differentiated again, but for narrow x not in forward mode.
  """
  y = _dense(x, w, wide or bias is not None)
  if bias is not None:
    y = y + bias.astype(y.dtype)
  return y if wide else y.astype(x.dtype)


def dense_heads(
  x: jax.Array,
  w: jax.Array | weights.Weight,
  bias: jax.Array | None = None,
  *,
  wide: bool = False,
) -> jax.Array:
  """Computes `dense` with a separate weight for each head.

  Args:
    x: (..., heads, n).
    w: (heads, n, m), cast to the dtype of x.
    bias: (heads, m), added before the sum is rounded; or None.
    wide: as in `dense`.

  Returns:
    (..., heads, m), as `dense` returns it.
  """
  one = functools.partial(dense, wide=wide)
  if bias is None:
    return jax.vmap(one, in_axes=(-2, 0), out_axes=-2)(x, w)
  return jax.vmap(one, in_axes=(-2, 0, 0), out_axes=-2)(x, w, bias)


def _dense(x, w, wide):
  """Computes the product without the bias."""
  if isinstance(w, weights.Weight):
    return w.apply(x, wide)
  if x.ndim > 2 and contexts.machine()[0] == "cpu":
    *lead, n = x.shape
    y = _dense(x.reshape(math.prod(lead), n), w, wide)
    return y.reshape(*lead, w.shape[1])
  if is_narrow(x.dtype):
    out = jnp.dtype(jnp.float32) if wide else x.dtype
    lead = string.ascii_lowercase[: x.ndim - 1]
    # As the cotangents of narrow_einsum do.
    x, w = _varying.vary_as(w, x), _varying.vary_as(x, w)
    return narrow_einsum(f"{lead}X,XY->{lead}Y", x.dtype, out, x, w)
  axes = ((x.ndim - 1,), (0,)), ((), ())
  return lax.dot_general(x, w.astype(x.dtype), axes)


def is_narrow(dtype: jax.typing.DTypeLike) -> bool:
  """Returns whether a floating dtype is narrower than float32."""
  return jnp.finfo(dtype).bits < 32


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def narrow_einsum(
  spec: str, dtype: jnp.dtype, out: jnp.dtype, x: jax.Array, y: jax.Array
) -> jax.Array:
  """Sums in float32 of products of arrays rounded to a narrow dtype."""
  # The gradients are such products too, with rounded cotangents, and each has
  # the dtype of its array: that of a float32 weight is the unrounded sum. JAX's
  # own would be products of float32 cotangents. Each letter of `spec` is in at
  # least two of its three terms; the result has the dtype `out`, and can be
  # differentiated again, but not in forward mode.
  x, y = x.astype(dtype), y.astype(dtype)
  return jnp.einsum(spec, x, y, preferred_element_type=jnp.float32).astype(out)


def _narrow_einsum_forward(spec, dtype, out, x, y):
  return narrow_einsum(spec, dtype, out, x, y), (x, y)


def _narrow_einsum_backward(spec, dtype, out, operands, cotangent):
  del out
  x, y = operands
  x_term, y_term, term = re.split(",|->", spec)
  return (
    narrow_einsum(f"{term},{y_term}->{x_term}", dtype, x.dtype, cotangent, y),
    narrow_einsum(f"{x_term},{term}->{y_term}", dtype, y.dtype, x, cotangent),
  )


narrow_einsum.defvjp(_narrow_einsum_forward, _narrow_einsum_backward)


def sum_over(x: jax.Array, axis: int, scale: float = 1) -> jax.Array:
  """Sums numbers times a scale over an axis, which stays with size 1."""
  # On CPUs by a product with ones: measured there, XLA's own reductions take 3
  # to 9 ns for an element, and these 0.5.
  if x.shape[axis] == 1:
    return x if scale == 1 else scale * x
  if contexts.machine()[0] != "cpu":
    return jnp.sum(x if scale == 1 else scale * x, axis, keepdims=True)
  axis %= x.ndim
  if axis == x.ndim - 1:
    ones = jnp.full((x.shape[-1], 1), scale, x.dtype)
    return (x.reshape(-1, x.shape[-1]) @ ones).reshape(*x.shape[:-1], 1)
  flat = x.reshape(math.prod(x.shape[:axis]), x.shape[axis], -1)
  ones = jnp.full((flat.shape[0], 1, flat.shape[1]), scale, x.dtype)
  total = dot(ones, flat, -1, -2)
  return total.reshape(*x.shape[:axis], 1, *x.shape[axis + 1 :])
