"""Minimal gated networks: options, the positive non-linearity, both passes."""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import contract

Params = contract.Params

# Declarations that both share.
TRAITS = contract.Traits(
  block=contract.TRANSFORMER_BLOCK, cases=({"d_hidden": 5},)
)


@dataclasses.dataclass(frozen=True)
class Config(contract.Options):
  """Options that both have.

  Attributes:
    d_model: width of inputs and outputs.
    d_hidden: width of the state; d_model if None. Any other width adds an
      output projection.
  """

  d_model: int
  d_hidden: int | None = None

  def __post_init__(self):
    contract.fields(self, positive=("d_model",), optional=("d_hidden",))

  @property
  def width(self) -> int:
    """Width of the state."""
    return self.d_model if self.d_hidden is None else self.d_hidden


def init(key: jax.Array, config: Config, parts: int) -> Params:
  """Draws W, to `parts` arrays side by side, and W_out where there is one."""
  key_in, key_out = jax.random.split(key)
  lecun = jax.nn.initializers.lecun_normal()
  shape = config.d_model, parts * config.width
  params = {"W": lecun(key_in, shape, jnp.float32)}
  if config.width != config.d_model:
    shape = config.width, config.d_model
    params["W_out"] = lecun(key_out, shape, jnp.float32)
  return params


def positive(x: jax.Array) -> jax.Array:
  """X + 1/2 where x is not negative, and sigmoid(x) elsewhere."""
  return jnp.where(x >= 0, x + 0.5, jax.nn.sigmoid(x))


def run(
  params: Params,
  x: jax.Array,
  h: jax.Array,
  reset: jax.Array | None,
  coefficients: Callable[..., tuple[jax.Array, jax.Array]],
  scan: Callable[..., Any],
) -> tuple[jax.Array, jax.Array]:
  """Runs h_t = a_t h_{t-1} + b_t.

  Args:
    params: from `init`.
    x: inputs.
    h: state before them.
    reset: or None.
    coefficients: from the projection of x, in float32 or wider, to a and b.
    scan: (a, b, h) to the outputs and the state.

  Returns:
    y and the state.
  """
  params = contract.cast(params, contract.wide_dtype(x))
  a, b = coefficients(recurrence.dense(x, params["W"], wide=True))
  y, h = scan(a, b, h, reset=reset)
  y = y.astype(x.dtype)
  if "W_out" in params:
    y = recurrence.dense(y, params["W_out"])
  return y, h


def scan_step(
  a: jax.Array, b: jax.Array, h: jax.Array, *, reset: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
  """One element of `linear_scan`; the state is the output."""
  h = recurrence.linear_step(a, b, h, reset=reset)
  return h, h
