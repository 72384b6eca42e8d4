"""Elman network, with a recurrence that is block-diagonal over heads.

  h_t = tanh(W x_t + R h_{t-1} + b)

Sources: Elman, "Finding structure in time", 1990; head-wise R: FlashRNN, arXiv
2412.07752.
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
  """Options of the Elman network.

  Attributes:
    d_model: width of inputs and outputs.
    d_hidden: width of the hidden state; d_model if None. Any other width adds
      an output projection.
    heads: number of diagonal blocks of the recurrent matrix.
  """

  d_model: int
  d_hidden: int | None = None
  heads: int = 1

  def __post_init__(self):
    _gated.check_config(self)


class State(NamedTuple):
  """State of the network: h, (*batch, d_hidden), head by head."""

  h: jax.Array


def _forward(inputs, recurrent, state):
  del state
  h = jnp.tanh(inputs[0] + recurrent[0])
  return (h,), (h,)


def _backward(saved, state, cotangent):
  del state
  (h,) = saved
  d_gate = cotangent[0] * (1 - h * h)
  # h enters only through the recurrent product.
  return (d_gate,), (d_gate,), (jnp.zeros_like(d_gate),)


_CELL = recurrence.GatedCell(_forward, _backward)


def init(key: jax.Array, config: Config) -> Params:
  """Draws the parameters: LeCun-normal inputs, orthogonal blocks, zero bias.

  Args:
    key: random key.
    config: options.

  Returns:
    A dict of float32 arrays, with D = d_hidden / heads:
      W: (d_model, 1, d_hidden), input kernel.
      R: (heads, D, 1, D), [head, in, 1, out], recurrent kernel.
      b: (1, d_hidden), bias.
      W_out, b_out: (d_hidden, d_model) and (d_model,), only where d_hidden is
        not d_model.
  """
  return _gated.init(key, config, input_gates=1, recurrent_gates=1, biases=1)


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
  """Runs the network over a sequence.

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
  """Runs the network over one element; `apply` without the time axis.

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
