"""The matrix memory that the mixers of the mLSTM share."""

import math

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts

# Initial forget gates, before the sigmoid, over the heads.
_FORGET_BIAS = (3.0, 6.0)


def gate_biases(input_bias: jax.Array) -> jax.Array:
  """Biases of input gates (heads,), and of the forget gates beside them."""
  forget = jnp.linspace(*_FORGET_BIAS, input_bias.shape[0], dtype=jnp.float32)
  return jnp.concatenate([input_bias, forget])


def read(over, q, k, v, gates, state, reset, eps):
  """Outputs (..., heads, d_value) and the state; eps is beside the divisor."""
  # q and k are (..., heads * d_key), and k is divided by sqrt(d_key) here, v is
  # (..., heads * d_value), and gates (..., 2 * heads) are input gates and
  # forget gates before the sigmoid.
  i, f = jnp.split(gates, 2, axis=-1)
  q, k, v = (head_parts.split(x, i.shape[-1]) for x in (q, k, v))
  scale = 1 / math.sqrt(k.shape[-1])
  k = contract.pointwise(lambda k: scale * k, k)
  elements = q, k, v, i, jax.nn.log_sigmoid(f), state
  return over(recurrence.mlstm_scan_heads, *elements, eps=eps, reset=reset)
