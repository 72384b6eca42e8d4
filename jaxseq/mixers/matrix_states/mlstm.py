"""mLSTM: the block of xLSTM with a matrix state and exponential gates.

  u_t, z_t = W_up x_t
  c_t = silu(conv(u)_t)                      causal, depthwise over time
  q_t = W_q c_t,  k_t = W_k c_t,  v_t = W_v u_t               (blocks of 4)
  i_t, f_t = W_if [q_t, k_t, v_t] + b        one of each per head
  C_t = sigmoid(f_t) C_{t-1} + exp(i_t) k_t v_t^T / sqrt(d)        per head
  n_t = sigmoid(f_t) n_{t-1} + exp(i_t) k_t / sqrt(d)
  h_t = C_t^T q_t / max(|n_t^T q_t|, 1)
  y_t = W_down ((norm(h_t) + skip c_t) silu(z_t))

Beck et al., "xLSTM", arXiv:2405.04517, section 2.3 and appendix A.3, and
NX-AI's code. The layer of xLSTM-7B is a separate mixer, `mlstm_large`.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts
from jaxseq.mixers import passes
from jaxseq.mixers.matrix_states import _mlstm

TRAITS = contract.Traits(
  keeps="a matrix and a vector per head, with exponential gates; 3 inputs of a "
  "convolution",
  block={"activation": "none"},
  memory=("C", "n"),
)


@dataclasses.dataclass(frozen=True)
class Config(contract.Options):
  """Options of the block.

  Attributes:
    d_hidden: inner width, a multiple of heads and of d_block; if None 2
      d_model, rounded up to one. The original rounds up to a multiple of 64.
    heads: number of heads.
    d_conv: width of the convolution, including the present element; 1 for no
      convolution and no silu.
    d_block: width of the blocks of W_q, W_k and W_v.
    bias: whether W_up, W_q, W_k, W_v and W_down have biases.
    eps: added to the variance in the layer norm of a head's output.
    divisor_eps: added to the divisor, relative to the largest weight.
  """

  d_hidden: int | None = None
  heads: int = 4
  d_conv: int = 4
  d_block: int = 4
  bias: bool = False
  eps: float = 1e-5
  divisor_eps: float = 1e-6

  def __post_init__(self):
    super().__post_init__()
    blocks = {"heads": self.heads, "d_block": self.d_block}
    contract.multiple("d_hidden", self.width, **blocks)

  @property
  def width(self) -> int:
    """Width inside."""
    step = math.lcm(self.heads, self.d_block)
    return self.d_hidden or step * math.ceil(2 * self.d_model / step)


@_serialization.exported("jaxseq.mixers.mlstm.State")
class State(NamedTuple):
  """State of the block.

  Attributes:
    conv: (*batch, d_conv - 1, d_hidden), the last inputs of the convolution,
      oldest first; None without one.
    memory: C (*batch, heads, n, n), n (*batch, heads, n), m (*batch, heads).
  """

  conv: jax.Array | None
  memory: recurrence.MLSTMState


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters; the gates' as in the original code.

  Returns:
    A dict of float32 arrays, LeCun-normal matrices unless noted:
      W_up: (d_model, 2 * d_hidden), to u and z.
      conv_weight: (d_conv, d_hidden), the last row for the present element, and
        conv_bias, if d_conv > 1.
      W_q, W_k, W_v: (d_hidden / d_block, d_block, d_block).
      W_if: (3 * d_hidden, 2 * heads), zeros, and W_if_bias: normal of 0.1 for
        the input gates, from 3 to 6 for the forget gates.
      norm_scale, skip: (d_hidden,), ones.
      W_down: (d_hidden, d_model).
      W_up_bias, W_q_bias, W_k_bias, W_v_bias, W_down_bias: zeros, if bias.
  """
  draw = contract.Draws(key, "up conv conv_bias q k v i down")
  width, hidden, taps = config.d_model, config.width, config.d_conv
  params = {"W_up": draw("up", width, 2 * hidden), **draw.conv(taps, hidden)}
  if taps > 1:
    bias = contract.uniform(draw.keys["conv_bias"], (hidden,), taps)
    params["conv_bias"] = bias
  shape = hidden // config.d_block, config.d_block, config.d_block
  for name in "qkv":
    normal = jax.random.normal(draw.keys[name], shape, jnp.float32)
    params[f"W_{name}"] = normal / math.sqrt(config.d_block)
  params["W_if"] = contract.zeros(3 * hidden, 2 * config.heads)
  normal = jax.random.normal(draw.keys["i"], (config.heads,), jnp.float32)
  params["W_if_bias"] = _mlstm.gate_biases(0.1 * normal)
  params["norm_scale"] = params["skip"] = contract.ones(hidden)
  params["W_down"] = draw("down", hidden, width)
  if config.bias:
    params |= contract.biases(params, "W_up", "W_down")
    params |= {f"W_{name}_bias": contract.zeros(hidden) for name in "qkv"}
  return params


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: zeros."""
  window = *batch_shape, config.d_conv - 1, config.width
  head = config.width // config.heads
  return State(
    jnp.zeros(window, dtype) if config.d_conv > 1 else None,
    recurrence.mlstm_initial((*batch_shape, config.heads), head, head, dtype),
  )


def _run(over, config, params, x, state, reset):
  """Runs over a sequence; a reset empties the convolution's window too."""
  u, z = jnp.split(contract.project(params, "W_up", x), 2, axis=-1)
  c, window = passes.convolved(over, params, u, state.conv, reset)
  q, k, v = (
    head_parts.dense(y, params[f"W_{name}"], params.get(f"W_{name}_bias"))
    for name, y in (("q", c), ("k", c), ("v", u))
  )
  qkv = jnp.concatenate([q, k, v], axis=-1)
  gates = recurrence.dense(qkv, params["W_if"], params["W_if_bias"], wide=True)
  elements = q, k, v, gates, state.memory, reset
  h, memory = _mlstm.read(over, *elements, config.divisor_eps)
  h = head_parts.layer_normed(h, params["norm_scale"], None, config.eps)

  def gated(h, c, z, skip):
    return (h + skip * c) * jax.nn.silu(z)

  y = contract.pointwise(gated, h, c, z, params["skip"])
  return contract.project(params, "W_down", y), State(window, memory)


apply, step = passes.make(Config, init, initial_state, _run, sections=True)
