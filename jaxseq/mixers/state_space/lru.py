"""LRU: a diagonal complex system, trained directly, without discretization.

  lambda = exp(-exp(nu_log) + i exp(theta_log))
  h_t = lambda h_{t-1} + exp(gamma_log) (B x_t)
  y_t = Re(C h_t) + D x_t

Orvieto et al., "Resurrecting recurrent neural networks for long sequences",
arXiv:2303.06349, section 3, in the form of NicolasZucchet/minimal-LRU: initial
eigenvalues on a ring, inputs scaled so that all states have the same magnitude,
and no conjugate pairs.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq import recurrence
from jaxseq.mixers import contract

TRAITS = contract.Traits(
  keeps="one diagonal complex system for all channels",
  ssm_parameters=("nu_log", "theta_log", "gamma_log", "B_re", "B_im"),
  memory=("h",),
  traced=dict.fromkeys(
    ("nu_log", "theta_log", "gamma_log", "B_re", "B_im"), (0,)
  ),
)


@dataclasses.dataclass(frozen=True)
class Config(contract.Options):
  """Options of the LRU.

  Attributes:
    d_state: number of complex states; d_model if None.
    r_min: smallest absolute value of the initial eigenvalues.
    r_max: largest one, at most 1. For long memories both are near 1.
    max_phase: largest phase of the initial eigenvalues, in radians.
  """

  d_state: int | None = None
  r_min: contract.Number = 0.0
  r_max: contract.Number = 1.0
  max_phase: float = 2 * math.pi

  def __post_init__(self):
    super().__post_init__()
    if not 0 <= self.r_min < self.r_max <= 1:
      expected = f"0 <= r_min < r_max = {self.r_max} <= 1"
      raise contract.error("r_min", self.r_min, expected)

  @property
  def states(self) -> int:
    """Number of complex states."""
    return self.d_state or self.d_model


@_serialization.exported("jaxseq.mixers.lru.State")
class State(NamedTuple):
  """State of the LRU: h, (*batch, d_state), complex."""

  h: jax.Array


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters: eigenvalues uniform on a ring, normal matrices.

  Returns:
    A dict of float32 arrays:
      nu_log, theta_log: (d_state,), absolute value and phase of eigenvalues.
      gamma_log: (d_state,), logarithm of sqrt(1 - |lambda|^2).
      B_re, B_im: (d_state, d_model).
      C_re, C_im: (d_model, d_state).
      D: (d_model,).
  """
  names = "nu", "theta", "B_re", "B_im", "C_re", "C_im", "D"
  keys = dict(zip(names, jax.random.split(key, len(names))))
  width, states = config.d_model, config.states
  low, high = config.r_min**2, config.r_max**2
  # Away from 0 and 1, whose logarithms are infinite.
  square = low + (high - low) * _uniform(keys["nu"], (states,))
  nu = -0.5 * jnp.log(square)
  theta = config.max_phase * _uniform(keys["theta"], (states,))

  def normal(name, shape, scale):
    return jax.random.normal(keys[name], shape, jnp.float32) * scale

  into, out = 1 / math.sqrt(2 * width), 1 / math.sqrt(states)
  return {
    "nu_log": jnp.log(nu),
    "theta_log": jnp.log(theta),
    "gamma_log": 0.5 * jnp.log(-jnp.expm1(-2 * nu)),
    "B_re": normal("B_re", (states, width), into),
    "B_im": normal("B_im", (states, width), into),
    "C_re": normal("C_re", (width, states), out),
    "C_im": normal("C_im", (width, states), out),
    "D": normal("D", (width,), 1.0),
  }


def _uniform(key, shape):
  return jax.random.uniform(key, shape, jnp.float32, 1e-4, 1 - 1e-4)


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: zeros."""
  dtype = jnp.result_type(dtype, jnp.complex64)
  return State(jnp.zeros((*batch_shape, config.states), dtype))


@contract.apply(Config, init, initial_state)
def apply(config, params, x, state=None, reset=None, *, axis=None):
  """Runs over a sequence."""
  del config
  Lambda, B, C, D = _matrices(params, contract.wide_dtype(x))
  y, h = recurrence.lti_scan(
    Lambda,
    jax.lax.complex(*B),
    jax.lax.complex(*C),
    x,
    state.h,
    D=D,
    reset=reset,
    axis=axis,
  )
  return y, State(h)


@contract.step(Config, init, initial_state)
def step(config, params, x, state, reset=None):
  """Consumes one element; `apply` without the time axis."""
  del config
  Lambda, B, C, D = _matrices(params, contract.wide_dtype(x))
  # Real products, with matrices that the barrier keeps unchanged: complex or
  # transposed ones of a single row are several times slower on CPUs. A loop
  # over steps computes the matrices once.
  enter, read = jax.lax.optimization_barrier(
    (jnp.concatenate(B).T, jnp.concatenate(C, axis=1).T)
  )
  re, im = jnp.split(recurrence.dense(x, enter, wide=True), 2, axis=-1)
  h = recurrence.linear_step(
    Lambda, jax.lax.complex(re, im), state.h, reset=reset
  )
  parts = jnp.concatenate([jnp.real(h), -jnp.imag(h)], axis=-1)
  y = recurrence.dense(parts.astype(x.dtype), read, wide=True)
  return (y + D * x.astype(D.dtype)).astype(x.dtype), State(h)


def _matrices(params, dtype):
  """Returns Lambda, the parts of gamma B and of C, and D, in a real dtype."""
  params = contract.cast(params, dtype)
  nu, theta = jnp.exp(params["nu_log"]), jnp.exp(params["theta_log"])
  gamma = jnp.exp(params["gamma_log"])[:, None]
  return (
    jnp.exp(jax.lax.complex(-nu, theta)),
    (gamma * params["B_re"], gamma * params["B_im"]),
    (jnp.asarray(params["C_re"]), jnp.asarray(params["C_im"])),
    params["D"],
  )
