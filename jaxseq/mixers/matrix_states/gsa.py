"""GSA: gated slot attention, a softmax over a few slots with gated updates.

  f_t = log sigmoid(W_f x_t) / 8,  s_t = 1 - exp(f_t)        per head and slot
  K_t = diag(exp(f_t)) K_{t-1} + s_t k_t^T
  V_t = diag(exp(f_t)) V_{t-1} + s_t v_t^T
  o_t = V_t^T softmax(K_t q_t),       y_t = W_o norm(silu(o_t))

The norm is over all heads at once. Zhang et al., "Gated slot attention for
efficient linear-time sequence modeling", arXiv:2409.07146, in the form of
flash-linear-attention's layer, which does not scale the scores. Both matrices
are linear recurrences: the first with the slots for heads, which share queries
and keys, the second with the softmax for queries and s for keys.
"""

import dataclasses
import functools
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts
from jaxseq.mixers import passes
from jaxseq.mixers.matrix_states import _outer

TRAITS = contract.Traits(
  keeps="a key and a value for each of 64 slots per head, which are moved to "
  "new ones; with an option 3 inputs of a convolution",
  block=contract.TRANSFORMER_BLOCK,
  memory=("K", "V"),
)


@dataclasses.dataclass(frozen=True)
class Config(_outer.HeadWidths):
  """Options of gated slot attention.

  Attributes:
    kv_heads: number of heads of keys, values and gates, each for heads /
      kv_heads neighboring heads; `heads` if None.
    slots: number of slots of a head.
    feature_map: of queries and keys, "silu", "relu" or "learned" (relu of a
      square matrix, the same for all heads).
    d_conv: width of the convolution of queries, keys and values, including the
      present element, followed by silu; 1 for neither. The code has none or 4.
    decay_temperature: divisor of the logarithms of decays; larger is slower
      decay.
    eps: added to the mean square in the norm.
  """

  kv_heads: int | None = None
  slots: int = 64
  feature_map: Literal["silu", "relu", "learned"] = "silu"
  d_conv: int = 1
  decay_temperature: float = 8.0
  eps: float = 1e-5

  def __post_init__(self):
    super().__post_init__()
    contract.divisor("kv_heads", self.groups, heads=self.heads)

  @property
  def groups(self) -> int:
    """Number of heads of keys, values and gates."""
    return self.kv_heads or self.heads

  @property
  def channels(self) -> tuple[int, int, int]:
    """Channels of queries, keys and values, the inputs of the convolution."""
    queries, keys = (n * self.key_width for n in (self.heads, self.groups))
    return queries, keys, self.groups * self.value_width


@_serialization.exported("jaxseq.mixers.gsa.State")
class State(NamedTuple):
  """State of gated slot attention.

  Attributes:
    conv: (*batch, d_conv - 1, channels), the last inputs of the convolution,
      oldest first, concatenated over queries, keys and values; None without
      one.
    K: (*batch, heads, slots, d_key).
    V: (*batch, heads, slots, d_value).
  """

  conv: jax.Array | None
  K: jax.Array
  V: jax.Array


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters: LeCun-normal matrices.

  Returns:
    A dict of float32 arrays:
      W_qkv: (d_model, sum of channels), to queries, keys and values side by
        side.
      conv_weight: (d_conv, sum of channels), the last row for the present
        element, if d_conv > 1.
      W_f: (d_model, kv_heads * slots).
      W_map: (d_key, d_key), with the feature map "learned".
      norm_scale: (heads * d_value,), ones.
      W_o: (heads * d_value, d_model).
  """
  draw = contract.Draws(key, "qkv conv f map o")
  width, inner = config.d_model, sum(config.channels)
  values = config.heads * config.value_width
  params = {
    "W_qkv": draw("qkv", width, inner),
    "W_f": draw("f", width, config.groups * config.slots),
    "norm_scale": contract.ones(values),
    "W_o": draw("o", values, width),
    **draw.conv(config.d_conv, inner),
  }
  if config.feature_map == "learned":
    params["W_map"] = draw("map", config.key_width, config.key_width)
  return params


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: zeros."""
  window = *batch_shape, config.d_conv - 1, sum(config.channels)
  slots = *batch_shape, config.heads, config.slots
  return State(
    jnp.zeros(window, dtype) if config.d_conv > 1 else None,
    jnp.zeros((*slots, config.key_width), dtype),
    jnp.zeros((*slots, config.value_width), dtype),
  )


def _run(over, config, params, x, state, reset):
  """Runs over a sequence; a reset empties the convolution's window too."""
  qkv = recurrence.dense(x, params["W_qkv"])
  qkv, window = passes.convolved(over, params, qkv, state.conv, reset)
  queries, keys, _ = config.channels
  q, k, v = jnp.split(qkv, (queries, queries + keys), axis=-1)
  f = recurrence.dense(x, params["W_f"], wide=True)
  f = _outer.log_decay(f, config.decay_temperature)
  of_group = functools.partial(head_parts.split, heads=config.groups)
  k, v, f = (
    jnp.repeat(of_group(z), config.heads // config.groups, axis=-2)
    for z in (k, v, f)
  )
  q = head_parts.split(q, config.heads)
  q, k = (_features(config, params, z) for z in (q, k))
  v, s = contract.pointwise(jax.nn.silu, v), -jnp.expm1(f).astype(x.dtype)

  def slots_as_heads(z):
    return z.reshape(*z.shape[:-2], config.heads * config.slots, 1)

  # The product of queries and keys is computed once for all slots of a head.
  K = state.K.reshape(*state.K.shape[:-3], -1, config.key_width, 1)
  scores, K = over(
    recurrence.outer_scan_heads,
    *(q, k, slots_as_heads(s), slots_as_heads(f), K),
    reset=reset,
  )
  p = scores.reshape(f.shape)
  p = contract.pointwise(jax.nn.softmax, p)
  o, V = over(recurrence.outer_scan_heads, p, s, v, f, state.V, reset=reset)
  o = contract.pointwise(jax.nn.silu, o.reshape(*x.shape[:-1], -1))
  o = head_parts.normed(o, params["norm_scale"], config.eps)
  y = recurrence.dense(o, params["W_o"])
  return y, State(window, K.reshape(state.K.shape), V)


def _features(config, params, x):
  """Features of queries or keys (..., heads, d_key)."""
  if config.feature_map == "learned":
    x = recurrence.dense(x, params["W_map"])
  silu = config.feature_map == "silu"
  return contract.pointwise(jax.nn.silu if silu else jax.nn.relu, x)


apply, step = passes.make(Config, init, initial_state, _run, sections=True)
