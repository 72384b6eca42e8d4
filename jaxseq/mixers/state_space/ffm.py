"""FFM, fast and forgetful memory: rates of forgetting times frequencies.

  S_t = exp(a_m + i b_c) S_{t-1} + (W_y x_t * sigmoid(W_i x_t))_m
  y_t = LN(W_mix [Re S_t, Im S_t]) * g_t + (W_s x_t) (1 - g_t)
  g_t = sigmoid(W_g x_t)

Each of the inputs m is kept once for each frequency c; a <= 0 and b are
learned, and the same at all times. Morad et al., "Reinforcement learning with
fast and forgetful memory", arXiv:2310.04128, in the form of the authors'
PyTorch file. Their JAX file, as memorax, normalizes after the gate.
"""

import dataclasses
import math
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import _serialization
from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts
from jaxseq.mixers import passes

TRAITS = contract.Traits(
  keeps="complex sums, each input at several frequencies",
  ssm_parameters=("decay", "frequency"),
  memory=("S",),
)

# Number of elements after which the slowest trace of a fresh model has decayed
# to a hundredth, and the longest period.
_HORIZON = 1024
# The fastest decay: its powers must be float64 numbers over the horizon in the
# authors' parallel form.
_FASTEST = math.log(sys.float_info.max) / _HORIZON - 0.01
_SLOWEST = 1e-8
_EPS = 1e-5


@dataclasses.dataclass(frozen=True)
class Config(contract.Options):
  """Options of FFM.

  Attributes:
    d_memory: number of inputs that are stored, m.
    frequencies: number of frequencies of each of them, c.
    fastest: bound such that decays stay above minus this, as in the authors'
      code; None for no bound.
  """

  d_memory: int = 32
  frequencies: int = 4
  fastest: float | None = _FASTEST


@_serialization.exported("jaxseq.mixers.ffm.State")
class State(NamedTuple):
  """State of FFM: S, (*batch, d_memory, frequencies), complex."""

  S: jax.Array


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters: even rates and periods, uniform matrices.

  Returns:
    A dict of float32 arrays:
      W_in, b_in: (d_model, n) and (n,), n = 2 d_memory + 2 d_model, for the
        concatenated inputs, skipped values, input gate and output gate.
      decay: (d_memory,), logarithms of absolute values.
      frequency: (frequencies,), in radians an element.
      W_mix, b_mix: (2 d_memory frequencies, d_model) and (d_model,), of the
        real and the imaginary part of each number in turn.
  """
  names = "W_in", "b_in", "W_mix", "b_mix"
  keys = dict(zip(names, jax.random.split(key, len(names))))
  width, memory, count = config.d_model, config.d_memory, config.frequencies
  inputs, parts = 2 * (memory + width), 2 * memory * count

  def draw(name, *shape):
    fan_in = width if name.endswith("in") else parts
    return contract.uniform(keys[name], shape, fan_in)

  slow = math.log(0.01) / _HORIZON
  decay = np.linspace(-_FASTEST + 0.01, slow, memory)
  frequency = 2 * np.pi / np.linspace(1, _HORIZON, count)
  return {
    "W_in": draw("W_in", width, inputs),
    "b_in": draw("b_in", inputs),
    "decay": jnp.asarray(decay, jnp.float32),
    "frequency": jnp.asarray(frequency, jnp.float32),
    "W_mix": draw("W_mix", parts, width),
    "b_mix": draw("b_mix", width),
  }


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: zeros."""
  shape = *batch_shape, config.d_memory, config.frequencies
  return State(jnp.zeros(shape, jnp.result_type(dtype, jnp.complex64)))


def _run(over, config, params, x, state, reset):
  """Runs over a sequence."""
  memory, count = config.d_memory, config.frequencies
  entered = recurrence.dense(x, params["W_in"], params["b_in"], wide=True)
  cuts = np.cumsum([memory, config.d_model, memory])
  value, skipped, into, out = jnp.split(entered, cuts, axis=-1)
  value = jnp.repeat(value * jax.nn.sigmoid(into), count, axis=-1)
  before = state.S.reshape(*state.S.shape[:-2], memory * count)
  gamma = _eigenvalues(config, params).reshape(memory * count)
  value = value.astype(before.dtype)
  S, last = over(recurrence.linear_scan, gamma, value, before, reset=reset)
  parts = jnp.stack([jnp.real(S), jnp.imag(S)], axis=-1)
  parts = parts.reshape(*S.shape[:-1], 2 * memory * count).astype(x.dtype)
  z = recurrence.dense(parts, params["W_mix"], params["b_mix"], wide=True)
  gate = jax.nn.sigmoid(out)
  y = head_parts.standardized(z, _EPS) * gate + skipped * (1 - gate)
  return y, State(last.reshape(state.S.shape))


def _eigenvalues(config, params):
  """Returns exp(a + i b), (d_memory, frequencies)."""
  a = jnp.minimum(params["decay"], -_SLOWEST)
  if config.fastest is not None:
    a = jnp.maximum(a, -config.fastest)
  b = params["frequency"]
  shape = config.d_memory, config.frequencies
  a, b = jnp.broadcast_to(a[:, None], shape), jnp.broadcast_to(b, shape)
  return jnp.exp(jax.lax.complex(a, b))


apply, step = passes.make(Config, init, initial_state, _run)
