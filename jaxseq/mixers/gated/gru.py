"""Gated recurrent unit, with a recurrence that is block-diagonal over heads.

  r_t = sigmoid(W_r x_t + R_r h_{t-1} + b_r)
  z_t = sigmoid(W_z x_t + R_z h_{t-1} + b_z)
  n_t = tanh(W_n x_t + b_n + r_t * (R_g h_{t-1} + b_g))
  h_t = z_t * h_{t-1} + (1 - z_t) * n_t

Sources: Cho et al., arXiv 1406.1078; the variant with the reset gate after the
recurrent product and head-wise R: FlashRNN, arXiv 2412.07752.

The parameters of `flax.linen.GRUCell` with one head convert as: W = (ir, iz,
in), R = (hn, hr, hz) kernels stacked along the gate axis; b = (hn, ir, iz, in)
biases.
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
  keeps="the same as `elman`, gated",
  memory=("h",),
)


@dataclasses.dataclass(frozen=True)
class Config(_gated.Config):
  """Options of the GRU."""


@_serialization.exported("jaxseq.mixers.gru.State")
class State(NamedTuple):
  """State of the GRU: h, (*batch, d_hidden), head by head."""

  h: jax.Array


def _forward(inputs, recurrent, state):
  (h,) = state
  in_r, in_z, in_n = inputs
  g, rec_r, rec_z = recurrent
  r = _gated.sigmoid(in_r + rec_r)
  z = _gated.sigmoid(in_z + rec_z)
  n = jnp.tanh(in_n + r * g)
  return (z * h + (1 - z) * n,), (r, z, n, g)


def _backward(saved, state, cotangent):
  r, z, n, g = saved
  (h,) = state
  (d_h,) = cotangent
  d_n = d_h * (1 - z) * (1 - n * n)
  d_z = d_h * (h - n) * z * (1 - z)
  d_r = d_n * g * r * (1 - r)
  return (d_r, d_z, d_n), (d_n * r, d_r, d_z), (d_h * z,)


_CELL = recurrence.GatedCell(_forward, _backward)


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters: LeCun-normal inputs, orthogonal blocks, zero biases.

  Returns:
    A dict of float32 arrays, with D = d_hidden / heads:
      W: (d_model, 3, d_hidden), input kernels of the gates r, z, n.
      R: (heads, D, 3, D), [head, in, gate, out], recurrent kernels of g, r, z.
      b: (4, d_hidden), biases of g, r, z, n.
      W_out, b_out: (d_hidden, d_model) and (d_model,), only if d_hidden is not
        d_model.
  """
  return _gated.init(key, config, input_gates=3, recurrent_gates=3, biases=4)


def _weights(params):
  # The biases of r and z may be on either side; those of n are on both.
  bias = params["b"]
  beside_g = jnp.concatenate([bias[:1], jnp.zeros_like(bias[:2])])
  return recurrence.GatedParams(params["W"], bias[1:], params["R"], beside_g)


initial_state, apply, step = _gated.bind(Config, State, init, _CELL, _weights)
