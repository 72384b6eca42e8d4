"""The neural Hawkes process: an LSTM whose cells decay between events.

Event i with embedding x, and the hidden units just before it, h(t_i-), give

  [i, ibar, f, fbar, z, o, delta] = W [x ; h(t_i-)] + b
  c = f c(t_i-) + i tanh(z);   cbar = fbar cbar + ibar tanh(z)

with sigmoids of i, ibar, f, fbar and o, and a softplus of delta; see `decays`
for the time between events. Mei and Eisner, arXiv:1612.09328, in the form of
EasyTemporalPointProcess: cbar does not decay, f multiplies the decayed c.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.tasks.events.rate_models import decays

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Config(decays.Config):
  """Options of the neural Hawkes process; see `decays.Config`."""


def init(key: Array, config: Config) -> decays.Params:
  """Draws the parameters.

  Returns:
    E (num_marks + 1, d), W (2 d, 7 d), b (7 d,), and the read-out.
  """
  keys = jax.random.split(key, 3)
  d = config.d_model
  return {
    "E": jax.random.normal(keys[0], (config.num_marks + 1, d), jnp.float32),
    "W": decays.glorot(keys[1], 2 * d, 7 * d),
    "b": jnp.zeros(7 * d),
    "read_out": decays.init_read_out(keys[2], config.num_marks, d),
  }


def initial_state(
  config: Config, params: decays.Params, batch_shape: tuple[int, ...] = ()
) -> decays.Decay:
  """Returns the state before a sequence: zeros (*batch, d_model)."""
  zeros = jnp.zeros((*batch_shape, config.d_model), params["W"].dtype)
  return decays.Decay(zeros, zeros, zeros, zeros)


def apply(
  config: Config,
  params: decays.Params,
  marks: Array,
  gaps: Array,
  state: decays.Decay | None = None,
  reset: Array | None = None,
) -> tuple[decays.Decay, decays.Decay]:
  """Runs over events: marks, gaps and resets (*batch, time).

  Returns:
    The states after each event, and the state after the last.
  """
  if state is None:
    state = initial_state(config, params, gaps.shape[:-1])
  inputs = _inputs(config, params, marks)

  def one(state, x, gap):
    state = _update(config, params, state, x, gap)
    return state, state

  elements = inputs, gaps
  return recurrence.stepwise.over_time(
    one, state, elements, reset, axis=gaps.ndim - 1
  )


def step(
  config: Config,
  params: decays.Params,
  mark: Array,
  gap: Array,
  state: decays.Decay,
  reset: Array | None = None,
) -> decays.Decay:
  """Consumes one event (*batch,); `apply` without the time axis."""
  if reset is not None:
    state = jax.tree.map(lambda x: jnp.where(reset[..., None], 0, x), state)
  return _update(config, params, state, _inputs(config, params, mark), gap)


def intensity(
  config: Config, params: decays.Params, state: decays.Decay, elapsed: Array
) -> Array:
  """Returns intensities (..., n, marks) at times (..., n) since an event."""
  del config
  return decays.intensity(params["read_out"], state, elapsed)


def bound(
  config: Config, params: decays.Params, state: decays.Decay, elapsed: Array
) -> Array:
  """Returns an upper bound (...) of the sum of intensities from a time on."""
  del config
  return decays.bound(params["read_out"], state, elapsed)


def _inputs(config, params, marks):
  """Returns the events' terms of the gates, (..., 7 d)."""
  return (params["E"] @ params["W"][: config.d_model] + params["b"])[marks]


def _update(config, params, state, inputs, gap):
  """Returns the state after an event."""
  c, cbar, delta, _ = state
  decay = jnp.exp(-delta * gap[..., None])
  h = decays.hidden(state, gap[..., None])[..., 0, :]
  gates = inputs + h @ params["W"][config.d_model :]
  i, i_bar, f, f_bar, z, o, delta = jnp.split(gates, 7, axis=-1)
  sigmoid, z = jax.nn.sigmoid, jnp.tanh(z)
  return decays.Decay(
    sigmoid(f) * (cbar + (c - cbar) * decay) + sigmoid(i) * z,
    sigmoid(f_bar) * cbar + sigmoid(i_bar) * z,
    jax.nn.softplus(delta),
    sigmoid(o),
  )
