"""RWKV's channel mix: a feed-forward of each element and the previous one.

  x_c = x_t + (x_{t-1} - x_t) mu_c
  y_t = W_v relu(W_k x_k)^2                            RWKV-7, arXiv:2503.14456
  y_t = sigmoid(W_r x_r) W_v relu(W_k x_k)^2           RWKV-4, arXiv:2305.13048

Pure functions with the contract of a mixer (`jaxseq.mixers.registry`): the
state is the last input, which a reset sets to zeros.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import _rwkv
from jaxseq.mixers import contract
from jaxseq.mixers import passes


@dataclasses.dataclass(frozen=True)
class Config(_rwkv.Layer):
  """Options of a channel mix.

  Attributes:
    width: hidden width; 4 d_model if None.
    receptance: whether a sigmoid gate multiplies the output, as in RWKV-4. It
      also changes the initial parameters.
  """

  width: int | None = None
  receptance: bool = False

  @property
  def hidden(self) -> int:
    """Hidden width."""
    return self.width or 4 * self.d_model


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters like the original code.

  Returns:
    A dict of float32 arrays:
      mu_k: (d_model,), weights of the previous element, by channel and layer.
      W_k: (d_model, hidden), uniform; orthogonal with `receptance`.
      W_v: (hidden, d_model), zeros.
      mu_r: (d_model,), as mu_k, and W_r: (d_model, d_model), zeros, with
        `receptance`.
  """
  width, hidden = config.d_model, config.hidden
  shallow = 1 - config.layer / config.num_layers
  exponent = shallow if config.receptance else shallow**4
  mu = jnp.asarray(1 - _rwkv.ramp(width) ** exponent, jnp.float32)
  shape = width, hidden
  if config.receptance:
    W_k = _rwkv.orthogonal(key, shape)
  else:
    W_k = 0.5 * contract.uniform(key, shape, width)
  params = {"mu_k": mu, "W_k": W_k}
  params["W_v"] = jnp.zeros((hidden, width), jnp.float32)
  if config.receptance:
    params["mu_r"] = mu
    params["W_r"] = jnp.zeros((width, width), jnp.float32)
  return params


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: zeros, (*batch, d_model)."""
  return jnp.zeros((*batch_shape, config.d_model), dtype)


def _run(over, config, params, x, state, reset):
  """Runs over a sequence."""
  del config
  before, last = over(recurrence.token_shift, x, state, reset)

  def projected(name):
    mu = params[f"mu_{name}"]
    mixed = contract.pointwise(_rwkv.mix, x, before, mu)
    return recurrence.dense(mixed, params[f"W_{name}"])

  k = contract.pointwise(lambda k: jax.nn.relu(k) ** 2, projected("k"))
  y = recurrence.dense(k, params["W_v"])
  if "W_r" in params:
    gate = projected("r")
    y = contract.pointwise(lambda y, r: y * jax.nn.sigmoid(r), y, gate)
  return y, last


apply, step = passes.make(Config, init, initial_state, _run)
