"""Long short-term memory, block-diagonal over heads in its recurrence.

  i_t, f_t, o_t = sigmoid(W x_t + R h_{t-1} + b), each with its own W, R, b
  z_t = tanh(W_z x_t + R_z h_{t-1} + b_z)
  c_t = f_t * c_{t-1} + i_t * z_t
  h_t = o_t * tanh(c_t)

Sources: Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al.
2000; head-wise R: FlashRNN, arXiv 2412.07752.

The parameters of `flax.linen.OptimizedLSTMCell` go over, for one head, as: W =
(ii, if, ig, io) and R = (hi, hf, hg, ho) kernels stacked along the gate axis,
b = the biases of (hi, hf, hg, ho).
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import _check
from jaxseq.mixers import _gated

Params = dict[str, jax.Array]
# Ways of splitting time over devices, see `apply`.
SCHEMES = _gated.SCHEMES


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of the LSTM.

  Attributes:
    d_model: width of inputs and outputs.
    d_hidden: width of the hidden state; d_model if None. Any other width adds
      an output projection.
    heads: number of diagonal blocks of the recurrent matrices.
    forget_bias: initial value of the forget gate's bias; 1 keeps the memory at
      first (Jozefowicz et al. 2015).
  """

  d_model: int
  d_hidden: int | None = None
  heads: int = 1
  forget_bias: float = 1.0

  def __post_init__(self):
    _gated.check_config(self)


class State(NamedTuple):
  """State of the LSTM: output h and cell c, (*batch, d_hidden), by heads."""

  h: jax.Array
  c: jax.Array


def _sigmoid(x):
  # Through tanh: one transcendental that compilers turn into vector code.
  return 0.5 * jnp.tanh(0.5 * x) + 0.5


def _forward(inputs, recurrent, state):
  _, c = state
  i, f, z, o = (a + b for a, b in zip(inputs, recurrent))
  i, f, o = _sigmoid(i), _sigmoid(f), _sigmoid(o)
  z = jnp.tanh(z)
  c = f * c + i * z
  tanh_c = jnp.tanh(c)
  return (o * tanh_c, c), (i, f, z, o, tanh_c)


def _backward(saved, state, cotangent):
  i, f, z, o, tanh_c = saved
  _, c = state
  d_h, d_c = cotangent
  d_c = d_c + d_h * o * (1 - tanh_c * tanh_c)
  d_gates = (
    d_c * z * i * (1 - i),
    d_c * c * f * (1 - f),
    d_c * i * (1 - z * z),
    d_h * tanh_c * o * (1 - o),
  )
  # h enters only through the recurrent product.
  return d_gates, d_gates, (jnp.zeros_like(d_h), d_c * f)


_CELL = recurrence.GatedCell(_forward, _backward)


def init(key: jax.Array, config: Config) -> Params:
  """Draws the parameters: LeCun-normal inputs, orthogonal blocks.

  Args:
    key: random key.
    config: options.

  Returns:
    A dict of float32 arrays, gates in the order i, f, z, o, D = d_hidden /
    heads:
      W: (d_model, 4, d_hidden), input kernels.
      R: (heads, D, 4, D), [head, in, gate, out], recurrent kernels.
      b: (4, d_hidden), biases; zeros but for f's.
      W_out, b_out: (d_hidden, d_model) and (d_model,), only where d_hidden is
        not d_model.
  """
  params = _gated.init(key, config, input_gates=4, recurrent_gates=4, biases=4)
  params["b"] = params["b"].at[1].set(config.forget_bias)
  return params


def initial_state(
  config: Config, batch_shape: tuple[int, ...] = (), dtype=jnp.float32
) -> State:
  """Returns the state of a fresh sequence: zeros.

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
  shape = (*batch_shape, _gated.hidden_width(config))
  return State(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))


def _run(config, params, x, state, reset, **options):
  _check.check_params(Config, init, config, params)
  weights = recurrence.GatedParams(params["W"], params["b"], params["R"])
  return _gated.run(
    _CELL, config, weights, params, x, state, reset, initial_state, **options
  )


def apply(
  config: Config,
  params: Params,
  x: jax.Array,
  state: State | None = None,
  reset: jax.Array | None = None,
  *,
  axis: str | None = None,
  scheme: str = "auto",
) -> tuple[jax.Array, State]:
  """Runs the LSTM over a sequence.

  Args:
    config: options.
    params: parameters, as from `init`.
    x: (*batch, time, d_model), floating.
    state: state before the first element; a fresh one if None.
    reset: (*batch, time) bool; True puts the state back to a fresh one before
      that element is consumed.
    axis: name of the mesh axis over which time is split, inside
      `jax.shard_map`: x and reset are this device's chunk, the states those
      before and after the whole sequence, the same on every device.
    scheme: how the devices share the work: "batch", "heads", "relay", or "auto"
      for the first of them that fits (`recurrence.gated_scan`).

  Returns:
    y of x's shape and dtype, and the state after the last element, float32 or
    wider.

  Raises:
    ValueError: if a shape or dtype does not fit, or the scheme.
  """
  return _run(
    config, params, x, state, reset, step=False, axis=axis, scheme=scheme
  )


def step(
  config: Config,
  params: Params,
  x: jax.Array,
  state: State,
  reset: jax.Array | None = None,
) -> tuple[jax.Array, State]:
  """Runs the LSTM over one element; `apply` without the time axis.

  Args:
    config: options.
    params: parameters, as from `init`.
    x: (*batch, d_model), floating.
    state: state before the element.
    reset: (*batch,) bool.

  Returns:
    y of x's shape and dtype, and the state after the element.

  Raises:
    ValueError: if a shape or dtype does not fit.
  """
  return _run(config, params, x, state, reset, step=True)
