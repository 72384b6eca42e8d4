"""MinGRU: a gated network whose gates do not depend on the state.

  z_t = sigmoid(W_z x_t)
  h_t = (1 - z_t) h_{t-1} + z_t g(W_h x_t)

with g(x) = x + 1/2 for x >= 0, else sigmoid(x). It is thus a linear recurrence,
which runs in parallel over time. Feng et al., "Were RNNs all we needed?",
arXiv:2410.01201, in the form of lucidrains' minGRU-pytorch.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq.mixers import contract
from jaxseq.mixers.gated import _minimal

TRAITS = dataclasses.replace(
  _minimal.TRAITS,
  keeps="a vector, gated by the input",
  memory=("h",),
)


@dataclasses.dataclass(frozen=True)
class Config(_minimal.Config):
  """Options of minGRU."""


@_serialization.exported("jaxseq.mixers.mingru.State")
class State(NamedTuple):
  """State of minGRU: h, (*batch, d_hidden)."""

  h: jax.Array


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters: LeCun-normal matrices.

  Returns:
    A dict of float32 arrays:
      W: (d_model, 2 d_hidden), to the candidates W_h and the gates W_z.
      W_out: (d_hidden, d_model), if d_hidden is not d_model.
  """
  return _minimal.init(key, config, 2)


def _coefficients(projected):
  """Coefficients 1 - z and z g(h)."""
  hidden, gate = jnp.split(projected, 2, axis=-1)
  z = jax.nn.sigmoid(gate)
  return jax.nn.sigmoid(-gate), z * _minimal.positive(hidden)


initial_state, apply, step = _minimal.bind(Config, State, init, _coefficients)
