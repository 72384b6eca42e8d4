"""Aaren: attention with a learned query, as a recurrence.

  q = W_q q_tok + b_q,  k_t = W_k x_t + b_k,  v_t = W_v x_t + b_v   per head
  o_t = sum_{s<=t} softmax_s(q . k_s / sqrt(d / H)) v_s
  y_t = W_o [o_t of all heads] + b_o

Feng et al., "Attention as an RNN", arXiv:2405.13956, section 3.3. The query
does not depend on the input, so that the softmax over a growing prefix is a
running average, and a step needs constant memory.

The module takes the place of causal self-attention in a Transformer layer;
residual, LayerNorm and feed-forward are in `jaxseq.nn`.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import _check

Params = dict[str, jax.Array]
State = recurrence.SoftmaxState


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of Aaren.

  Attributes:
    d_model: width of inputs and outputs.
    heads: number of heads, each with a query, scores and an average of its own;
      divides d_model. The paper does not fix it; 8 where that divides d_model,
      else 1, if None.
    block_size: elements that are averaged together before they meet the state
      (the paper's block-by-block mode, section 3.1); by platform if None. The
      result does not depend on it; `apply` can override it.
  """

  d_model: int
  heads: int | None = None
  block_size: int | None = None

  def __post_init__(self):
    _check.check_positive(self, "d_model")
    for name in ("heads", "block_size"):
      if getattr(self, name) is not None:
        _check.check_positive(self, name)
    if self.d_model % self.num_heads:
      raise ValueError(
        f"heads must divide d_model = {self.d_model}; got {self.heads}."
      )

  @property
  def num_heads(self) -> int:
    """H, the number of heads."""
    if self.heads is not None:
      return self.heads
    return 8 if self.d_model % 8 == 0 else 1


def init(key: jax.Array, config: Config) -> Params:
  """Draws the parameters.

  The projections as in a Transformer layer of PyTorch: Xavier-uniform over W_q,
  W_k and W_v as one matrix, LeCun-uniform for W_o, zero biases. The query token
  is drawn from a unit normal.

  Args:
    key: random key.
    config: options.

  Returns:
    A dict of float32 arrays: q_tok (d_model,); W_q, W_k, W_v, W_o (d_model,
    d_model), input by output; b_q, b_k, b_v, b_o (d_model,).
  """
  d = config.d_model
  key_tok, key_in, key_out = jax.random.split(key, 3)
  bound = math.sqrt(6 / (d + 3 * d))
  W_in = jax.random.uniform(key_in, (3, d, d), jnp.float32, -bound, bound)
  bound = 1 / math.sqrt(d)
  params = {
    "q_tok": jax.random.normal(key_tok, (d,), jnp.float32),
    "W_q": W_in[0],
    "W_k": W_in[1],
    "W_v": W_in[2],
    "W_o": jax.random.uniform(key_out, (d, d), jnp.float32, -bound, bound),
  }
  return params | {
    name: jnp.zeros((d,), jnp.float32) for name in ("b_q", "b_k", "b_v", "b_o")
  }


def initial_state(
  config: Config, batch_shape: tuple[int, ...] = (), dtype=jnp.float32
) -> State:
  """Returns the state of a fresh sequence: the average of nothing.

  Args:
    config: options.
    batch_shape: leading axes.
    dtype: dtype of the state; float32 if it is narrower.

  Returns:
    m, u (*batch, heads) and w (*batch, heads, d_model / heads).

  Raises:
    ValueError: if batch_shape or dtype is not of that kind.
  """
  dtype = _check.state_dtype(batch_shape, dtype)
  heads = config.num_heads
  return recurrence.softmax_initial(
    (*batch_shape, heads), config.d_model // heads, dtype
  )


def apply(
  config: Config,
  params: Params,
  x: jax.Array,
  state: State | None = None,
  reset: jax.Array | None = None,
  *,
  axis: str | None = None,
  mask: jax.Array | None = None,
  block_size: int | None = None,
) -> tuple[jax.Array, State]:
  """Runs over a sequence.

  Args:
    config: options.
    params: from `init`.
    x: (*batch, time, d_model).
    state: state before the first element; fresh if None.
    reset: (*batch, time) bool; where true the state is that of a fresh
      sequence before the element is consumed.
    mask: (*batch, time) bool; elements where it is false, padding say, are left
      out of all averages. Where there is nothing to average y is b_o.
    block_size: in the place of the option of the same name.
    axis: name of a mesh axis over which time is split, inside `jax.shard_map`
      only; see `registry`.

  Returns:
    y of x's shape and dtype, and the state after the last element.

  Raises:
    ValueError: if an argument does not fit the above.
  """
  _check.check_params(Config, init, config, params)
  x = jnp.asarray(x)
  batch = _check.check_inputs(
    config.d_model,
    x,
    state,
    lambda shape: initial_state(config, shape),
    reset,
  )
  _check.check_mask(mask, x)
  dtype = _dtype(x, state)
  if state is None:
    state = initial_state(config, batch, dtype)
  time, heads = x.shape[-2], config.num_heads
  scores, values = _project(config, params, x.astype(dtype))
  # The heads are one more batch axis of the average.
  reset, mask = (
    None if flag is None else _per_head(flag, batch + (heads, time), -2)
    for flag in (reset, mask)
  )
  outputs, state = recurrence.softmax_scan(
    jnp.moveaxis(scores, -1, -2),
    jnp.moveaxis(values, -2, -3),
    state,
    axis=axis,
    reset=reset,
    mask=mask,
    chunk_size=config.block_size if block_size is None else block_size,
  )
  outputs = jnp.moveaxis(outputs, -3, -2).reshape(x.shape)
  return _output(params, outputs, x.dtype), state


def step(
  config: Config,
  params: Params,
  x: jax.Array,
  state: State,
  reset: jax.Array | None = None,
  *,
  mask: jax.Array | None = None,
) -> tuple[jax.Array, State]:
  """Consumes one element; `apply` without the time axis.

  Args:
    config: options.
    params: from `init`.
    x: (*batch, d_model).
    state: state before the element.
    reset: (*batch,) bool or None.
    mask: (*batch,) bool or None.

  Returns:
    y of x's shape and dtype, and the state after the element.

  Raises:
    ValueError: if an argument does not fit the above.
  """
  _check.check_params(Config, init, config, params)
  x = jnp.asarray(x)
  batch = _check.check_inputs(
    config.d_model,
    x,
    state,
    lambda shape: initial_state(config, shape),
    reset,
    step=True,
  )
  _check.check_mask(mask, x)
  scores, values = _project(config, params, x.astype(_dtype(x, state)))
  reset, mask = (
    None if flag is None else _per_head(flag, batch + (config.num_heads,), -1)
    for flag in (reset, mask)
  )
  outputs, state = recurrence.softmax_step(
    scores, values, state, reset=reset, mask=mask
  )
  return _output(params, outputs.reshape(x.shape), x.dtype), state


def _dtype(x, state):
  return jnp.result_type(x, jnp.float32, *map(jnp.asarray, state or ()))


def _per_head(flag, shape, axis):
  return jnp.broadcast_to(jnp.expand_dims(flag, axis), shape)


def _project(config, params, x):
  """Scores (..., heads) and values (..., heads, width)."""
  heads = config.num_heads
  width = config.d_model // heads
  p = {name: value.astype(x.dtype) for name, value in params.items()}
  q = (p["q_tok"] @ p["W_q"] + p["b_q"]).reshape(heads, width)
  q = q / math.sqrt(width)
  # The query is the same for all elements, so keys need not be formed: it goes
  # through W_k once.
  W_score = jnp.einsum("ihw,hw->ih", p["W_k"].reshape(-1, heads, width), q)
  b_score = jnp.sum(p["b_k"].reshape(heads, width) * q, axis=-1)
  values = recurrence.dense(x, p["W_v"]) + p["b_v"]
  return (
    recurrence.dense(x, W_score) + b_score,
    values.reshape(x.shape[:-1] + (heads, width)),
  )


def _output(params, outputs, dtype):
  y = recurrence.dense(outputs, params["W_o"].astype(outputs.dtype))
  return (y + params["b_o"].astype(outputs.dtype)).astype(dtype)
