"""Causal multi-head softmax attention over a window, with a KV cache as state.

  o_t = sum_j softmax_j(q_t . k_j / sqrt(d_head)) v_j,   t - window <= j <= t

over the elements j of t's own episode. Vaswani et al., "Attention is all you
need", arXiv:1706.03762; rotary positions: Su et al., "RoFormer",
arXiv:2104.09864; heads that share keys and values: Ainslie et al., "GQA",
arXiv:2305.13245.

Up to `window` + 1 elements this is plain causal attention. Beyond, the oldest
are forgotten: the state has a fixed size.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import _validate
from jaxseq import recurrence
from jaxseq.mixers import _attention
from jaxseq.mixers import _check

Params = dict[str, jax.Array]
# Ways of splitting time over devices, see `apply`.
SCHEMES = _attention.SCHEMES

POSITIONS = ("rotary", "none")


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of attention.

  Attributes:
    d_model: width of inputs and outputs.
    heads: number of heads.
    kv_heads: number of heads of keys and values, a divisor of `heads`; `heads`
      if None. Neighbouring heads share them.
    d_head: width of a head; d_model / heads, rounded up to an even number, if
      None.
    window: number of elements that an element sees beside itself. The state
      holds that many keys and values: 8 * window * kv_heads * d_head bytes in
      float32, half a megabyte at the default and d_model = 64.
    positions: "rotary", or "none" for no positions at all.
    rotary_base: the slowest rotary frequency is about 1 / rotary_base.
  """

  d_model: int
  heads: int = 4
  kv_heads: int | None = None
  d_head: int | None = None
  window: int = 1024
  positions: str = "rotary"
  rotary_base: float = 10000.0

  def __post_init__(self):
    _check.check_positive(self, "d_model", "heads", "window")
    if self.groups < 1 or self.heads % self.groups:
      raise ValueError(
        f"kv_heads must divide heads; got kv_heads = {self.kv_heads} and heads "
        f"= {self.heads}."
      )
    if self.positions not in POSITIONS:
      raise ValueError(
        f"positions must be one of {POSITIONS}; got {self.positions!r}."
      )
    if self.head_width < 1:
      raise ValueError(f"d_head must be positive; got {self.d_head}.")
    if self.positions == "rotary" and self.head_width % 2:
      raise ValueError(
        f"d_head must be even under rotary positions; got {self.d_head}."
      )
    if not self.rotary_base > 1:
      raise ValueError(
        f"rotary_base must be greater than 1; got {self.rotary_base}."
      )

  @property
  def groups(self) -> int:
    """Number of heads of keys and values."""
    return self.heads if self.kv_heads is None else self.kv_heads

  @property
  def head_width(self) -> int:
    """Width of a head."""
    if self.d_head is not None:
      return self.d_head
    return 2 * math.ceil(self.d_model / self.heads / 2)


class State(NamedTuple):
  """The last elements, oldest first; those before the episode are zeros.

  Attributes:
    keys: (*batch, window, kv_heads, d_head), before positions are added.
    values: (*batch, window, kv_heads, d_head).
    length: (*batch,) number of elements since the state was fresh, in floating
      point: more than 2^24 in float32 are not counted.
  """

  keys: jax.Array
  values: jax.Array
  length: jax.Array


def init(key: jax.Array, config: Config) -> Params:
  """Draws the parameters: LeCun-normal matrices, no biases.

  Args:
    key: random key.
    config: options.

  Returns:
    A dict of float32 arrays:
      W_q: (d_model, heads * d_head).
      W_k, W_v: (d_model, kv_heads * d_head).
      W_o: (heads * d_head, d_model).
  """
  keys = jax.random.split(key, 4)
  lecun = jax.nn.initializers.lecun_normal()
  inner = config.heads * config.head_width
  shared = config.groups * config.head_width
  return {
    "W_q": lecun(keys[0], (config.d_model, inner), jnp.float32),
    "W_k": lecun(keys[1], (config.d_model, shared), jnp.float32),
    "W_v": lecun(keys[2], (config.d_model, shared), jnp.float32),
    "W_o": lecun(keys[3], (inner, config.d_model), jnp.float32),
  }


def initial_state(
  config: Config, batch_shape: tuple[int, ...] = (), dtype=jnp.float32
) -> State:
  """Returns the state of a fresh sequence: no elements.

  Args:
    config: options.
    batch_shape: leading axes.
    dtype: dtype of the state; float32 if it is narrower.

  Returns:
    The state.

  Raises:
    ValueError: if batch_shape or dtype is not of that kind.
  """
  dtype = _check.state_dtype(batch_shape, dtype)
  shape = (*batch_shape, config.window, config.groups, config.head_width)
  return State(
    jnp.zeros(shape, dtype),
    jnp.zeros(shape, dtype),
    jnp.zeros(shape[:-3], dtype),
  )


def apply(
  config: Config,
  params: Params,
  x: jax.Array,
  state: State | None = None,
  reset: jax.Array | None = None,
  *,
  axis: str | None = None,
  scheme: str = "halo",
) -> tuple[jax.Array, State]:
  """Runs attention over a sequence; the work grows with time * window.

  Args:
    config: options.
    params: from `init`.
    x: (*batch, time, d_model), floating.
    state: state before the first element; a fresh one if None.
    reset: (*batch, time) bool; True puts the state back to a fresh one before
      that element is consumed: it and those after it see nothing before it.
    axis: name of the mesh axis over which time is split, inside
      `jax.shard_map`: x and reset are this device's chunk, the states those
      before and after the whole sequence, the same on every device.
    scheme: how the devices exchange what they need: "halo", where each receives
      the `window` keys and values before its own; or, if all elements together
      are at most `window` + 1, one of those of
      `recurrence.softmax_attention`:
      "gather", "ring", "ring_self_attention", "token_ring" or "ulysses".

  Returns:
    y of x's shape and dtype, and the state after the last element, float32 or
    wider.

  Raises:
    ValueError: if a shape or dtype does not fit, or the scheme.
  """
  _check.check_params(Config, init, config, params)
  _validate.choice("scheme", scheme, SCHEMES)
  x = jnp.asarray(x)
  batch = _check.check_inputs(
    config.d_model,
    x,
    state,
    lambda shape: initial_state(config, shape),
    reset,
  )
  time = x.shape[-2]
  dtype = jnp.promote_types(x.dtype, jnp.float32)
  q, k, v = (
    recurrence.dense(x.astype(dtype), params[name].astype(dtype)).reshape(
      *batch, time, heads, config.head_width
    )
    for name, heads in (
      ("W_q", config.heads),
      ("W_k", config.groups),
      ("W_v", config.groups),
    )
  )
  whole = time
  if axis is None:
    o, keys, values = _attention.local(config, q, k, v, state, reset)
  else:
    whole *= jax.lax.axis_size(axis)
    o, keys, values = _attention.split(
      config, q, k, v, state, reset, axis, scheme
    )
  y = recurrence.dense(o.reshape(*batch, time, -1), params["W_o"].astype(dtype))

  length = jnp.zeros(batch, dtype)
  if state is not None:
    length = state.length.astype(dtype)
  length = length + whole
  last_reset = _attention.last_reset(reset, time, axis)
  if last_reset is not None:
    since = whole - last_reset
    length = jnp.where(last_reset < 0, length, since.astype(dtype))
  short = config.window - keys.shape[-3]
  if short > 0:
    widths = ((0, 0),) * len(batch) + ((short, 0), (0, 0), (0, 0))
    keys, values = (jnp.pad(z, widths) for z in (keys, values))
  return y.astype(x.dtype), State(keys, values, length)


def step(
  config: Config,
  params: Params,
  x: jax.Array,
  state: State,
  reset: jax.Array | None = None,
) -> tuple[jax.Array, State]:
  """Runs attention over one element; the cache moves on by one.

  Args:
    config: options.
    params: from `init`.
    x: (*batch, d_model), floating.
    state: state before the element.
    reset: (*batch,) bool.

  Returns:
    y of x's shape and dtype, and the state after the element.

  Raises:
    ValueError: if a shape or dtype does not fit.
  """
  _check.check_params(Config, init, config, params)
  x = jnp.asarray(x)
  _check.check_inputs(
    config.d_model,
    x,
    state,
    lambda shape: initial_state(config, shape),
    reset,
    step=True,
  )
  reset = None if reset is None else reset[..., None]
  y, state = apply(config, params, x[..., None, :], state, reset)
  return y[..., 0, :], state
