"""Long short-term memory, block-diagonal over heads in its recurrence.

  i_t, f_t, o_t = sigmoid(W x_t + R h_{t-1} + b), each with its own W, R, b
  z_t = tanh(W_z x_t + R_z h_{t-1} + b_z)
  c_t = f_t * c_{t-1} + i_t * z_t
  h_t = o_t * tanh(c_t)

Sources: Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al.
2000; head-wise R: FlashRNN, arXiv 2412.07752.

The parameters of `flax.linen.OptimizedLSTMCell` convert, for one head, as: W =
(ii, if, ig, io) and R = (hi, hf, hg, ho) kernels stacked along the gate axis, b
= the biases of (hi, hf, hg, ho).
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers.gated import _gated

TRAITS = dataclasses.replace(
  _gated.TRAITS,
  keeps="two vectors",
  memory=("h", "c"),
)


@dataclasses.dataclass(frozen=True)
class Config(_gated.Config):
  """Options of the LSTM.

  Attributes:
    forget_bias: initial value of the forget gate's bias; 1 keeps the memory at
      first (Jozefowicz et al. 2015).
  """

  forget_bias: contract.Number = 1.0


@_serialization.exported("jaxseq.mixers.lstm.State")
class State(NamedTuple):
  """State of the LSTM: output h and cell c, (*batch, d_hidden), by heads."""

  h: jax.Array
  c: jax.Array


def _forward(inputs, recurrent, state):
  _, c = state
  i, f, z, o = (a + b for a, b in zip(inputs, recurrent))
  i, f, o = _gated.sigmoid(i), _gated.sigmoid(f), _gated.sigmoid(o)
  z = jnp.tanh(z)
  c = f * c + i * z
  tanh_c = jnp.tanh(c)
  return (o * tanh_c, c), (i, f, z, o, tanh_c)


def _backward(saved, state, cotangent):
  i, f, z, o, tanh_c = saved
  _, c = state
  d_h, d_c = cotangent
  d_c = d_c + d_h * o * (1 - tanh_c * tanh_c)
  d_gates = (
    d_c * z * i * (1 - i),
    d_c * c * f * (1 - f),
    d_c * i * (1 - z * z),
    d_h * tanh_c * o * (1 - o),
  )
  # h enters only through the recurrent product.
  return d_gates, d_gates, (jnp.zeros_like(d_h), d_c * f)


_CELL = recurrence.GatedCell(_forward, _backward)


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters: LeCun-normal inputs, orthogonal blocks.

  Returns:
    A dict of float32 arrays, gates in the order i, f, z, o, D = d_hidden /
    heads:
      W: (d_model, 4, d_hidden), input kernels.
      R: (heads, D, 4, D), [head, in, gate, out], recurrent kernels.
      b: (4, d_hidden), biases; zeros except for those of f.
      W_out, b_out: (d_hidden, d_model) and (d_model,), only if d_hidden is not
        d_model.
  """
  params = _gated.init(key, config, input_gates=4, recurrent_gates=4, biases=4)
  params["b"] = params["b"].at[1].set(config.forget_bias)
  return params


initial_state, apply, step = _gated.bind(Config, State, init, _CELL)
