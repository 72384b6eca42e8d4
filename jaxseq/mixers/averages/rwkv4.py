"""RWKV-4's time mix: per channel an average under weights that decay.

  x_c = x_t + (x_{t-1} - x_t) mu_c                           for c of k, v, r
  k, v, r = W_k x_k, W_v x_v, W_r x_r
  o_t = (sum_{s<t} e^{-(t-1-s) e^decay + k_s} v_s + e^{bonus + k_t} v_t)
      / (sum_{s<t} e^{-(t-1-s) e^decay + k_s}     + e^{bonus + k_t})
  y_t = W_o (sigmoid(r_t) o_t)

Peng et al., "RWKV: reinventing RNNs for the Transformer era", arXiv:2305.13048,
in the form of BlinkDL's RWKV-LM, whose time_mix is 1 - mu. The channel mix that
follows in a block is `jaxseq.nn.channel_mix`, with receptance.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import _serialization
from jaxseq import recurrence
from jaxseq.mixers import _rwkv
from jaxseq.mixers import contract
from jaxseq.mixers import passes

TRAITS = contract.Traits(
  keeps="a running softmax average per channel, whose weights decay; the last "
  "input",
  block={**_rwkv.BLOCK, "feedforward_options": {"receptance": True}},
  memory=("w",),
  norms=("u",),
  exponents=("m",),
)


@dataclasses.dataclass(frozen=True)
class Config(_rwkv.Layer):
  """Options of RWKV-4's time mix.

  Attributes:
    d_hidden: number of averages; d_model if None.
  """

  d_hidden: int | None = None

  @property
  def width(self) -> int:
    """Number of averages."""
    return self.d_hidden or self.d_model


@_serialization.exported("jaxseq.mixers.rwkv4.State")
class State(NamedTuple):
  """State of RWKV-4's time mix.

  Attributes:
    last: (*batch, d_model), the last input.
    average: the running averages: m, u (*batch, d_hidden), w (*batch, d_hidden,
      1).
  """

  last: jax.Array
  average: recurrence.SoftmaxState


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters, as the original code does.

  Returns:
    A dict of float32 arrays:
      (d_model,), shares of the previous element, by channel and layer.
      W_k, W_r: (d_model, d_hidden), zeros; W_v: the same shape, orthogonal.
      decay, bonus: (d_hidden,), by channel and layer.
      W_o: (d_hidden, d_model), zeros.
  """
  width, hidden = config.d_model, config.width
  ratio = _rwkv.depth(config)
  shallow = 1 - config.layer / config.num_layers
  share = _rwkv.ramp(width)
  channel = np.arange(hidden)
  ramp = (channel / max(1, hidden - 1)) ** (0.7 + 1.3 * ratio)
  params = {
    "mu_k": 1 - share**shallow,
    "mu_v": 1 - share**shallow - 0.3 * ratio,
    "mu_r": 1 - share ** (0.5 * shallow),
    "decay": -5 + 8 * ramp,
    "bonus": math.log(0.3) + 0.5 * ((channel + 1) % 3 - 1),
    "W_k": np.zeros((width, hidden)),
    "W_r": np.zeros((width, hidden)),
    "W_o": np.zeros((hidden, width)),
  }
  params = {name: jnp.asarray(x, jnp.float32) for name, x in params.items()}
  params["W_v"] = _rwkv.orthogonal(key, (width, hidden))
  return params


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: zeros, and empty averages."""
  return State(
    jnp.zeros((*batch_shape, config.d_model), dtype),
    recurrence.wkv_initial(tuple(batch_shape), config.width, dtype),
  )


def _run(over, config, params, x, state, reset):
  """Runs over a sequence."""
  del config
  before, last = over(recurrence.token_shift, x, state.last, reset)

  def projected(name, wide=False):
    mu = params[f"mu_{name}"]
    mixed = contract.pointwise(_rwkv.mix, x, before, mu)
    return recurrence.dense(mixed, params[f"W_{name}"], wide=wide)

  k, v = projected("k", wide=True), projected("v")
  decay = -jnp.exp(params["decay"])
  elements = k, v, decay, params["bonus"], state.average
  o, average = over(recurrence.wkv_scan, *elements, reset=reset)
  y = contract.pointwise(lambda o, r: o * jax.nn.sigmoid(r), o, projected("r"))
  return recurrence.dense(y, params["W_o"]), State(last, average)


apply, step = passes.make(Config, init, initial_state, _run)
