"""RWKV-7's time mix: a matrix state per head with a decay and a correction.

  x_c = x_t + (x_{t-1} - x_t) mu_c               for c of r, w, k, v, a, g
  w = exp(-exp(-1/2) sigmoid(w0 + tanh(x_w w1) w2))
  a = sigmoid(a0 + x_a a1 a2),  g = sigmoid(x_g g1) g2
  k' = W_k x_k,  z = k' k_k at length 1 per head,  k = k' (1 + (a - 1) k_a)
  S_t = w S_{t-1} - (a z) (z^T S_{t-1}) + k v^T                     per head
  y_t = W_o ((norm(S_t^T r) + (r k r_k) v) g),   r = W_r x_r,  v = W_v x_v

Peng et al., "RWKV-7 Goose with expressive dynamic state evolution",
arXiv:2503.14456, in the form of BlinkDL's RWKV-LM. In all layers except the
first the values are mixed with those of the first, v + (v_first - v) sigmoid(v0
+ x_v v1 v2), which `apply_shared` and `step_shared` pass from layer to layer.
`apply` and `step` run a single layer with its own values. The channel mix that
follows in a block is `jaxseq.nn.channel_mix`.
"""

import dataclasses
import functools
import math
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
from jaxseq.mixers.matrix_states import _outer

# Key of the first layer's values among the arrays that layers share.
SHARED = "v_first"
# Smallest divisor when keys are scaled to length 1.
_SMALLEST_LENGTH = 1e-12
_HEAD_SIZE = 64
# The mixtures of token shift, and the exponents of their initial weights.
_SHIFTS = {"r": 0.2, "w": 0.9, "k": 0.7, "v": 0.7, "a": 0.9, "g": 0.2}
# Low-rank projections, and their ranks divided by the root of the width.
_RANKS = {"w": 2.5, "a": 2.5, "v": 1.7, "g": 5.0}

TRAITS = contract.Traits(
  keeps="a matrix per head, with a decay, of which a part is taken back; the "
  "last input",
  block=_rwkv.BLOCK,
  memory=("S",),
)


@dataclasses.dataclass(frozen=True)
class Config(_rwkv.Layer):
  """Options of RWKV-7's time mix.

  Attributes:
    head_size: width of a head; the largest divisor of d_model up to 64, which
      is the original's, if None.
    decay_rank: rank of the decay's projection w1 w2; if None, 2.5
      sqrt(d_model), to a multiple of 32 other than 0, like the next three.
    rate_rank: rank of a1 a2, 2.5 sqrt(d_model).
    value_rank: rank of v1 v2, 1.7 sqrt(d_model).
    gate_rank: rank of g1 g2, 5 sqrt(d_model).
    layer: number of the layer in its network, from 0; the first has no v0, v1
      and v2. Initial parameters depend on it.
    eps: added to the variance in the norm of a head's output. The original has
      64e-5 for any head size.
  """

  head_size: int | None = None
  decay_rank: int | None = None
  rate_rank: int | None = None
  value_rank: int | None = None
  gate_rank: int | None = None
  eps: float = 64e-5

  def __post_init__(self):
    super().__post_init__()
    contract.divisor("head_size", self.width, d_model=self.d_model)

  @property
  def width(self) -> int:
    """Width of a head."""
    largest = contract.largest_divisor(self.d_model, _HEAD_SIZE)
    return self.head_size or largest

  @property
  def heads(self) -> int:
    """Number of heads."""
    return self.d_model // self.width

  @property
  def ranks(self) -> dict[str, int]:
    """Ranks of the projections by way of few channels: of w, a, v and g."""
    sizes = self.decay_rank, self.rate_rank, self.value_rank, self.gate_rank
    ranks = {}
    for (name, factor), rank in zip(_RANKS.items(), sizes):
      usual = round(factor * math.sqrt(self.d_model) / 32) * 32
      ranks[name] = max(32, usual) if rank is None else rank
    return ranks


@_serialization.exported("jaxseq.mixers.rwkv7.State")
class State(NamedTuple):
  """State of RWKV-7's time mix.

  Attributes:
    last: (*batch, d_model), the last input.
    S: (*batch, heads, head_size, head_size), channels of keys before those of
      values.
  """

  last: jax.Array
  S: jax.Array


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters, as the original code does.

  Returns:
    A dict of float32 arrays:
      mu_r, mu_w, mu_k, mu_v, mu_a, mu_g: (d_model,), shares of the previous
        element, by channel and layer.
      W_r, W_k, W_v: (d_model, d_model), uniform; W_o: zeros.
      w0, a0, v0: (d_model,), by channel and layer.
      w1, a1, v1, g1: (d_model, rank), zeros.
      w2, a2, v2, g2: (rank, d_model), orthogonal, times 0.1.
      k_k, k_a: (d_model,).
      r_k: (heads, head_size).
      norm_scale, norm_bias: (d_model,).
    The first layer has no v0, v1, v2.
  """
  keys = contract.Draws(key, "r k v w2 a2 v2 g2").keys
  width, layer, layers = config.d_model, config.layer, config.num_layers
  ratio = _rwkv.depth(config)
  params = {
    f"mu_{name}": 1 - _rwkv.ramp(width) ** (exponent * (1 - layer / layers))
    for name, exponent in _SHIFTS.items()
  }
  channel = np.arange(width)
  linear = channel / max(1, width - 1)
  # From -1 to 1 along a head, contracted towards 0.
  along = channel % config.width - (config.width - 1) / 2
  along /= max(1, config.width - 1) / 2
  along *= np.abs(along)
  slope = linear - 0.5
  params |= {
    "w0": -5.5 + 6 * linear ** (1 + ratio**0.3) + 2.5 * along,
    "a0": -0.19 + 0.3 * along + 0.4 * slope,
    "v0": 0.73 - 0.4 * slope,
    "k_k": 0.71 - 0.1 * slope,
    "k_a": np.full((width,), 1.02),
    "r_k": np.full((config.heads, config.width), -0.04),
    "norm_scale": np.full((width,), ((1 + layer) / layers) ** 0.7),
    "norm_bias": np.zeros((width,)),
    "W_o": np.zeros((width, width)),
  }
  params = {name: jnp.asarray(x, jnp.float32) for name, x in params.items()}
  for name, scale in (("r", 0.5), ("k", 0.05), ("v", 0.5)):
    matrix = contract.uniform(keys[name], (width, width), width)
    params[f"W_{name}"] = scale * matrix
  for name, rank in config.ranks.items():
    params[f"{name}1"] = jnp.zeros((width, rank), jnp.float32)
    matrix = _rwkv.orthogonal(keys[f"{name}2"], (width, rank), 0.1)
    params[f"{name}2"] = matrix.T
  if not layer:
    for name in ("v0", "v1", "v2"):
      del params[name]
  return params


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: zeros."""
  matrix = config.heads, config.width, config.width
  return State(
    jnp.zeros((*batch_shape, config.d_model), dtype),
    jnp.zeros((*batch_shape, *matrix), dtype),
  )


@contract.apply(Config, init, initial_state)
def apply_shared(config, params, x, state, reset, shared, *, axis=None):
  """Runs over a sequence as one of several layers; also returns shared arrays.

  Options:
    shared: arrays from the layers before; this one reads "v_first", values
      (*batch, time, d_model). The first layer, and one without "v_first",
      stores its own values there.
  """
  over = functools.partial(passes.over_sequence, axis=axis)
  return _run(over, config, params, x, state, reset, shared)


@contract.step(Config, init, initial_state)
def step_shared(config, params, x, state, reset, shared):
  """Consumes one element; `apply_shared` without the time axis.

  Options:
    shared: as in `apply_shared`, with values (*batch, d_model).
  """
  return _run(passes.over_element, config, params, x, state, reset, shared)


def _run(over, config, params, x, state, reset, shared):
  """Returns outputs y, the state, and the arrays that layers share."""
  v_first = shared.get(SHARED)
  if v_first is not None and jnp.shape(v_first) != x.shape:
    raise contract.error(
      f"shared[{SHARED!r}]",
      f"shape {jnp.shape(v_first)}",
      f"{x.shape}, that of x",
    )
  params = contract.cast(params, contract.wide_dtype(x))
  before, last = over(recurrence.token_shift, x, state.last, reset)
  mixed = {
    name: contract.pointwise(_rwkv.mix, x, before, params[f"mu_{name}"])
    for name in _SHIFTS
  }
  r, k, v = (recurrence.dense(mixed[c], params[f"W_{c}"]) for c in "rkv")
  if "v0" in params and v_first is not None:
    weight = _low_rank(params, "v", mixed["v"])

    def drawn(v, v_first, weight):
      return v + (v_first - v) * jax.nn.sigmoid(weight)

    v = contract.pointwise(drawn, v, v_first.astype(v.dtype), weight)
  else:
    v_first = v
  decay = _low_rank(params, "w", mixed["w"], jnp.tanh)
  decay = -math.exp(-0.5) * jax.nn.sigmoid(decay)
  rate = jax.nn.sigmoid(_low_rank(params, "a", mixed["a"]))
  gate = _low_rank(params, "g", mixed["g"], jax.nn.sigmoid)

  split = functools.partial(head_parts.split, heads=config.heads)
  r, k, v, decay, rate = map(split, (r, k, v, decay, rate))
  k_k, k_a = split(params["k_k"]), split(params["k_a"])
  z = contract.pointwise(lambda k, k_k: _unit(k * k_k), k, k_k)
  k = contract.pointwise(
    lambda k, rate, k_a: k * (1 + (rate - 1) * k_a), k, rate, k_a
  )
  b = contract.pointwise(jnp.multiply, z, rate)
  elements = r, k, v, -z, b, decay, state.S
  step = passes.of_heads(recurrence.dplr_step)
  o, S = over(_outer.dplr_scan, *elements, reset=reset, step=step)

  def read_out(o, r, k, v, gate, scale, bias, r_k):
    o = head_parts.standardized(o, config.eps) * scale + bias
    o = o + jnp.sum(r * k * r_k, axis=-1, keepdims=True) * v
    return o * gate

  scale, bias = split(params["norm_scale"]), split(params["norm_bias"])
  weights = scale, bias, params["r_k"]
  y = contract.pointwise(read_out, o, r, k, v, split(gate), *weights)
  y = recurrence.dense(y.reshape(x.shape), params["W_o"])
  return y, State(last, S), {**shared, SHARED: v_first}


def _low_rank(params, name, x, function=None):
  """Returns p0 + function(x p1) p2, in float32 or wider; the gate has no p0."""
  x = recurrence.dense(x, params[f"{name}1"])
  if function is not None:
    x = contract.pointwise(function, x)
  bias = params.get(f"{name}0")
  return recurrence.dense(x, params[f"{name}2"], bias, wide=True)


def _unit(x):
  """Scales x to length 1 along the last axis; zeros stay."""
  square = jnp.sum(x * x, axis=-1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.maximum(square, _SMALLEST_LENGTH**2))


def _alone(over, config, params, x, state, reset):
  """Runs over a sequence with the layer's own values."""
  y, state, _ = _run(over, config, params, x, state, reset, {})
  return y, state


apply, step = passes.make(Config, init, initial_state, _alone, sections=True)
