"""Elman network, with a recurrence that is block-diagonal over heads.

  h_t = tanh(W x_t + R h_{t-1} + b)

Sources: Elman, "Finding structure in time", 1990; head-wise R: FlashRNN, arXiv
2412.07752.
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
  keeps="a vector, through a matrix",
  memory=("h",),
)


@dataclasses.dataclass(frozen=True)
class Config(_gated.Config):
  """Options of the Elman network."""


@_serialization.exported("jaxseq.mixers.elman.State")
class State(NamedTuple):
  """State of the network: h, (*batch, d_hidden), head by head."""

  h: jax.Array


def _forward(inputs, recurrent, state):
  del state
  h = jnp.tanh(inputs[0] + recurrent[0])
  return (h,), (h,)


def _backward(saved, state, cotangent):
  del state
  (h,) = saved
  d_gate = cotangent[0] * (1 - h * h)
  # h enters only through the recurrent product.
  return (d_gate,), (d_gate,), (jnp.zeros_like(d_gate),)


_CELL = recurrence.GatedCell(_forward, _backward)


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters: LeCun-normal inputs, orthogonal blocks, zero bias.

  Returns:
    A dict of float32 arrays, with D = d_hidden / heads:
      W: (d_model, 1, d_hidden), input kernel.
      R: (heads, D, 1, D), [head, in, 1, out], recurrent kernel.
      b: (1, d_hidden), bias.
      (d_hidden, d_model) and (d_model,), only if d_hidden is not d_model.
  """
  return _gated.init(key, config, input_gates=1, recurrent_gates=1, biases=1)


initial_state, apply, step = _gated.bind(Config, State, init, _CELL)
