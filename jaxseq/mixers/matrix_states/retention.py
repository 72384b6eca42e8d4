"""Retention of RetNet: linear attention with a constant decay per head.

  gamma_h = 1 - 2^(-5 - h)                           per head h = 0, 1, ...
  S_t = gamma S_{t-1} + k_t v_t^T,      o_t = d_key^-0.5 q_t S_t
  y_t = W_o (silu(W_g x_t) norm(o_t / root(n_t)))

with q and k rotated by their places p in the episode and n_t the sum of gamma^j
over j = 0 .. p. Sun et al., "Retentive network: a successor to Transformer for
large language models", arXiv:2307.08621, in the recurrent form of Microsoft's
torchscale. Its parallel form and its form of chunks divide by other numbers
instead of root(n_t), which the norm cancels except for its eps: they differ
from this by 1e-6 to 5e-5. Neither code has the scales of xPos, which the decay
replaces. flash-linear-attention's layer is

  Config(d, rotation="halves", divided=False, norm_weight=True, eps=1e-5)
"""

import dataclasses
import functools
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
from jaxseq.mixers.matrix_states import _outer

TRAITS = contract.Traits(
  keeps="a matrix per head, with a constant decay; the place in the episode",
  block=contract.TRANSFORMER_BLOCK,
  memory=("S",),
)


@dataclasses.dataclass(frozen=True)
class Config(_outer.HeadWidths):
  """Options of retention.

  Attributes:
    d_key: width of a head's queries and keys, an even number; d_model / heads,
      rounded up to one, if None.
    d_value: width of a head's values; twice d_key's default if None.
    kv_heads: number of heads of keys and values, each for heads / kv_heads
      neighboring heads; `heads` if None.
    rotation: channels of queries and keys that are rotated together: "pairs" of
      neighbors as in torchscale, or the first with the second of two "halves"
      as in flash-linear-attention, whose frequencies differ too; "none" for no
      rotation.
    divided: whether o is divided by root(n_t) before the norm.
    norm_weight: whether the norm of a head has factors.
    eps: added to the mean square in the norm.
  """

  kv_heads: int | None = None
  rotation: Literal["pairs", "halves", "none"] = "pairs"
  divided: bool = True
  norm_weight: bool = False
  eps: float = 1e-6

  def __post_init__(self):
    super().__post_init__()
    contract.divisor("kv_heads", self.groups, heads=self.heads)
    if self.rotation != "none" and self.key_width % 2:
      expected = "an even number under a rotation"
      raise contract.error("d_key", self.key_width, expected)

  @property
  def groups(self) -> int:
    """Number of heads of keys and values."""
    return self.kv_heads or self.heads

  @property
  def value_width(self) -> int:
    """Width of a head's values."""
    return self.d_value or 2 * self._default_width

  @property
  def log_decays(self) -> np.ndarray:
    """Logarithms (heads,) of gamma, in float64."""
    return np.log1p(-(2.0 ** (-5 - np.arange(self.heads))))

  @property
  def _default_width(self):
    return 2 * math.ceil(self.d_model / self.heads / 2)


@_serialization.exported("jaxseq.mixers.retention.State")
class State(NamedTuple):
  """State of retention.

  Attributes:
    S: (*batch, heads, d_key, d_value), decayed sum of k v^T.
    position: (*batch,) number of elements since the state was fresh; in
      floating point: more than 2^24 in float32 are not counted.
  """

  S: jax.Array
  position: jax.Array


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters: uniform, as the original code does.

  Returns:
    A dict of float32 arrays:
      W_q: (d_model, heads * d_key).
      W_k: (d_model, kv_heads * d_key).
      W_v: (d_model, kv_heads * d_value).
      W_g: (d_model, heads * d_value).
      W_o: (heads * d_value, d_model), twice as large.
      norm_scale: (d_value,), ones, with norm_weight.
  """
  values = config.heads * config.value_width
  widths = {
    "q": config.heads * config.key_width,
    "k": config.groups * config.key_width,
    "v": config.groups * config.value_width,
    "g": values,
  }
  keys = contract.Draws(key, "q k v g o").keys
  xavier = jax.nn.initializers.variance_scaling
  small, large = (
    xavier(gain**2, "fan_avg", "uniform") for gain in (2**-2.5, 0.5)
  )
  params = {
    f"W_{name}": small(keys[name], (config.d_model, columns), jnp.float32)
    for name, columns in widths.items()
  }
  params["W_o"] = large(keys["o"], (values, config.d_model), jnp.float32)
  if config.norm_weight:
    params["norm_scale"] = contract.ones(config.value_width)
  return params


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: zeros."""
  matrix = config.heads, config.key_width, config.value_width
  return State(
    jnp.zeros((*batch_shape, *matrix), dtype), jnp.zeros(batch_shape, dtype)
  )


@contract.apply(Config, init, initial_state, sections=True)
def apply(config, params, x, state=None, reset=None, *, axis=None):
  """Runs over a sequence; a reset restarts the places at 0."""
  params = contract.cast(params, contract.wide_dtype(x))
  place, after = positions.since_reset(state.position, reset, x.shape[-2], axis)
  counts = {"q": config.heads, "k": config.groups, "v": config.groups}
  q, k, v = (
    head_parts.split(recurrence.dense(x, params[f"W_{name}"]), heads)
    for name, heads in counts.items()
  )
  turn = functools.partial(_turned, config.rotation, place=place[..., None])
  shared = config.heads // config.groups
  q, k = turn(q), jnp.repeat(turn(k), shared, axis=-2)
  v = jnp.repeat(v, shared, axis=-2)
  decay = jnp.asarray(config.log_decays, contract.wide_dtype(x))
  decays = jnp.broadcast_to(decay, (*x.shape[:-1], config.heads))[..., None]
  if axis is None:
    decays = contract.varying_as(x, decays)
  o, S = _outer.scan(q, k, v, decays, state.S, reset, axis)
  if config.divided:
    total = jnp.expm1((place[..., None] + 1) * decay) / jnp.expm1(decay)
    o = contract.pointwise(
      lambda o, n: o * jax.lax.rsqrt(n)[..., None], o, total
    )
  scale = params.get("norm_scale", contract.ones(config.value_width))
  o = head_parts.normed(o, scale.astype(S.dtype), config.eps)
  o = o.reshape(*x.shape[:-1], -1)
  o = head_parts.gated(o, recurrence.dense(x, params["W_g"]))
  return recurrence.dense(o, params["W_o"]), State(S, after)


step = passes.step_by(Config, init, initial_state, apply)


def _turned(rotation, x, place):
  """Rotates queries or keys (..., heads, d_key) by their places."""
  if rotation == "none":
    return x
  if rotation == "halves":
    return positions.rotary(x, place)
  half = x.shape[-1] // 2
  theta = 10000.0 ** -np.linspace(0, 1, half)
  dtype = contract.wide_dtype(x)
  phase = positions.angles(place, theta, dtype)
  pairs = x.astype(dtype).reshape(*x.shape[:-1], half, 2)
  x1, x2 = pairs[..., 0], pairs[..., 1]
  cos, sin = jnp.cos(phase), jnp.sin(phase)
  turned = jnp.stack([x1 * cos - x2 * sin, x2 * cos + x1 * sin], axis=-1)
  return turned.reshape(x.shape).astype(x.dtype)
