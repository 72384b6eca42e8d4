"""Gated recurrent mixers: sizes, parameters, array layouts."""

from collections.abc import Callable
import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxseq import _validate
from jaxseq import recurrence
from jaxseq.mixers import _check
from jaxseq.recurrence import gated

Params = dict[str, jax.Array]
SCHEMES = gated.SCHEMES


def check_config(config: Any):
  """Raises ValueError unless the sizes of a configuration fit together."""
  _check.check_positive(config, "d_model", "heads")
  if config.d_hidden is not None:
    _check.check_positive(config, "d_hidden")
  width = hidden_width(config)
  if width % config.heads:
    raise ValueError(
      "d_hidden must be a positive multiple of heads; got d_hidden = "
      f"{width}, heads = {config.heads}."
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


def run(
  cell: recurrence.GatedCell,
  config: Any,
  weights: recurrence.GatedParams,
  params: Params,
  x: jax.Array,
  state: Any,
  reset: jax.Array | None,
  initial_state: Callable[..., Any],
  *,
  step: bool,
  axis: str | None = None,
  scheme: str = "auto",
) -> tuple[jax.Array, Any]:
  """Runs a gated network over a sequence, or over one step of it.

  Args:
    cell: the pointwise functions.
    config: configuration with d_model, d_hidden and heads.
    weights: the weights of the recurrence.
    params: the mixer's parameters, for the output projection.
    x: (*batch, time, d_model), or (*batch, d_model) if `step`.
    state: NamedTuple of (*batch, d_hidden) arrays; None for a fresh one.
    reset: x's shape without the features, bool, or None.
    initial_state: the mixer's own function of this name.
    step: whether x is one step.
    axis: name of the mesh axis over which time is split, or None.
    scheme: how, as in `recurrence.gated_scan`.

  Returns:
    Outputs of x's shape and dtype, and the state after the last step.

  Raises:
    ValueError: if a shape or dtype does not fit, or a scheme.
  """
  _validate.choice("scheme", scheme, SCHEMES)
  x = jnp.asarray(x)
  batch = _check.check_inputs(
    config.d_model,
    x,
    state,
    functools.partial(initial_state, config),
    reset,
    step=step,
  )
  if state is None:
    wide = jnp.promote_types(x.dtype, jnp.float32)
    state = initial_state(config, batch, wide)
  lead, heads = x.shape[:-1], config.heads
  dtype = jnp.result_type(x.dtype, jnp.float32, *state)
  weights, params = jax.tree.map(
    lambda leaf: leaf.astype(dtype), (weights, params)
  )
  before = tuple(
    recurrence.to_heads(leaf.astype(dtype).reshape(-1, leaf.shape[-1]), heads)
    for leaf in state
  )
  if step:
    rows = x.reshape(-1, config.d_model).astype(dtype)
    reset = None if reset is None else reset.reshape(-1)
    after = recurrence.gated_step(cell, weights, before, rows, reset=reset)
    y = recurrence.from_heads(after[0])
  else:
    # Time-major with one batch axis, so that each step is one matrix product.
    time = lead[-1]
    rows = x.reshape(-1, time, config.d_model).swapaxes(0, 1).astype(dtype)
    reset = None if reset is None else reset.reshape(-1, time).T
    hidden, after = recurrence.gated_scan(
      cell, weights, before, rows, reset=reset, axis=axis, scheme=scheme
    )
    y = recurrence.from_heads(hidden).swapaxes(0, 1)
  if "W_out" in params:
    y = recurrence.dense(y, params["W_out"]) + params["b_out"]
  y = y.reshape(*lead, config.d_model).astype(x.dtype)
  after = (recurrence.from_heads(leaf) for leaf in after)
  return y, state._make(leaf.reshape(*batch, -1) for leaf in after)
