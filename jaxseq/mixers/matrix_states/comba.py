"""Comba: a gated delta rule that reads with a separate vector before the decay.

  q, k, v = silu(conv(W x))            causal, depthwise
  p = sigmoid(inner_decay) k,  q <- q - D p,  then q, k and p of length 1
  u_t = beta_t (v_t - S_{t-1}^T p_t)
  S_t = alpha_t S_{t-1} + k_t u_t^T                                per head
  y_t = W_o (norm(S_t^T q_t / sqrt(d_key)) * sigmoid(W_g x_t))

with alpha = exp(-exp(A_log) softplus(W_a x + dt_bias)), beta = sigmoid(W_b x).
Hu et al., "Comba: improving bilinear RNNs with closed-loop control",
arXiv:2506.02475, in the form of flash-linear-attention's layer and kernels,
which read before the decay; its `naive_recurrent_comba` reads after it.

At length 1 p does not depend on inner_decay, which acts only through q - D p.
The paper's p is shorter than k: unit_read=False keeps it so.
"""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts
from jaxseq.mixers import passes
from jaxseq.mixers.matrix_states import _outer
from jaxseq.mixers.state_space import discretize

# Added to the sum of squares of queries and keys.
_LENGTH_EPS = 1e-6

TRAITS = contract.Traits(
  keeps="a matrix per head, with a decay, whose values are replaced; 3 inputs "
  "of a convolution",
  # Parameters without weight decay in the paper's code.
  ssm_parameters=("A_log", "dt_bias", "D"),
  block=contract.TRANSFORMER_BLOCK,
  memory=("S",),
)


@dataclasses.dataclass(frozen=True)
class Config(_outer.HeadWidths, discretize.FlooredSteps):
  """Options of Comba.

  Attributes:
    d_key: width of a head's queries and keys; d_model / heads, rounded up, if
      None.
    d_value: width of a head's values; its default is that of d_key. The code
      has twice d_key.
    d_conv: width of the convolution, including the present element; 1 for none.
    correction: initial value of D; the code recommends 0.02 for small models.
    unit_read: whether p is scaled to length 1, as in the code, or is
      sigmoid(inner_decay) times the key of length 1.
    gate: factor on the heads' outputs, "none" (1) or "sigmoid" (of W_g x).
    eps: added to the mean square in the norm of a head's output.
  """

  d_conv: int = 4
  correction: contract.Number = 1.0
  unit_read: bool = True
  gate: Literal["none", "sigmoid"] = "sigmoid"
  eps: float = 1e-5

  @property
  def channels(self) -> tuple[int, int, int]:
    """Channels of queries, keys and values, the inputs of the convolution."""
    keys = self.heads * self.key_width
    return keys, keys, self.heads * self.value_width


State = _outer.ConvState


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters.

  Returns:
    A dict of float32 arrays, LeCun-normal matrices unless noted:
      W_qkv: (d_model, sum of channels), to concatenated queries, keys and
        values.
      conv_weight: (d_conv, sum of channels), the last row for the present
        element, if d_conv > 1.
      inner_decay: (heads,), ones; D: (heads,), the correction.
      W_a, W_b: (d_model, heads).
      A_log: (heads,), logarithms of numbers from 0.01 to 16.
      dt_bias: (heads,), inverse softplus of the initial step sizes.
      W_g: (d_model, heads * d_value), if there is a gate.
      norm_scale: (d_value,), ones.
      W_o: (heads * d_value, d_model).
  """
  draw = contract.Draws(key, "qkv conv a b A dt g o")
  width, inner, heads = config.d_model, sum(config.channels), config.heads
  values = config.channels[-1]
  params = {
    "W_qkv": draw("qkv", width, inner),
    "inner_decay": contract.ones(heads),
    "D": jnp.full((heads,), config.correction, jnp.float32),
    "W_a": draw("a", width, heads),
    "W_b": draw("b", width, heads),
    "norm_scale": contract.ones(config.value_width),
    "W_o": draw("o", values, width),
    **draw.conv(config.d_conv, inner),
    **_outer.rates(draw, heads, heads, config),
  }
  if config.gate != "none":
    params["W_g"] = draw("g", width, values)
  return params


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: zeros."""
  return _outer.fresh(config, config.heads, batch_shape, dtype)


def _run(over, config, params, x, state, reset):
  """Runs over a sequence; a reset empties the convolution's window too."""
  qkv, window = recurrence.dense(x, params["W_qkv"]), state.conv
  if config.d_conv > 1:
    qkv, window = passes.convolved(over, params, qkv, window, reset)
  else:
    qkv = contract.pointwise(jax.nn.silu, qkv)
  queries, keys, _ = config.channels
  q, k, v = (
    head_parts.split(part, config.heads)
    for part in jnp.split(qkv, (queries, queries + keys), axis=-1)
  )
  q, k, p = _directions(config, params, q, k)
  beta = jax.nn.sigmoid(recurrence.dense(x, params["W_b"], wide=True))
  a, v = (contract.pointwise(jnp.multiply, z, beta[..., None]) for z in (p, v))
  logits = recurrence.dense(x, params["W_a"], params["dt_bias"], wide=True)
  decay = -jnp.exp(params["A_log"]) * jax.nn.softplus(logits)
  elements = q, k, v, a, -k, decay[..., None], state.S
  step = passes.of_heads(recurrence.dplr_step)
  o, S = over(_outer.dplr_scan, *elements, reset=reset, step=step)
  o = head_parts.normed(o, params["norm_scale"], config.eps)
  o = o.reshape(*x.shape[:-1], -1)
  if config.gate != "none":
    gate = recurrence.dense(x, params["W_g"])
    o = head_parts.gated(o, gate, jax.nn.sigmoid)
  return recurrence.dense(o, params["W_o"]), State(window, S)


def _directions(config, params, q, k):
  """Returns queries, keys and the reading vectors, (..., heads, d_key)."""
  unit = functools.partial(head_parts.unit, eps=_LENGTH_EPS)
  share, D = (
    jax.nn.sigmoid(params["inner_decay"])[:, None],
    params["D"][:, None],
  )

  def queries(q, k, share, D):
    return unit(q - D * share * k, scale=config.key_width**-0.5)

  def read(k, share):
    return unit(share * k) if config.unit_read else share * unit(k)

  return (
    contract.pointwise(queries, q, k, share, D),
    contract.pointwise(unit, k),
    contract.pointwise(read, k, share),
  )


apply, step = passes.make(Config, init, initial_state, _run, sections=True)
