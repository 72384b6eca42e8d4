"""Discretization of diagonal systems x' = Lambda x + B u.

Each function returns the decay and the factor of B u, so that no discretized
copy of B is needed.
"""

from collections.abc import Callable
import dataclasses
import math

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.mixers import contract

# Below this the quotient of ZOH is replaced by its limit; the error of the
# limit is half of |dt Lambda|, far below float32 rounding.
_SMALL = 1e-12


def zoh(Lambda: jax.Array, dt: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Zero-order hold: the input is constant over a step.

  S4 (arXiv:2111.00396), S5 (arXiv:2208.04933, section 2.3):
  exp(dt Lambda) and (exp(dt Lambda) - 1) / Lambda.

  Args:
    Lambda: eigenvalues, real or complex; zero is allowed.
    dt: positive step sizes, in the time unit of 1 / Lambda; broadcastable.

  Returns:
    The decay and the input factor, of the common shape.
  """
  z = Lambda * dt
  tiny = jnp.abs(z) < _SMALL
  # expm1 keeps the digits that exp(z) - 1 loses for small z. The inner select
  # keeps the gradient of the unselected branch finite.
  quotient = jnp.expm1(z) / jnp.where(tiny, 1, Lambda)
  return jnp.exp(z), jnp.where(tiny, dt, quotient)


def bilinear(Lambda: jax.Array, dt: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Bilinear (Tustin) transform, as S4 uses it (arXiv:2111.00396, eq. 3).

  Args:
    Lambda: eigenvalues, real or complex.
    dt: positive step sizes, in the time unit of 1 / Lambda; broadcastable.

  Returns:
    The decay (1 + dt Lambda / 2) / (1 - dt Lambda / 2) and the input factor
    dt / (1 - dt Lambda / 2), of the common shape.
  """
  half = 0.5 * dt * Lambda
  return (1 + half) / (1 - half), dt / (1 - half)


METHODS: dict[str, Callable] = {"zoh": zoh, "bilinear": bilinear}


def get(name: str) -> Callable:
  """Returns the discretization of that name; ValueError lists the names."""
  return METHODS[validate.choice("discretization", name, METHODS)]


@dataclasses.dataclass(frozen=True)
class StepSizes(contract.Options):
  """Base of a Config with step sizes, whose first ones are drawn.

  Attributes:
    dt_min: smallest initial step size.
    dt_max: largest initial step size; steps are drawn log-uniformly.
  """

  _: dataclasses.KW_ONLY
  dt_min: float = 0.001
  dt_max: float = 0.1

  def __post_init__(self):
    super().__post_init__()
    if self.dt_min > self.dt_max:
      expected = f"0 < dt_min <= dt_max = {self.dt_max}"
      raise validate.error("dt_min", self.dt_min, expected)


@dataclasses.dataclass(frozen=True)
class FlooredSteps(StepSizes):
  """Base of a Config for `step_size_bias`.

  Attributes:
    dt_init_floor: lower bound on initial step sizes.
  """

  _: dataclasses.KW_ONLY
  dt_init_floor: float = 1e-4


def log_step_sizes(
  key: jax.Array, shape: tuple[int, ...], config: StepSizes
) -> jax.Array:
  """Draws logarithms of step sizes, uniform between those of the bounds."""
  low, high = math.log(config.dt_min), math.log(config.dt_max)
  return jax.random.uniform(key, shape, jnp.float32, low, high)


def inverse_softplus(x: jax.Array) -> jax.Array:
  """Returns y with softplus(y) = x > 0, also where exp(x) would round to 1."""
  return x + jnp.log(-jnp.expm1(-x))


def step_size_bias(
  key: jax.Array, count: int, config: FlooredSteps
) -> jax.Array:
  """Draws biases (count,), by softplus step sizes of at least the floor."""
  dt = jnp.exp(log_step_sizes(key, (count,), config))
  return inverse_softplus(jnp.maximum(dt, config.dt_init_floor))
