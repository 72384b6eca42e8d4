"""Gated recurrent unit, with a recurrence that is block-diagonal over heads.

  r_t = sigmoid(W_r x_t + R_r h_{t-1} + b_r)
  z_t = sigmoid(W_z x_t + R_z h_{t-1} + b_z)
  n_t = tanh(W_n x_t + b_n + r_t * (R_g h_{t-1} + b_g))
  h_t = z_t * h_{t-1} + (1 - z_t) * n_t

Sources: Cho et al., arXiv 1406.1078; the variant with the reset gate behind the
recurrent product and head-wise R: FlashRNN, arXiv 2412.07752.

The parameters of `flax.linen.GRUCell` with one head go over as: W = (ir, iz,
in), R = (hn, hr, hz) kernels stacked along the gate axis; b = (hn, ir, iz, in)
biases.
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
  """Options of the GRU.

  Attributes:
    d_model: width of inputs and outputs.
    d_hidden: width of the hidden state; d_model if None. Any other width adds
      an output projection.
    heads: number of diagonal blocks of the recurrent matrices.
  """

  d_model: int
  d_hidden: int | None = None
  heads: int = 1

  def __post_init__(self):
    _gated.check_config(self)


class State(NamedTuple):
  """State of the GRU: h, (*batch, d_hidden), head by head."""

  h: jax.Array


def _sigmoid(x):
  # Through tanh: one transcendental that compilers turn into vector code.
  return 0.5 * jnp.tanh(0.5 * x) + 0.5


def _forward(inputs, recurrent, state):
  (h,) = state
  in_r, in_z, in_n = inputs
  g, rec_r, rec_z = recurrent
  r = _sigmoid(in_r + rec_r)
  z = _sigmoid(in_z + rec_z)
  n = jnp.tanh(in_n + r * g)
  return (z * h + (1 - z) * n,), (r, z, n, g)


def _backward(saved, state, cotangent):
  r, z, n, g = saved
  (h,) = state
  (d_h,) = cotangent
  d_n = d_h * (1 - z) * (1 - n * n)
  d_z = d_h * (h - n) * z * (1 - z)
  d_r = d_n * g * r * (1 - r)
  return (d_r, d_z, d_n), (d_n * r, d_r, d_z), (d_h * z,)


_CELL = recurrence.GatedCell(_forward, _backward)


def init(key: jax.Array, config: Config) -> Params:
  """Draws the parameters: LeCun-normal inputs, orthogonal blocks, zero biases.

  Args:
    key: random key.
    config: options.

  Returns:
    A dict of float32 arrays, with D = d_hidden / heads:
      W: (d_model, 3, d_hidden), input kernels of the gates r, z, n.
      R: (heads, D, 3, D), [head, in, gate, out], recurrent kernels of g, r, z.
      b: (4, d_hidden), biases of g, r, z, n.
      W_out, b_out: (d_hidden, d_model) and (d_model,), only where d_hidden is
        not d_model.
  """
  return _gated.init(key, config, input_gates=3, recurrent_gates=3, biases=4)


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
  return State(jnp.zeros((*batch_shape, _gated.hidden_width(config)), dtype))


def _run(config, params, x, state, reset, **options):
  _check.check_params(Config, init, config, params)
  # The biases of r and z may stand on either side; n's stand on both.
  bias = params["b"]
  weights = recurrence.GatedParams(
    params["W"],
    bias[1:],
    params["R"],
    jnp.concatenate([bias[:1], jnp.zeros_like(bias[:2])]),
  )
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
  """Runs the GRU over a sequence.

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
  """Runs the GRU over one element; `apply` without the time axis.

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
