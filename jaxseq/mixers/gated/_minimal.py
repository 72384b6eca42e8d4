"""Minimal gated networks: options, the positive non-linearity, both passes."""

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import passes
from jaxseq.types import PyTree

# Declarations that both mixers share.
TRAITS = contract.Traits(block=contract.TRANSFORMER_BLOCK, traced={"W": (1,)})


@dataclasses.dataclass(frozen=True)
class Config(contract.Hidden):
  """Options of both mixers.

  Attributes:
    d_hidden: width of the state; d_model if None. Any other width adds an
      output projection.
  """


def init(key: jax.Array, config: Config, parts: int) -> contract.Params:
  """Draws W, to `parts` concatenated arrays, and W_out if it is needed."""
  draw = contract.Draws(key, "in out")
  params = {"W": draw("in", config.d_model, parts * config.width)}
  if config.width != config.d_model:
    params["W_out"] = draw("out", config.width, config.d_model)
  return params


def positive(x: jax.Array) -> jax.Array:
  """Returns x + 1/2 if x is not negative, else sigmoid(x)."""
  return jnp.where(x >= 0, x + 0.5, jax.nn.sigmoid(x))


def bind(
  config_type: type,
  state_type: type,
  init: Callable[..., contract.Params],
  coefficients: Callable[[jax.Array], tuple[jax.Array, jax.Array]],
) -> tuple[Callable[..., PyTree], contract.Apply, contract.Step]:
  """Functions `initial_state`, `apply`, `step` of h_t = a_t h_{t-1} + b_t."""
  # `coefficients` maps the projection of x, in float32 or wider, to a and b.

  @contract.initial_state
  def initial_state(config, batch_shape=(), dtype=jnp.float32):
    """Returns the state of a fresh sequence: zeros."""
    return state_type(jnp.zeros((*batch_shape, config.width), dtype))

  def run(over, config, params, x, state, reset):
    """Runs over a sequence."""
    del config
    a, b = coefficients(recurrence.dense(x, params["W"], wide=True))
    h, last = over(recurrence.linear_scan, a, b, state.h, reset=reset)
    return _output(params, h, x), state_type(last)

  contract.of_module(config_type, initial_state=initial_state)
  apply, step = passes.make(config_type, init, initial_state, run)
  return initial_state, apply, step


def _output(params, h, x):
  """Casts the state to the dtype of x, and projects it if its width differs."""
  y = h.astype(x.dtype)
  return recurrence.dense(y, params["W_out"]) if "W_out" in params else y
