"""Aaren: attention with a learned query, as a recurrence.

  q = W_q q_tok + b_q,  k_t = W_k x_t + b_k,  v_t = W_v x_t + b_v   per head
  o_t = sum_{s<=t} softmax_s(q . k_s / sqrt(d / H)) v_s
  y_t = W_o [o_t of all heads] + b_o

Feng et al., "Attention as an RNN", arXiv:2405.13956, section 3.3. The query
does not depend on the input: the softmax over a growing prefix is a running
average, and a step needs constant memory.

The module replaces causal self-attention in a Transformer layer; residual,
LayerNorm and feed-forward are in `jaxseq.nn`.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts

State = recurrence.SoftmaxState

TRAITS = contract.Traits(
  keeps="running softmax averages, with one learned query per head",
  block=contract.TRANSFORMER_BLOCK,
  memory=("w",),
  norms=("u",),
  exponents=("m",),
)


@dataclasses.dataclass(frozen=True)
class Config(contract.Options):
  """Options of Aaren.

  Attributes:
    heads: number of heads, each with its own query, scores and average; divides
      d_model. The paper does not fix it; if None, 8 if that divides d_model,
      else 1.
  """

  heads: int | None = None

  def __post_init__(self):
    super().__post_init__()
    contract.divisor("heads", self.num_heads, d_model=self.d_model)

  @property
  def num_heads(self) -> int:
    """H, the number of heads."""
    return self.heads or (1 if self.d_model % 8 else 8)


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters.

  The projections as in a Transformer layer of PyTorch: Xavier-uniform over W_q,
  W_k and W_v as one matrix, LeCun-uniform for W_o, zero biases. The query token
  is drawn from a unit normal.

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


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: the empty average.

  m, u (*batch, heads) and w (*batch, heads, d_model / heads).
  """
  heads = config.num_heads
  return recurrence.softmax_initial(
    (*batch_shape, heads), config.d_model // heads, dtype
  )


@contract.apply(Config, init, initial_state)
def apply(config, params, x, state=None, reset=None, *, axis=None, mask=None):
  """Runs over a sequence.

  Options:
    mask: (*batch, time) bool; elements with False, such as padding, are left
      out of all averages. For an empty average y is b_o.
  """
  contract.check_mask(mask, x)
  *batch, time, _ = x.shape
  heads = config.num_heads
  scores, values = _project(config, params, x, state)
  # The heads are an additional batch axis of the average.
  shape = (*batch, heads, time)
  reset, mask = (head_parts.resets(flag, shape) for flag in (reset, mask))
  scores, values = jnp.moveaxis(scores, -1, -2), jnp.moveaxis(values, -2, -3)
  outputs, state = recurrence.softmax_scan(
    scores, values, state, axis=axis, reset=reset, mask=mask
  )
  outputs = jnp.moveaxis(outputs, -3, -2).reshape(x.shape)
  return _output(params, outputs, values.dtype), state


@contract.step(Config, init, initial_state)
def step(config, params, x, state, reset=None, *, mask=None):
  """Consumes one element; `apply` without the time axis.

  Options:
    mask: (*batch,) bool or None.
  """
  contract.check_mask(mask, x)
  scores, values = _project(config, params, x, state)
  shape = (*x.shape[:-1], config.num_heads)
  per_head = functools.partial(head_parts.resets, shape=shape, time=False)
  reset, mask = map(per_head, (reset, mask))
  outputs, state = recurrence.softmax_step(
    scores, values, state, reset=reset, mask=mask
  )
  return _output(params, outputs.reshape(x.shape), values.dtype), state


def _project(config, params, x, state):
  """Scores (..., heads) and values (..., heads, width)."""
  x = x.astype(contract.product_dtype(x, state))
  heads = config.num_heads
  width = config.d_model // heads
  p = contract.cast(params, contract.wide_dtype(x))
  q = (p["q_tok"] @ p["W_q"] + p["b_q"]).reshape(heads, width)
  q = q / math.sqrt(width)
  # The query is the same for all elements: it is multiplied by W_k once, and
  # keys are not computed.
  W_score = jnp.einsum("ihw,hw->ih", p["W_k"].reshape(-1, heads, width), q)
  b_score = jnp.sum(p["b_k"].reshape(heads, width) * q, axis=-1)
  values = recurrence.dense(x, p["W_v"], p["b_v"])
  return (
    recurrence.dense(x, W_score, b_score, wide=True),
    values.reshape(x.shape[:-1] + (heads, width)),
  )


def _output(params, outputs, dtype):
  return recurrence.dense(outputs.astype(dtype), params["W_o"], params["b_o"])
