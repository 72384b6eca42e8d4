"""mLSTM layer of xLSTM-7B: narrow queries and keys, capped gates.

  q_t = W_q x_t,  k_t = W_k x_t,  v_t = W_v x_t               per head
  i_t, f_t = cap tanh((W_if x_t + b) / cap)      one of each per head
  C_t = sigmoid(f_t) C_{t-1} + exp(i_t) k_t v_t^T / sqrt(d_key)
  n_t = sigmoid(f_t) n_{t-1} + exp(i_t) k_t / sqrt(d_key)
  h_t = C_t^T q_t / max(|n_t^T q_t|, 1)
  y_t = W_o (norm(h_t) sigmoid(W_g x_t))

Beck et al., "xLSTM 7B", arXiv:2503.13427, as the transformers library has it. A
feed-forward layer follows, as in a Transformer. The block of the first paper is
the mixer `mlstm`.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts
from jaxseq.mixers import passes
from jaxseq.mixers.matrix_states import _mlstm
from jaxseq.mixers.matrix_states import _outer

TRAITS = contract.Traits(
  keeps="a matrix and a vector per head, with exponential gates",
  block=contract.TRANSFORMER_BLOCK,
  memory=("C", "n"),
)

# Initial biases of input gates.
_INPUT_BIAS = -10.0


@dataclasses.dataclass(frozen=True)
class Config(_outer.HeadWidths):
  """Options of the layer.

  Attributes:
    d_key: width of a head's queries and keys; half of d_model / heads, rounded
      up, if None.
    d_value: width of a head's values; d_model / heads, rounded up, if None.
    gate_cap: bound on input and forget gates before exp and sigmoid.
    bias: whether the norm and the projections have biases, except for the
      gates', which always have one.
    eps: added to the variance in the layer norm of a head's output.
    divisor_eps: added to the divisor, relative to the largest weight.
  """

  gate_cap: float = 15.0
  bias: bool = False
  eps: float = 1e-6
  divisor_eps: float = 1e-6

  @property
  def key_width(self) -> int:
    """Width of a head's queries and keys."""
    return self.d_key or math.ceil(self.d_model / self.heads / 2)


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters; the gates' as in the original code.

  Returns:
    A dict of float32 arrays, LeCun-normal matrices unless noted:
      W_q, W_k: (d_model, heads * d_key).
      W_v, W_g: (d_model, heads * d_value).
      W_if: (d_model, 2 * heads), zeros, and W_if_bias: -10 for the input gates,
        from 3 to 6 for the forget gates.
      norm_scale: (heads * d_value,), ones.
      W_o: (heads * d_value, d_model).
      W_q_bias, W_k_bias, W_v_bias, W_g_bias, norm_bias, W_o_bias: zeros, if
        bias.
  """
  width, keys = config.d_model, config.heads * config.key_width
  values = config.heads * config.value_width
  draw = contract.Draws(key, "q k v g o")
  params = {
    "W_q": draw("q", width, keys),
    "W_k": draw("k", width, keys),
    "W_v": draw("v", width, values),
    "W_g": draw("g", width, values),
    "W_o": draw("o", values, width),
  }
  if config.bias:
    params |= contract.biases(params, *params)
    params["norm_bias"] = contract.zeros(values)
  params["W_if"] = contract.zeros(width, 2 * config.heads)
  input_bias = jnp.full((config.heads,), _INPUT_BIAS, jnp.float32)
  params["W_if_bias"] = _mlstm.gate_biases(input_bias)
  params["norm_scale"] = contract.ones(values)
  return params


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence, a `recurrence.MLSTMState` of zeros.

  With heads before the other axes.
  """
  batch = *batch_shape, config.heads
  widths = config.key_width, config.value_width
  return recurrence.mlstm_initial(batch, *widths, dtype)


def _run(over, config, params, x, state, reset):
  """Runs over a sequence."""
  q, k, v, z = (contract.project(params, f"W_{name}", x) for name in "qkvg")
  gates = recurrence.dense(x, params["W_if"], params["W_if_bias"], wide=True)
  gates = config.gate_cap * jnp.tanh(gates / config.gate_cap)
  elements = q, k, v, gates, state, reset
  h, state = _mlstm.read(over, *elements, config.divisor_eps)
  h = head_parts.layer_normed(
    h, params["norm_scale"], params.get("norm_bias"), config.eps
  )
  y = contract.pointwise(lambda h, z: h * jax.nn.sigmoid(z), h, z)
  return contract.project(params, "W_o", y), state


apply, step = passes.make(Config, init, initial_state, _run, sections=True)
