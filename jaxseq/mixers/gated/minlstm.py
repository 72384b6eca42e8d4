"""MinLSTM: an LSTM whose gates do not depend on the state, and sum to one.

  f_t = sigmoid(W_f x_t),  i_t = sigmoid(W_i x_t)
  h_t = (f_t h_{t-1} + i_t g(W_h x_t)) / (f_t + i_t)

with g(x) = x + 1/2 for x >= 0, else sigmoid(x). It is thus a linear recurrence,
which runs in parallel over time. Feng et al., "Were RNNs all we needed?",
arXiv:2410.01201, in the form of lucidrains' minGRU-pytorch; a carried state is
one of h, as in its code for single steps.
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
  keeps="a vector, gated by the input as by two gates",
  memory=("h",),
)


@dataclasses.dataclass(frozen=True)
class Config(_minimal.Config):
  """Options of minLSTM."""


@_serialization.exported("jaxseq.mixers.minlstm.State")
class State(NamedTuple):
  """State of minLSTM: h, (*batch, d_hidden)."""

  h: jax.Array


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters: LeCun-normal matrices.

  Returns:
    A dict of float32 arrays:
      W: (d_model, 3 d_hidden), to the candidates W_h and the gates W_f and W_i.
      W_out: (d_hidden, d_model), if d_hidden is not d_model.
  """
  return _minimal.init(key, config, 3)


def _coefficients(projected):
  """Coefficients f / (f + i) and i / (f + i) g(h)."""
  hidden, f, i = jnp.split(projected, 3, axis=-1)
  # log(i / f): the quotients are sigmoids of it, and neither gate underflows.
  odds = jax.nn.softplus(-f) - jax.nn.softplus(-i)
  write = jax.nn.sigmoid(odds)
  return jax.nn.sigmoid(-odds), write * _minimal.positive(hidden)


initial_state, apply, step = _minimal.bind(Config, State, init, _coefficients)
