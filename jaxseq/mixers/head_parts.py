"""Heads: features split into them, their lengths, norms, gates and resets.

Parts for mixers with a state for each head, (..., heads, width):

    q, k, v = (head_parts.split(recurrence.dense(x, W), 4) for W in weights)
    q, k, v = (jnp.moveaxis(x, -2, -3) for x in (q, k, v))
    reset = head_parts.resets(reset, v.shape[:-1])
    o, state = recurrence.outer_scan(q, k, v, None, state, reset=reset)
"""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import positions


def split(x: jax.Array, heads: int) -> jax.Array:
  """Returns (..., heads * width) as (..., heads, width).

  Raises:
    ValueError: heads do not divide the last axis.
  """
  if x.shape[-1] % heads:
    raise contract.error("heads", heads, f"a divisor of {x.shape[-1]}")
  return x.reshape(*x.shape[:-1], heads, -1)


def resets(
  reset: jax.Array | None, shape: tuple[int, ...], *, time: bool = True
) -> jax.Array | None:
  """Returns flags of elements as flags of every head.

  Args:
    reset: (*batch, time) bool, or of one element (*batch,); or None.
    shape: (*batch, *heads, time), or of one element (*batch, *heads).
    time: whether there is a time axis.

  Returns:
    bool of that shape, or None.
  """
  if reset is None:
    return None
  front = reset.ndim - time
  heads = tuple(range(front, len(shape) - time))
  return jnp.broadcast_to(jnp.expand_dims(reset, heads), shape)


def unit(x: jax.Array, eps: float, scale: float = 1.0) -> jax.Array:
  """Returns scale * x / sqrt(|x|^2 + eps), lengths along the last axis."""
  square = jnp.sum(x * x, axis=-1, keepdims=True)
  return scale * x * jax.lax.rsqrt(square + eps)


def normed(o: jax.Array, scale: jax.Array, eps: float) -> jax.Array:
  """Divides o (..., n) by the root of its mean square; scale is (n,)."""
  norm = functools.partial(positions.rms_norm, eps=eps)
  return contract.pointwise(norm, o, scale)


def standardized(x: jax.Array, eps: float) -> jax.Array:
  """Returns (x - mean) / sqrt(variance + eps) along the last axis."""
  x = x - jnp.mean(x, axis=-1, keepdims=True)
  square = jnp.mean(x * x, axis=-1, keepdims=True)
  return x * jax.lax.rsqrt(square + eps)


def layer_normed(
  x: jax.Array, scale: jax.Array, bias: jax.Array | None, eps: float
) -> jax.Array:
  """A layer norm of each head (..., heads, n); to (..., heads * n).

  Scale and bias are those of all heads, (heads * n,).
  """

  def run(x, scale, *bias):
    x = standardized(x, eps)
    x = scale * x.reshape(*x.shape[:-2], -1)
    return x + bias[0] if bias else x

  return contract.pointwise(run, x, scale, *([] if bias is None else [bias]))


def gated(
  o: jax.Array,
  gate: jax.Array,
  function: Callable[[jax.Array], jax.Array] = jax.nn.silu,
) -> jax.Array:
  """Returns o silu(gate), or with another function."""
  return contract.pointwise(lambda o, gate: o * function(gate), o, gate)


def dense(
  x: jax.Array,
  W: jax.Array,
  bias: jax.Array | None = None,
  *,
  wide: bool = False,
) -> jax.Array:
  """Returns (..., heads * m), the product of each head with its own matrix.

  Args:
    x: (..., heads * n).
    W: (heads, n, m).
    bias: (heads * m,), or None.
    wide: whether the product of narrow x is float32.
  """
  heads = x.reshape(*x.shape[:-1], W.shape[0], -1)

  def one(x, W):
    return recurrence.dense(x, W, wide=wide or bias is not None)

  y = jax.vmap(one, in_axes=(-2, 0), out_axes=-2)(heads, W)
  y = y.reshape(*x.shape[:-1], -1)
  if bias is not None:
    y = y + bias.astype(y.dtype)
  return y if wide else y.astype(x.dtype)
