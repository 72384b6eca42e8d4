"""RWKV-6's time mix: a matrix per head, read before the element is added.

  s = x_{t-1} - x_t
  z_c = tanh((x + s mu_x) M_1c),  x_c = x + s (mu_c + z_c M_2c)
                                                 for c of w, k, v, r, g
  w_t = exp(-exp(w0 + tanh(x_w w1) w2))
  o_t = r_t (S_{t-1} + diag(u) k_t v_t^T),  S_t = diag(w_t) S_{t-1} + k_t v_t^T
  y_t = W_o (norm(o_t) silu(W_g x_g)),  r = W_r x_r,  k = W_k x_k,  v = W_v x_v

with a norm of each head. Peng et al., "Eagle and Finch: RWKV with matrix-valued
states and dynamic recurrence", arXiv:2404.05892, in the form of BlinkDL's
RWKV-LM. flash-linear-attention's layer, which has narrower keys, is

  Config(d, head_size=d // 4, d_key=d // 8, eps=1e-5)

with a bias per channel of the keys where this has w0. The channel mix that
follows in a block is that of RWKV-4, `jaxseq.nn.channel_mix` with `receptance`.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import _serialization
from jaxseq import recurrence
from jaxseq.mixers import _rwkv
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts
from jaxseq.mixers import passes

_HEAD_SIZE = 64
# The mixtures of token shift, in the order of the original's arrays.
_SHIFTS = "wkvrg"

TRAITS = contract.Traits(
  keeps="a matrix per head, with a decay per channel of the keys; the last "
  "input",
  block={**_rwkv.BLOCK, "feedforward_options": {"receptance": True}},
  memory=("S",),
)


@dataclasses.dataclass(frozen=True)
class Config(_rwkv.Layer):
  """Options of RWKV-6's time mix.

  Attributes:
    head_size: width of a head's values; the largest divisor of d_model up to
      64, which is the original's, if None.
    d_key: width of a head's keys; head_size if None.
    mix_rank: rank of the projections of the token shift, for each of its five.
    decay_rank: rank of the decay's projection w1 w2.
    layer: number of the layer in its network, from 0. Initial parameters depend
      on it.
    eps: added to the variance in the norm of a head's output. The original has
      64e-5 for any head size.
  """

  head_size: int | None = None
  d_key: int | None = None
  mix_rank: int = 32
  decay_rank: int = 64
  eps: float = 64e-5

  def __post_init__(self):
    super().__post_init__()
    contract.divisor("head_size", self.value_width, d_model=self.d_model)

  @property
  def value_width(self) -> int:
    """Width of a head's values."""
    largest = contract.largest_divisor(self.d_model, _HEAD_SIZE)
    return self.head_size or largest

  @property
  def key_width(self) -> int:
    """Width of a head's keys."""
    return self.d_key or self.value_width

  @property
  def heads(self) -> int:
    """Number of heads."""
    return self.d_model // self.value_width


@_serialization.exported("jaxseq.mixers.rwkv6.State")
class State(NamedTuple):
  """State of RWKV-6's time mix.

  Attributes:
    last: (*batch, d_model), the last input.
    S: (*batch, heads, d_key, head_size).
  """

  last: jax.Array
  S: jax.Array


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters; those of shifts and decays as the original code does.

  Returns:
    A dict of float32 arrays:
      mu_x: (d_model,), and mu: (5, d_model), of w, k, v, r and g, shares of the
        previous element, by channel and layer.
      M1: (d_model, 5 mix_rank), zeros; M2: (5, mix_rank, d_model), from -0.01
        to 0.01.
      w0: (heads * d_key,), by channel and layer.
      w1: (d_model, decay_rank), zeros; w2: (decay_rank, heads * d_key), from
        -0.01 to 0.01.
      u: (heads, d_key), by channel and layer.
      W_r, W_k: (d_model, heads * d_key), W_v, W_g, W_o: (d_model, d_model),
        LeCun-normal.
      norm_scale, norm_bias: (d_model,).
  """
  draw = contract.Draws(key, "r k v g o M2 w2")
  width, keys = config.d_model, config.heads * config.key_width
  place = _rwkv.depth(config)
  shallow = 1 - config.layer / config.num_layers
  whole = 1 - _rwkv.ramp(width) ** shallow
  half = 1 - _rwkv.ramp(width) ** (0.5 * shallow)
  along = np.arange(keys) / max(1, keys - 1)
  zigzag = (np.arange(keys) + 1) % 3 - 1
  u = place * (1 - along) + 0.1 * zigzag
  params = {
    "mu_x": whole,
    "mu": np.stack([whole, whole, whole - 0.3 * place, half, half]),
    "w0": -6 + 5 * along ** (0.7 + 1.3 * place),
    "u": u.reshape(config.heads, config.key_width),
  }
  params = {name: jnp.asarray(x, jnp.float32) for name, x in params.items()}
  for name, columns in zip("rkvgo", (keys, keys, width, width, width)):
    params[f"W_{name}"] = draw(name, width, columns)
  for name, inner, shape in (
    ("M", 5 * config.mix_rank, (5, config.mix_rank, width)),
    ("w", config.decay_rank, (config.decay_rank, keys)),
  ):
    small = jax.random.uniform(
      draw.keys[f"{name}2"], shape, jnp.float32, -0.01, 0.01
    )
    params |= {f"{name}1": contract.zeros(width, inner), f"{name}2": small}
  params["norm_scale"] = contract.ones(width)
  params["norm_bias"] = contract.zeros(width)
  return params


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: zeros."""
  matrix = config.heads, config.key_width, config.value_width
  return State(
    jnp.zeros((*batch_shape, config.d_model), dtype),
    jnp.zeros((*batch_shape, *matrix), dtype),
  )


def _run(over, config, params, x, state, reset):
  """Runs over a sequence; a reset forgets the last input, too."""
  before, last = over(recurrence.token_shift, x, state.last, reset)
  w, k, v, r, g = _shifted(params, x, before)
  decay = contract.pointwise(jnp.tanh, recurrence.dense(w, params["w1"]))
  decay = recurrence.dense(decay, params["w2"], params["w0"], wide=True)
  r, k, v, gate = (
    recurrence.dense(z, params[f"W_{name}"])
    for name, z in zip("rkvg", (r, k, v, g))
  )
  split = functools.partial(head_parts.split, heads=config.heads)
  r, k, v, decay = map(split, (r, k, v, -jnp.exp(decay)))
  o, S = over(
    recurrence.outer_scan_heads,
    *(r, k, v, decay, state.S),
    reset=reset,
    inclusive=False,
  )

  def with_own(o, r, k, v, u):
    return o + jnp.sum(r * u * k, axis=-1, keepdims=True) * v

  o = contract.pointwise(with_own, o, r, k, v, params["u"])
  scale, bias = params["norm_scale"], params["norm_bias"]
  o = head_parts.layer_normed(o, scale, bias, config.eps)
  y = recurrence.dense(head_parts.gated(o, gate), params["W_o"])
  return y, State(last, S)


def _shifted(params, x, before):
  """Mixes x and the previous element five times, by shares computed from x."""
  coarse = contract.pointwise(_rwkv.mix, x, before, params["mu_x"])
  low = recurrence.dense(coarse, params["M1"])
  low = contract.pointwise(jnp.tanh, low)
  low = head_parts.split(low, len(_SHIFTS))
  return [
    contract.pointwise(
      lambda x, before, share, mu: _rwkv.mix(x, before, mu + share),
      *(x, before, recurrence.dense(low[..., i, :], params["M2"][i])),
      params["mu"][i],
    )
    for i in range(len(_SHIFTS))
  ]


apply, step = passes.make(Config, init, initial_state, _run, sections=True)
