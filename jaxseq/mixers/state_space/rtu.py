"""RTU, recurrent trace units: rotations that are learned as r and theta.

  a_t = r e^{i theta} h_{t-1} + sqrt(1 - r^2) (W_1 x_t + i W_2 x_t)

of complex numbers h, r = exp(-exp(nu_log)), theta = exp(theta_log). Linear
units keep h = a and put out f of its real and imaginary parts; others keep
h = f(real part) + i f(imaginary part), and put that out. Elelimy et al.,
"Real-time recurrent learning using trace units in reinforcement learning",
arXiv:2409.01449.

Derivatives of the state by parameters are as many as the parameters, so that
exact online gradients cost little: `jaxseq.mixers.rtrl`.
"""

import dataclasses
import functools
import math
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import passes

TRAITS = contract.Traits(
  keeps="rotating complex numbers, linear or not",
  ssm_parameters=("nu_log", "theta_log"),
  memory=("h",),
  traced={"nu_log": (0,), "theta_log": (0,), "W_1": (1,), "W_2": (1,)},
)

_ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh}


def _cell(activation, slope):
  """Pointwise part of a gated network; slope is that of f, of its value."""

  def forward(inputs, recurrent, state):
    del state
    h = _ACTIVATIONS[activation](inputs[0] + recurrent[0])
    return (h,), (h,)

  def backward(saved, state, cotangent):
    del state
    (h,) = saved
    d_gate = cotangent[0] * slope(h)
    # h enters only through the recurrent product.
    return (d_gate,), (d_gate,), (jnp.zeros_like(d_gate),)

  return recurrence.GatedCell(forward, backward)


_CELLS = {
  "relu": _cell("relu", lambda h: (h > 0).astype(h.dtype)),
  "tanh": _cell("tanh", lambda h: 1 - h * h),
}
# Added to the scale of inputs, as in the authors' code.
_EPS = 1e-8


@dataclasses.dataclass(frozen=True)
class Config(contract.Options):
  """Options of the RTU.

  Attributes:
    units: complex numbers of the state; half of d_model, rounded up, if None.
      If their parts are not d_model numbers, an output projection follows.
    linear: whether the activation applies only to outputs, and the recurrence
      is linear. If not, elements are processed one after the other.
    activation: f.
    r_min: smallest absolute value of the initial eigenvalues.
    r_max: largest one, at most 1.
    max_phase: largest initial phase, in radians.
  """

  units: int | None = None
  linear: bool = True
  activation: Literal["relu", "tanh"] = "relu"
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
    """Number of complex numbers of the state."""
    return self.units or -(-self.d_model // 2)


@_serialization.exported("jaxseq.mixers.rtu.State")
class State(NamedTuple):
  """State of the RTU: h, (*batch, units), complex."""

  h: jax.Array


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters: eigenvalues uniform on a ring, LeCun-normal matrices.

  Returns:
    A dict of float32 arrays:
      nu_log, theta_log: (units,), absolute value and phase of eigenvalues.
      W_1, W_2: (d_model, units), to real and imaginary parts.
      W_out: (2 units, d_model), if these numbers differ.
  """
  draw = contract.Draws(key, "nu theta W_1 W_2 W_out")
  width, states = config.d_model, config.states

  def uniform(name):
    # Away from 0 and 1, whose logarithms are infinite.
    ends = 1e-4, 1 - 1e-4
    return jax.random.uniform(draw.keys[name], (states,), jnp.float32, *ends)

  low, high = config.r_min**2, config.r_max**2
  square = low + (high - low) * uniform("nu")
  params = {
    "nu_log": jnp.log(-0.5 * jnp.log(square)),
    "theta_log": jnp.log(config.max_phase * uniform("theta")),
    "W_1": draw("W_1", width, states),
    "W_2": draw("W_2", width, states),
  }
  if 2 * states != width:
    params["W_out"] = draw("W_out", 2 * states, width)
  return params


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: zeros."""
  dtype = jnp.result_type(dtype, jnp.complex64)
  return State(jnp.zeros((*batch_shape, config.states), dtype))


def _run(over, config, params, x, state, reset):
  """Runs over a sequence."""
  nu = jnp.exp(params["nu_log"])
  log = jax.lax.complex(-nu, jnp.exp(params["theta_log"]))
  scale = jnp.sqrt(-jnp.expm1(-2 * nu)) + _EPS
  activation = _ACTIVATIONS[config.activation]
  W = jnp.concatenate([params["W_1"], params["W_2"]], axis=-1)
  entered = recurrence.dense(x, W, wide=True) * jnp.tile(scale, 2)
  arguments = jnp.exp(log), jax.lax.complex(*jnp.split(entered, 2, axis=-1))
  if config.linear:
    h, last = over(recurrence.linear_scan, *arguments, state.h, reset=reset)
  else:
    scan = functools.partial(_scan, config.activation)
    step = functools.partial(_step, config.activation)
    h, last = over(scan, *arguments, state.h, reset=reset, step=step)
  y = jnp.concatenate([jnp.real(h), jnp.imag(h)], axis=-1)
  y = (activation(y) if config.linear else y).astype(x.dtype)
  if "W_out" in params:
    y = recurrence.dense(y, params["W_out"])
  return y, State(last)


def _step(activation, a, b, h, *, reset=None):
  """Runs over one element: b and h are complex, (*batch, units)."""
  if reset is not None:
    h = jnp.where(reset[..., None], 0, h)
  z, f = a * h + b, _ACTIVATIONS[activation]
  h = jax.lax.complex(f(jnp.real(z)), f(jnp.imag(z)))
  return h, h


def _scan(activation, a, b, h, *, reset=None, axis=None):
  """Runs `_step` over time as a gated network with blocks of 2."""
  *batch, time, units = b.shape
  rows = _pairs(b.reshape(-1, time, units).swapaxes(0, 1))
  rows = rows.reshape(*rows.shape[:-2], 2 * units)
  reset = None if reset is None else reset.reshape(-1, time).T
  # Maps [real, imaginary] of h to those of a h.
  turn = jnp.stack([_pairs(a), _pairs(1j * a)], axis=1)[:, :, None]
  bias = jnp.zeros((1, 2 * units), rows.dtype)
  weights = recurrence.GatedParams(None, bias, turn)
  before = jnp.moveaxis(_pairs(h.reshape(-1, units)), -2, 0)
  hidden, (last,) = recurrence.gated_scan(
    _CELLS[activation], weights, (before,), rows, reset=reset, axis=axis
  )
  hidden, last = jnp.moveaxis(hidden, 1, 2), jnp.moveaxis(last, 0, 1)
  hidden = jax.lax.complex(hidden[..., 0], hidden[..., 1]).swapaxes(0, 1)
  last = jax.lax.complex(last[..., 0], last[..., 1])
  return hidden.reshape(b.shape), last.reshape(h.shape)


def _pairs(x):
  """Splits complex numbers (...) into (..., 2), real and imaginary parts."""
  return jnp.stack([jnp.real(x), jnp.imag(x)], axis=-1)


apply, step = passes.make(Config, init, initial_state, _run)
