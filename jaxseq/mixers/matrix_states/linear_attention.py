"""Linear attention: causal, multi-head, with any of the usual decays.

  q_t = phi(W_q x_t),  k_t = phi(W_k x_t),  v_t = W_v x_t        per head
  S_t = diag(alpha_t) S_{t-1} + k_t v_t^T,  o_t = q_t S_t
  y_t = W_o (norm(o_t) * gate(x_t))

The default is the linear transformer: phi(x) = elu(x) + 1, no decay, and o_t
divided by q_t z_t with z_t the running sum of the keys (Katharopoulos et al.,
"Transformers are RNNs", arXiv:2006.16236, section 3). The other options are
those of its descendants:

  RetNet (Sun et al., arXiv:2307.08621, section 2): a constant decay per head,
  rotary positions, RMS norm of every head, a gate.
    Config(d, d_value=d // 2, feature_map="none", decay="fixed",
           normalization="rms", positions="rotary", gate="silu", eps=1e-5)

  Gated linear attention (Yang et al., arXiv:2312.06635, section 4): an
  input-dependent decay per key channel; the mixer `gla` has it with the options
  of its authors' code.
    Config(d, d_key=d // 8, feature_map="none", decay="vector",
           normalization="rms", gate="silu", eps=1e-5)

  Lightning attention (MiniMax, arXiv:2501.08313): a constant decay per head and
  layer, an RMS norm over all heads, a gate.
    Config(d, feature_map="silu", value_map="silu", decay="fixed",
           log_decays=..., normalization="rms_width", gate="sigmoid")

  Log-linear attention (Guo et al., arXiv:2506.04761, section 3): a state for
  each range of the past, whose lengths are powers of 2, with weights that
  depend on the reading element; `recurrence.log_linear_scan`.
    Config(d, feature_map="none", decay="scalar", normalization="rms",
           levels=15)
  The mixer `log_linear` is Mamba-2 with such levels.

The "scalar" decay is between the two: one input-dependent number per head, as
in Mamba-2 (arXiv:2405.21060), here parametrized like the latter.
"""

import dataclasses
import math
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import _serialization
from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts
from jaxseq.mixers import passes
from jaxseq.mixers import positions
from jaxseq.mixers.matrix_states import _levels
from jaxseq.mixers.matrix_states import _outer

TRAITS = contract.Traits(
  keeps="a matrix per head, without decay by default",
  block=contract.TRANSFORMER_BLOCK,
  memory=("S",),
  norms=("z",),
)


@dataclasses.dataclass(frozen=True)
class Config(_outer.HeadWidths):
  """Options of linear attention.

  Attributes:
    d_key: width of a head's queries and keys; d_model / heads, rounded up to an
      even number, if None.
    d_value: width of a head's values; as d_key's default if None.
    feature_map: phi, "elu" (elu(x) + 1), "relu", "silu" or "none".
    value_map: map of the values, "silu" or "none".
    decay: alpha, "none" (1), "fixed" (by `log_decays`), "scalar"
      (sigmoid(W_a x + b_a)^(1 / decay_temperature), one per head) or "vector"
      (the same for every key channel, with W_a of rank decay_rank).
    log_decays: logarithms of "fixed" decays, one per head, below 0; those of
      1 - 2^(-5 - h) for head h if None.
    decay_rank: rank of the "vector" decay's projection.
    decay_temperature: larger is slower decay.
    normalization: normalization of o, "sum" (divided by q_t z_t, where z decays
      like S; the feature map must not be negative), "rms" (q is scaled by
      d_key^-0.5, and o divided by the root of its mean square in the head) or
      "rms_width" (the same, over all heads together).
    eps: added to q_t z_t, or to the mean square.
    positions: "none" or "rotary", which rotates queries and keys, except in the
      sum z (Su et al., arXiv:2104.09864, section 3.3). Not with "vector"
      decays: channels that are rotated together must have equal decays.
    rotary_base: the slowest rotary frequency is about 1 / rotary_base.
    gate: factor on the heads' outputs, "none" (1), "silu"
      (silu(W_g x)) or "sigmoid".
    levels: number of ranges of past elements, each with its own state; elements
      older than 2^(levels - 2) may share the last. None for one state of all.
      Not with "vector" decays.
  """

  feature_map: Literal["elu", "relu", "silu", "none"] = "elu"
  value_map: Literal["silu", "none"] = "none"
  decay: Literal["none", "fixed", "scalar", "vector"] = "none"
  log_decays: tuple[float, ...] | None = None
  decay_rank: int = 16
  decay_temperature: float = 16.0
  normalization: Literal["sum", "rms", "rms_width"] = "sum"
  eps: float = 1e-6
  positions: Literal["none", "rotary"] = "none"
  rotary_base: float = 10000.0
  gate: Literal["none", "silu", "sigmoid"] = "none"
  levels: int | None = None

  def __post_init__(self):
    super().__post_init__()
    if self.normalization == "sum" and self.feature_map not in ("elu", "relu"):
      raise contract.error(
        "feature_map",
        self.feature_map,
        "'elu' or 'relu' with normalization = 'sum', whose divisor must not be "
        "negative",
      )
    if self.positions == "rotary" and self.decay == "vector":
      raise contract.error(
        "positions", "rotary", "'none' with decay = 'vector'"
      )
    if self.log_decays is not None:
      if self.decay != "fixed" or len(self.log_decays) != self.heads:
        expected = f"{self.heads} numbers, one per head, with decay = 'fixed'"
        raise contract.error("log_decays", self.log_decays, expected)
      if not all(-math.inf < log <= 0 for log in self.log_decays):
        raise contract.error("log_decays", self.log_decays, "numbers up to 0")
    if self.levels is not None:
      _levels.check(self.levels)
      if self.decay == "vector":
        raise contract.error("levels", self.levels, "None with vector decays")
    positions.check_rotary(self, "d_key", self.key_width)

  @property
  def _default_width(self):
    return 2 * math.ceil(self.d_model / self.heads / 2)


@_serialization.exported("jaxseq.mixers.linear_attention.State")
class State(NamedTuple):
  """State of linear attention; fields that the configuration lacks are None.

  Attributes:
    S: (*batch, heads, d_key, d_value), decayed sum of k v^T; with levels
      (*batch, heads, levels, d_key, d_value).
    z: (*batch, heads, d_key), decayed sum of the keys, if normalization is
      "sum"; with levels (*batch, heads, levels, d_key).
    position: (*batch,) number of elements since the state was fresh, if
      positions is "rotary" or there are levels; in floating point: float32
      counts up to 2^24.
  """

  S: jax.Array
  z: jax.Array | None
  position: jax.Array | None


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters: LeCun-normal matrices, zero biases.

  Returns:
    A dict of float32 arrays:
      W_q, W_k: (d_model, heads * d_key).
      W_v: (d_model, heads * d_value).
      W_o: (heads * d_value, d_model).
      W_a: (d_model, heads), or (d_model, decay_rank) under "vector" decays.
      W_a2: (decay_rank, heads * d_key), under "vector" decays.
      b_a: (heads,) or (heads * d_key,), under "scalar" and "vector" decays.
      W_g: (d_model, heads * d_value), if there is a gate.
      norm_scale: (d_value,), ones, if normalization is "rms"; of all heads,
        (heads * d_value,), if it is "rms_width".
      level_proj: (d_model, heads * levels), if there are levels.
      L_scale: (heads, levels), ones, if there are levels.
  """
  names = "q k v o a a2 g" + (" levels" if config.levels else "")
  draw = contract.Draws(key, names)
  width = config.d_model
  inner = config.heads * config.key_width
  values = config.heads * config.value_width
  params = {
    "W_q": draw("q", width, inner),
    "W_k": draw("k", width, inner),
    "W_v": draw("v", width, values),
    "W_o": draw("o", values, width),
  }
  if config.decay == "scalar":
    params["W_a"] = draw("a", width, config.heads)
    params["b_a"] = contract.zeros(config.heads)
  elif config.decay == "vector":
    params["W_a"] = draw("a", width, config.decay_rank)
    params["W_a2"] = draw("a2", config.decay_rank, inner)
    params["b_a"] = contract.zeros(inner)
  if config.gate != "none":
    params["W_g"] = draw("g", width, values)
  if config.normalization == "rms":
    params["norm_scale"] = contract.ones(config.value_width)
  elif config.normalization == "rms_width":
    params["norm_scale"] = contract.ones(values)
  if config.levels:
    levels = draw.keys["levels"], width, config.heads, config.levels
    params |= _levels.init(*levels)
  return params


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: zeros."""
  levels = (config.levels,) if config.levels else ()
  shape = (*batch_shape, config.heads, *levels, config.key_width)
  counted = config.positions == "rotary" or config.levels
  return State(
    jnp.zeros((*shape, config.value_width), dtype),
    jnp.zeros(shape, dtype) if config.normalization == "sum" else None,
    jnp.zeros(batch_shape, dtype) if counted else None,
  )


@contract.apply(Config, init, initial_state, sections=True)
def apply(config, params, x, state=None, reset=None, *, axis=None):
  """Runs over a sequence; the work grows with time."""
  params = contract.cast(params, contract.wide_dtype(x))
  q, k, v = (
    head_parts.split(recurrence.dense(x, params[w]), config.heads)
    for w in ("W_q", "W_k", "W_v")
  )
  q, k = (_features(config.feature_map, z) for z in (q, k))
  v = _features(config.value_map, v)
  turned, position = _turned(config, q, k, state.position, reset, axis)
  o, state = _attend(config, params, (q, k), turned, v, x, state, reset, axis)
  if config.gate != "none":
    gate = recurrence.dense(x, params["W_g"])
    gate = head_parts.split(gate, config.heads)
    o = head_parts.gated(o, gate, getattr(jax.nn, config.gate))
  y = recurrence.dense(o.reshape(*x.shape[:-1], -1), params["W_o"])
  return y, state._replace(position=position)


step = passes.step_by(Config, init, initial_state, apply)


def _features(kind, x):
  if kind == "none":
    return x
  if kind == "elu":
    return contract.pointwise(lambda x: jax.nn.elu(x) + 1, x)
  return contract.pointwise(getattr(jax.nn, kind), x)


def _log_decay(config, params, x):
  """Logarithms (..., heads, d_key | 1) of alpha, at least float32, or None."""
  if config.decay == "none":
    return None
  if config.decay == "fixed":
    fixed = config.log_decays
    if fixed is None:
      fixed = np.log1p(-(2.0 ** (-5 - np.arange(config.heads))))
    shape = (*x.shape[:-1], config.heads)
    fixed = jnp.asarray(fixed, contract.wide_dtype(x))
    return jnp.broadcast_to(fixed, shape)[..., None]
  if config.decay == "vector":
    logits = _outer.low_rank_logits(params, x)
  else:
    logits = recurrence.dense(x, params["W_a"], params["b_a"], wide=True)
  logits = head_parts.split(logits, config.heads)
  return _outer.log_decay(logits, config.decay_temperature)


def _attend(config, params, plain, turned, v, x, state, reset, axis):
  """Normalized outputs (..., heads, d_value), and S and z after them."""
  decay = _log_decay(config, params, x)
  if config.levels:
    scales = _levels.scales(params, x)
    decay = jnp.zeros_like(scales[..., :1]) if decay is None else decay
  if axis is None:
    decay = contract.varying_as(x, decay)

  def scan(q, k, v, init):
    if not config.levels:
      return recurrence.outer_scan_heads(
        q, k, v, decay, init, axis=axis, reset=reset
      )
    before = init, state.position
    o, (last, _) = _levels.scan(
      q, k, v, decay, scales, before, axis=axis, reset=reset
    )
    return o, last

  if config.normalization != "sum":
    q, k = turned
    o, S = scan(q * q.shape[-1] ** -0.5, k, v, state.S)
    shape = o.shape
    if config.normalization == "rms_width":
      o = o.reshape(*shape[:-2], -1)
    o = head_parts.normed(o, params["norm_scale"], config.eps)
    return o.reshape(shape), State(S, None, None)
  # The keys' sum is an additional column of S, for values of 1.
  one, z = jnp.ones_like(v, shape=(*v.shape[:-1], 1)), state.z[..., None]
  if config.positions == "none":
    v = jnp.concatenate([v, one], axis=-1)
    o, S = scan(*plain, v, jnp.concatenate([state.S, z], axis=-1))
    total, z = o[..., -1:], S[..., -1:]
    o, S = o[..., :-1], S[..., :-1]
  else:
    o, S = scan(*turned, v, state.S)
    total, z = scan(*plain, one, z)

  def divided(o, total):
    return o / (total + config.eps)

  return contract.pointwise(divided, o, total), State(S, z[..., 0], None)


def _turned(config, q, k, position, reset, axis):
  """Returns queries and keys with positions, and the next position."""
  if position is None:
    return (q, k), None
  place, after = positions.since_reset(position, reset, q.shape[-3], axis)
  if config.positions == "none":
    return (q, k), after
  turned = (
    positions.rotary(x, place[..., None], config.rotary_base) for x in (q, k)
  )
  return tuple(turned), after
