"""Minimal gated networks: options, the positive non-linearity, both passes."""

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq._types import PyTree
from jaxseq.mixers import contract

Params = contract.Params

# Declarations that both share.
TRAITS = contract.Traits(block=contract.TRANSFORMER_BLOCK)


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
  """Sum x + 1/2 where x is not negative, and sigmoid(x) elsewhere."""
  return jnp.where(x >= 0, x + 0.5, jax.nn.sigmoid(x))


def bind(
  config_type: type,
  state_type: type,
  init: Callable[..., Params],
  coefficients: Callable[[jax.Array], tuple[jax.Array, jax.Array]],
) -> tuple[Callable[..., PyTree], contract.Apply, contract.Step]:
  """Functions `initial_state`, `apply`, `step` of h_t = a_t h_{t-1} + b_t."""
  # `coefficients` goes from the projection of x, in float32 or wider, to a and
  # b.

  @contract.initial_state
  def initial_state(config, batch_shape=(), dtype=jnp.float32):
    """Returns the state of a fresh sequence: zeros."""
    return state_type(jnp.zeros((*batch_shape, config.width), dtype))

  @contract.apply(config_type, init, initial_state)
  def apply(config, params, x, state=None, reset=None, *, axis=None):
    """Runs over a sequence."""
    del config
    params, a, b = project(params, x)
    h, last = recurrence.linear_scan(a, b, state.h, reset=reset, axis=axis)
    return _output(params, h, x), state_type(last)

  @contract.step(config_type, init, initial_state)
  def step(config, params, x, state, reset=None):
    """Consumes one element; `apply` without the time axis."""
    del config
    params, a, b = project(params, x)
    h = recurrence.linear_step(a, b, state.h, reset=reset)
    return _output(params, h, x), state_type(h)

  def project(params, x):
    params = contract.cast(params, contract.wide_dtype(x))
    a, b = coefficients(recurrence.dense(x, params["W"], wide=True))
    return params, a, b

  return contract.of_module(config_type, initial_state, apply, step)


def _output(params, h, x):
  """The state in the dtype of x, projected where it has another width."""
  y = h.astype(x.dtype)
  return recurrence.dense(y, params["W_out"]) if "W_out" in params else y
