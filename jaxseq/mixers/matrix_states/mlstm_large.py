"""mLSTM layer of xLSTM-7B: few queries and keys, capped gates, no convolution.

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
from jaxseq.mixers.matrix_states import _mlstm

Params = contract.Params

TRAITS = contract.Traits(
  keeps="a matrix and a vector per head, with exponential gates",
  block=contract.TRANSFORMER_BLOCK,
)

# Of input gates at the beginning.
_INPUT_BIAS = -10.0


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of the layer.

  Attributes:
    d_model: width of inputs and outputs.
    heads: number of heads.
    d_key: width of a head's queries and keys; half of d_model / heads, rounded
      up, if None.
    d_value: width of a head's values; d_model / heads, rounded up, if None.
    gate_cap: bound on input and forget gates before exp and sigmoid.
    bias: whether the projections of all but the gates, which have one always,
      and the norm have biases.
    eps: added to the variance in the layer norm of a head's output.
    divisor_eps: added to the divisor, relative to the largest weight.
  """

  d_model: int
  heads: int = 4
  d_key: int | None = None
  d_value: int | None = None
  gate_cap: float = 15.0
  bias: bool = False
  eps: float = 1e-6
  divisor_eps: float = 1e-6

  def __post_init__(self):
    contract.literals(self)
    contract.fields(
      self,
      positive=("d_model", "heads"),
      optional=("d_key", "d_value"),
      above_zero=("gate_cap", "eps", "divisor_eps"),
    )

  @property
  def key_width(self) -> int:
    """Width of a head's queries and keys."""
    if self.d_key is not None:
      return self.d_key
    return math.ceil(self.d_model / self.heads / 2)

  @property
  def value_width(self) -> int:
    """Width of a head's values."""
    if self.d_value is not None:
      return self.d_value
    return math.ceil(self.d_model / self.heads)


@contract.init
def init(key: jax.Array, config: Config) -> Params:
  """Draws the parameters, the gates' as the original code does.

  Returns:
    A dict of float32 arrays, LeCun-normal matrices where nothing is said:
      W_q, W_k: (d_model, heads * d_key).
      W_v, W_g: (d_model, heads * d_value).
      W_if: (d_model, 2 * heads), zeros, and W_if_bias: -10 for the input gates,
        from 3 to 6 for the forget gates.
      norm_scale: (heads * d_value,), ones.
      W_o: (heads * d_value, d_model).
      W_q_bias, W_k_bias, W_v_bias, W_g_bias, norm_bias, W_o_bias: zeros, if
        bias.
  """
  lecun = jax.nn.initializers.lecun_normal()
  width, keys = config.d_model, config.heads * config.key_width
  values = config.heads * config.value_width
  shapes = {
    "W_q": (width, keys),
    "W_k": (width, keys),
    "W_v": (width, values),
    "W_g": (width, values),
    "W_o": (values, width),
  }
  drawn = zip(jax.random.split(key, len(shapes)), shapes.items())
  params = {name: lecun(k, shape, jnp.float32) for k, (name, shape) in drawn}
  params["W_if"] = jnp.zeros((width, 2 * config.heads), jnp.float32)
  input_bias = jnp.full((config.heads,), _INPUT_BIAS, jnp.float32)
  params["W_if_bias"] = _mlstm.gate_biases(input_bias)
  params["norm_scale"] = jnp.ones((values,), jnp.float32)
  if config.bias:
    for name, (_, size) in shapes.items():
      params[f"{name}_bias"] = jnp.zeros((size,), jnp.float32)
    params["norm_bias"] = jnp.zeros((values,), jnp.float32)
  return params


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence, a `recurrence.MLSTMState` of zeros.

  With heads before the other axes.
  """
  batch = *batch_shape, config.heads
  widths = config.key_width, config.value_width
  return recurrence.mlstm_initial(batch, *widths, dtype)


@contract.apply(Config, init, initial_state, sections=True)
def apply(config, params, x, state=None, reset=None, *, axis=None):
  """Runs over a sequence."""
  scan = _mlstm.apply_scan(axis, config.divisor_eps)
  return _run(config, params, x, state, reset, scan)


@contract.step(Config, init, initial_state)
def step(config, params, x, state, reset=None):
  """Consumes one element; `apply` without the time axis."""
  scan = _mlstm.step_scan(config.divisor_eps)
  return _run(config, params, x, state, reset, scan)


def _run(config, params, x, state, reset, scan):
  params = contract.cast(params, contract.wide_dtype(x))
  q, k, v, z = (contract.project(params, f"W_{name}", x) for name in "qkvg")
  gates = recurrence.dense(x, params["W_if"], params["W_if_bias"], wide=True)
  gates = config.gate_cap * jnp.tanh(gates / config.gate_cap)
  h, state = _mlstm.read(scan, q, k, v, gates, state, reset)
  h = head_parts.layer_normed(
    h, params["norm_scale"], params.get("norm_bias"), config.eps
  )
  y = contract.pointwise(lambda h, z: h * jax.nn.sigmoid(z), h, z)
  return contract.project(params, "W_o", y), state
