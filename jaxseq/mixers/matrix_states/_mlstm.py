"""The matrix memory that the mixers of the mLSTM share."""

import functools
import math

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import contract

# Forget gates at the beginning, before the sigmoid, over the heads.
_FORGET_BIAS = (3.0, 6.0)


def gate_biases(input_bias: jax.Array) -> jax.Array:
  """Biases of input gates (heads,), and of the forget gates beside them."""
  heads = input_bias.shape[0]
  forget = jnp.linspace(*_FORGET_BIAS, heads, dtype=jnp.float32)
  return jnp.concatenate([input_bias, forget])


def read(scan, q, k, v, gates, state, reset):
  """Runs `scan` of heads in the last axis but one.

  Args:
    scan: of `apply_scan` or `step_scan`.
    q: (..., heads * d_key).
    k: (..., heads * d_key), divided by sqrt(d_key) here.
    v: (..., heads * d_value).
    gates: (..., 2 * heads), input gates and forget gates before the sigmoid.
    state: a `recurrence.MLSTMState` of heads.
    reset: as a mixer gets it.

  Returns:
    (..., heads, d_value) and the state.
  """
  i, f = jnp.split(gates, 2, axis=-1)
  heads = i.shape[-1]
  q, k, v = (x.reshape(*x.shape[:-1], heads, -1) for x in (q, k, v))
  scale = 1 / math.sqrt(k.shape[-1])
  k = contract.pointwise(lambda k: scale * k, k)
  return scan(q, k, v, i, jax.nn.log_sigmoid(f), state, reset=reset)


def apply_scan(axis, eps):
  """For `read` of a sequence; eps is that beside the divisor."""
  return functools.partial(recurrence.mlstm_scan_heads, axis=axis, eps=eps)


def step_scan(eps):
  """For `read` of one element: heads are batch axes."""

  def scan(q, k, v, i, f, state, *, reset):
    if reset is not None:
      reset = jnp.broadcast_to(reset[..., None], i.shape)
    return recurrence.mlstm_step(q, k, v, i, f, state, eps=eps, reset=reset)

  return scan


def layer_norm(
  x: jax.Array, scale: jax.Array, bias: jax.Array | None, eps: float
) -> jax.Array:
  """A layer norm of each head (..., heads, n); to (..., heads * n).

  Scale and bias are those of all heads, (heads * n,).
  """

  def run(x, scale, *bias):
    x = x - jnp.mean(x, axis=-1, keepdims=True)
    square = jnp.mean(x * x, axis=-1, keepdims=True)
    x = x * jax.lax.rsqrt(square + eps)
    x = scale * x.reshape(*x.shape[:-2], -1)
    return x + bias[0] if bias else x

  return contract.pointwise(run, x, scale, *([] if bias is None else [bias]))
