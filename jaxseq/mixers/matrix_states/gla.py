"""Gated linear attention (GLA): matrix states with input-dependent decays.

  q, k, v = W_q x, W_k x, W_v x, or silu of a short convolution of these
  g_t = log sigmoid(W_a2 W_a x_t + b_a) / 16           per channel of the keys
  S_t = diag(exp(g_t)) S_{t-1} + k_t v_t^T,  o_t = d_key^-0.5 q_t S_t   per head
  y_t = W_o (norm(o_t) * silu(W_g x_t))

Yang et al., "Gated Linear Attention Transformers with Hardware-Efficient
Training", arXiv:2312.06635, section 4, with the options of its authors' code,
flash-linear-attention. Except for the convolution, it is one setting of
`linear_attention`.
"""

import dataclasses
import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts
from jaxseq.mixers import passes
from jaxseq.mixers.matrix_states import _outer

TRAITS = contract.Traits(
  keeps="a matrix per head, with a decay per channel of the keys; with an "
  "option 3 inputs of a convolution",
  block=contract.TRANSFORMER_BLOCK,
  memory=("S",),
)


@dataclasses.dataclass(frozen=True)
class Config(contract.Options):
  """Options of gated linear attention; the defaults are those of its code.

  Attributes:
    heads: number of heads.
    expand_k: width of all heads' keys / d_model; a head's is rounded up.
    expand_v: width of all heads' values / d_model; a head's is rounded up.
    d_conv: width of the convolution of queries, keys and values, including the
      present element, followed by silu; 1 for neither. The code has none or 4.
    decay_rank: rank of the decay's projection.
    decay_temperature: divisor of the logarithms of decays; larger is slower
      decay.
    gate: factor on the heads' outputs, "none" (1) or "silu"
      (silu(W_g x)).
    eps: added to the mean square in the norm of a head's output.
  """

  heads: int = 4
  expand_k: float = 0.5
  expand_v: float = 1.0
  d_conv: int = 1
  decay_rank: int = 16
  decay_temperature: float = 16.0
  gate: Literal["none", "silu"] = "silu"
  eps: float = 1e-5

  @property
  def key_width(self) -> int:
    """Width of a head's queries and keys."""
    return self._width(self.expand_k)

  @property
  def value_width(self) -> int:
    """Width of a head's values."""
    return self._width(self.expand_v)

  @property
  def channels(self) -> tuple[int, int, int]:
    """Channels of queries, keys and values, the inputs of the convolution."""
    keys = self.heads * self.key_width
    return keys, keys, self.heads * self.value_width

  def _width(self, expand):
    return math.ceil(max(1, int(expand * self.d_model)) / self.heads)


State = _outer.ConvState


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters: LeCun-normal matrices, zero biases.

  Returns:
    A dict of float32 arrays:
      W_qkv: (d_model, sum of channels), to queries, keys and values side by
        side.
      conv_weight: (d_conv, sum of channels), the last row for the present
        element, if d_conv > 1.
      W_a: (d_model, decay_rank), W_a2: (decay_rank, heads * d_key), b_a: (heads
        * d_key,).
      W_g: (d_model, heads * d_value), if there is a gate.
      norm_scale: (d_value,), ones.
      W_o: (heads * d_value, d_model).
  """
  draw = contract.Draws(key, "qkv conv a a2 g o")
  width, inner = config.d_model, sum(config.channels)
  _, decays, values = config.channels
  params = {
    "W_qkv": draw("qkv", width, inner),
    "W_a": draw("a", width, config.decay_rank),
    "W_a2": draw("a2", config.decay_rank, decays),
    "b_a": contract.zeros(decays),
    "norm_scale": contract.ones(config.value_width),
    "W_o": draw("o", values, width),
    **draw.conv(config.d_conv, inner),
  }
  if config.gate != "none":
    params["W_g"] = draw("g", width, values)
  return params


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: zeros."""
  return _outer.fresh(config, config.heads, batch_shape, dtype)


@contract.apply(Config, init, initial_state, sections=True)
def apply(config, params, x, state=None, reset=None, *, axis=None):
  """Runs over a sequence; a reset empties the convolution's window too."""
  params = contract.cast(params, contract.wide_dtype(x))
  qkv = recurrence.dense(x, params["W_qkv"])
  over = functools.partial(passes.over_sequence, axis=axis)
  qkv, window = passes.convolved(over, params, qkv, state.conv, reset)
  queries, keys, _ = config.channels
  q, k, v = (
    head_parts.split(part, config.heads)
    for part in jnp.split(qkv, (queries, queries + keys), axis=-1)
  )
  logits = _outer.low_rank_logits(params, x)
  decay = _outer.log_decay(logits, config.decay_temperature)
  decay = head_parts.split(decay, config.heads)
  o, S = _outer.scan(q, k, v, decay, state.S, reset, axis)
  o = head_parts.normed(o, params["norm_scale"], config.eps)
  o = o.reshape(*x.shape[:-1], -1)
  if config.gate == "silu":
    o = head_parts.gated(o, recurrence.dense(x, params["W_g"]))
  return recurrence.dense(o, params["W_o"]), State(window, S)


step = passes.step_by(Config, init, initial_state, apply)
