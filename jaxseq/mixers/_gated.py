"""Gated recurrent mixers: sizes, parameters, array layouts."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.recurrence import gated

Params = contract.Params

# Declarations that all of them share.
TRAITS = contract.Traits(
  schemes=gated.SCHEMES,
  collectives={"ppermute": None, "psum": 1},
)


def sigmoid(x: jax.Array) -> jax.Array:
  """By tanh: one transcendental that compilers turn into vector code."""
  return 0.5 * jnp.tanh(0.5 * x) + 0.5


def weights(params: Params) -> recurrence.GatedParams:
  """The weights of a recurrence whose biases stand beside the inputs."""
  return recurrence.GatedParams(params["W"], params["b"], params["R"])


def check_config(config: Any):
  """Raises ValueError unless the sizes of a configuration fit together."""
  contract.fields(config, positive=("d_model", "heads"), optional=("d_hidden",))
  width = hidden_width(config)
  if width % config.heads:
    raise contract.error(
      "d_hidden", width, f"a multiple of heads = {config.heads}"
    )


def hidden_width(config: Any) -> int:
  """Returns the width of the hidden state."""
  return config.d_model if config.d_hidden is None else config.d_hidden


def init(
  key: jax.Array,
  config: Any,
  *,
  input_gates: int,
  recurrent_gates: int,
  biases: int,
) -> Params:
  """Draws the parameters; the mixers' own `init` tells their layouts.

  Args:
    key: random key.
    config: configuration with d_model, d_hidden and heads.
    input_gates: number of gates that see the input.
    recurrent_gates: number of gates that see the hidden state.
    biases: number of bias vectors.

  Returns:
    W, R, b, and for a hidden width other than d_model also W_out, b_out.
  """
  key_w, key_r, key_out = jax.random.split(key, 3)
  width, heads = hidden_width(config), config.heads
  lecun = jax.nn.initializers.lecun_normal()
  # One orthogonal matrix per head and gate.
  blocks = jax.random.orthogonal(
    key_r, width // heads, (heads, recurrent_gates), jnp.float32
  )
  params = {
    # Drawn as one matrix: the fan-in of every gate is d_model.
    "W": lecun(
      key_w, (config.d_model, input_gates * width), jnp.float32
    ).reshape(config.d_model, input_gates, width),
    "R": jnp.moveaxis(blocks, 1, 2),
    "b": jnp.zeros((biases, width), jnp.float32),
  }
  if width != config.d_model:
    params["W_out"] = lecun(key_out, (width, config.d_model), jnp.float32)
    params["b_out"] = jnp.zeros((config.d_model,), jnp.float32)
  return params


def initial_state_of(state_type: type) -> Callable[..., Any]:
  """Makes the `initial_state` of a mixer whose state is so many vectors."""

  @contract.initial_state
  def initial_state(config, batch_shape=(), dtype=jnp.float32):
    """Returns the state of a fresh sequence: zeros."""
    shape = (*batch_shape, hidden_width(config))
    return state_type(*(jnp.zeros(shape, dtype) for _ in state_type._fields))

  return _belongs_to(state_type, initial_state)


def bind(
  config_type: type,
  init: Callable[..., Params],
  initial_state: Callable[..., Any],
  cell: recurrence.GatedCell,
  weights: Callable[[Params], recurrence.GatedParams],
) -> tuple[contract.Apply, contract.Step]:
  """Makes the functions `apply` and `step` of a gated network.

  Args:
    config_type: the mixer's Config.
    init: the mixer's function of this name.
    initial_state: the mixer's function of this name.
    cell: the pointwise functions.
    weights: from the mixer's parameters, the weights of the recurrence.

  Returns:
    The two functions.
  """

  @contract.apply(config_type, init, initial_state)
  def apply(
    config, params, x, state=None, reset=None, *, axis=None, scheme="auto"
  ):
    """Runs the network over a sequence.

    Options:
      scheme: how the devices share the work: "batch", "heads", "relay", or
        "auto" for the first of them that fits (`recurrence.gated_scan`).
    """
    contract.choice("scheme", scheme, gated.SCHEMES)
    # Time-major with one batch axis, so that each step is one matrix product.
    *batch, time, width = x.shape
    params, state, before = _prepare(config, params, x, state)
    rows = x.reshape(-1, time, width).swapaxes(0, 1).astype(before[0].dtype)
    reset = None if reset is None else reset.reshape(-1, time).T
    hidden, after = recurrence.gated_scan(
      cell,
      weights(params),
      before,
      rows,
      reset=reset,
      axis=axis,
      scheme=scheme,
    )
    y = recurrence.from_heads(hidden).swapaxes(0, 1)
    return _output(params, y, x), _state(state, after, batch)

  @contract.step(config_type, init, initial_state)
  def step(config, params, x, state, reset=None):
    """Runs the network over one element; `apply` without the time axis."""
    *batch, width = x.shape
    params, state, before = _prepare(config, params, x, state)
    rows = x.reshape(-1, width).astype(before[0].dtype)
    reset = None if reset is None else reset.reshape(-1)
    after = recurrence.gated_step(
      cell, weights(params), before, rows, reset=reset
    )
    y = recurrence.from_heads(after[0])
    return _output(params, y, x), _state(state, after, batch)

  return _belongs_to(config_type, apply), _belongs_to(config_type, step)


def _belongs_to(owner, function):
  """Gives a function the module of the mixer that it was made for."""
  function.__module__ = owner.__module__
  function.__qualname__ = function.__name__
  return function


def _prepare(config, params, x, state):
  """All in one dtype, and the state head by head with one batch axis."""
  dtype = contract.wide_dtype(x, state)
  before = tuple(
    recurrence.to_heads(
      leaf.astype(dtype).reshape(-1, leaf.shape[-1]), config.heads
    )
    for leaf in state
  )
  return contract.cast(params, dtype), state, before


def _output(params, y, x):
  if "W_out" in params:
    y = recurrence.dense(y, params["W_out"]) + params["b_out"]
  return y.reshape(x.shape)


def _state(state, after, batch):
  after = (recurrence.from_heads(leaf) for leaf in after)
  return state._make(leaf.reshape(*batch, -1) for leaf in after)
