"""sLSTM: an LSTM with an exponential input gate, block-diagonal over heads.

  i_t, f_t, z_t, o_t = W x_t + R h_{t-1} + b, each with its own W, R, b
  l_t = log sigmoid(f_t) + m_{t-1}
  m_t = i_t where n_{t-1} = 0, max(i_t, l_t) elsewhere
  c_t = exp(l_t - m_t) c_{t-1} + exp(i_t - m_t) tanh(z_t)
  n_t = max(exp(l_t - m_t) n_{t-1} + exp(i_t - m_t), 1)
  h_t = sigmoid(o_t) c_t / n_t

Sources: Beck et al., "xLSTM", arXiv:2405.04517; in this form, with the lower
bound of n: FlashRNN, arXiv:2412.07752. A state with n = 0 is a fresh one. The
code of FlashRNN tests n = 0 for the whole array; here it is tested element by
element, so that some sequences of a batch may start while others continue.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers.gated import _gated
from jaxseq.mixers.gated import lstm

TRAITS = dataclasses.replace(
  _gated.TRAITS,
  keeps="four vectors",
  memory=("h", "c"),
  norms=("n",),
  exponents=("m",),
)


@dataclasses.dataclass(frozen=True)
class Config(lstm.Config):
  """Options of the sLSTM."""


@_serialization.exported("jaxseq.mixers.slstm.State")
class State(NamedTuple):
  """State of the sLSTM, four arrays (*batch, d_hidden), head by head.

  Attributes:
    h: output.
    c: cell, scaled by exp(-m).
    n: normalizer, scaled by exp(-m); 0 in a fresh state.
    m: logarithm of the scale.
  """

  h: jax.Array
  c: jax.Array
  n: jax.Array
  m: jax.Array


def _log_sigmoid(x):
  # log1p is not vector code. The digits that log(1 + e) loses for small e are
  # below the rounding of m, to which the result is added.
  return jnp.minimum(x, 0) - jnp.log(1 + jnp.exp(-jnp.abs(x)))


def _slope_of_max(x, y):
  """Derivative of max(x, y) by x: one half if both are equal."""
  return jnp.where(x == y, 0.5, jnp.where(x > y, 1.0, 0.0)).astype(x.dtype)


def _forward(inputs, recurrent, state):
  _, c, n, m = state
  i, f, z, o = (a + b for a, b in zip(inputs, recurrent))
  log_kept = _log_sigmoid(f) + m
  new_m = jnp.where(n == 0, i, jnp.maximum(i, log_kept))
  scale_in = jnp.exp(i - new_m)
  # In a fresh state l may be far above m = i: it scales a zero there, and
  # infinity times zero is not zero.
  bound = 0.5 * math.log(jnp.finfo(i.dtype).max)
  scale_kept = jnp.exp(jnp.minimum(log_kept - new_m, bound))
  z, o = jnp.tanh(z), _gated.sigmoid(o)
  new_c = scale_kept * c + scale_in * z
  total = scale_kept * n + scale_in
  new_n = jnp.maximum(total, 1)
  saved = (i, f, z, o, log_kept, scale_in, scale_kept, total, new_c)
  return (o * new_c / new_n, new_c, new_n, new_m), saved


def _backward(saved, state, cotangent):
  """Exact, including the scale m; ties of both maxima are split in halves."""
  i, f, z, o, log_kept, scale_in, scale_kept, total, new_c = saved
  _, c, n, _ = state
  d_h, d_c, d_n, d_m = cotangent
  new_n = jnp.maximum(total, 1)
  ratio = new_c / new_n
  d_ratio = d_h * o / new_n
  d_c = d_c + d_ratio
  d_total = (d_n - d_ratio * ratio) * _slope_of_max(total, jnp.ones_like(total))
  # Cotangents of the exponents i - m and l - m.
  d_in = (d_c * z + d_total) * scale_in
  d_kept = (d_c * c + d_total * n) * scale_kept
  d_m = d_m - d_in - d_kept
  to_i = jnp.where(n == 0, 1, _slope_of_max(i, log_kept))
  d_kept = d_kept + d_m * (1 - to_i)
  d_gates = (
    d_in + d_m * to_i,
    d_kept * _gated.sigmoid(-f),
    d_c * scale_in * (1 - z * z),
    d_h * ratio * o * (1 - o),
  )
  # h enters only through the recurrent product.
  d_state = (jnp.zeros_like(d_h), d_c * scale_kept, d_total * scale_kept)
  return d_gates, d_gates, (*d_state, d_kept)


_CELL = recurrence.GatedCell(_forward, _backward)


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters, which are those of the LSTM.

  Returns:
    A dict of float32 arrays, as `lstm.init` makes it.
  """
  return lstm.init(key, config)


initial_state, apply, step = _gated.bind(Config, State, init, _CELL)
