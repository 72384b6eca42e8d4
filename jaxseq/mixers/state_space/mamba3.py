"""Mamba-3 (SISO): trapezoidal steps, and rotated queries and keys.

    z, x, B, C, dt, a, trap, angle = split(in_proj u)
    dt = softplus(dt + dt_bias),  A = -max(h(a), A_floor)        per head
    k, q = norm(B) + B_bias, norm(C) + C_bias, turned by theta_t
    theta_t = theta_{t-1} + pi tanh(angle_t) dt_t
    S_t = e^{dt A} (S_{t-1} + (1 - tau) dt k_{t-1} x_{t-1}^T) + tau dt k_t x_t^T
    y_t = q_t S_t + D x_t                              tau = sigmoid(trap)
    out_proj (y * silu(z))

with h(a) = 1 + a for positive a, else 1 / (1 - a). The pairs of channels that
theta rotates are complex states, and the trapezoidal rule includes the previous
element in the sum. There is no convolution. Based on the code of its authors,
state-spaces/mamba (mamba_ssm/modules/mamba3.py), without its variant of several
inputs and outputs (MIMO).
"""

import dataclasses
import math
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import passes
from jaxseq.mixers import positions
from jaxseq.mixers.state_space import _mamba
from jaxseq.mixers.state_space import discretize

TRAITS = contract.Traits(
  keeps="a matrix per head, with a decay that depends on the input; angles; "
  "the last key and input",
  # Parameters without weight decay in the authors' code.
  ssm_parameters=("D", "dt_bias"),
  block={"activation": "none"},
  memory=("S",),
)


@dataclasses.dataclass(frozen=True)
class Config(_mamba.Heads):
  """Options of Mamba-3; the defaults are those of the authors' code.

  Attributes:
    d_state: states per channel, N, the width of queries and keys.
    rotary_fraction: part of the states that is rotated, 0.5 or 1.
    A_floor: lower bound of -A.
    norm: whether y is normalized in each head, before the gate.
    norm_eps: added to the mean square in the norms, those of B and C too.
  """

  rotary_fraction: float = 0.5
  A_floor: float = 1e-4
  norm: bool = False
  norm_eps: float = 1e-5

  def __post_init__(self):
    super().__post_init__()
    contract.choice("rotary_fraction", self.rotary_fraction, (0.5, 1.0))
    if not self.angles:
      expected = f"at least {round(2 / self.rotary_fraction)}"
      raise contract.error("d_state", self.d_state, expected)

  @property
  def angles(self) -> int:
    """Number of angles, one for each pair of rotated states."""
    return int(self.d_state * self.rotary_fraction) // 2

  @property
  def parts(self) -> tuple[int, ...]:
    """Widths of z, x, B, C, dt, a, trap and angle."""
    inner, states = self.d_inner, self.ngroups * self.d_state
    heads = (self.heads,) * 3
    return inner, inner, states, states, *heads, self.angles


@_serialization.exported("jaxseq.mixers.mamba3.State")
class State(NamedTuple):
  """State of Mamba-3.

  Attributes:
    angle: (*batch, heads, angles), theta, from 0 to below 2 pi.
    S: (*batch, heads, d_state, headdim).
    k: (*batch, heads, d_state), the last key, turned.
    x: (*batch, heads, headdim), the last input.
  """

  angle: jax.Array
  S: jax.Array
  k: jax.Array
  x: jax.Array


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters, as the authors' code does.

  Returns:
    A dict of float32 arrays:
      in_proj: (d_model, sum of parts), to z, x, B, C, dt, a, trap and angle
        side by side, B and C of all groups.
      dt_bias: (heads,), inverse softplus of the initial step sizes.
      B_norm, C_norm: (d_state,), ones.
      B_bias, C_bias: (heads, d_state), ones.
      D: (heads,), ones.
      norm_scale: (heads, headdim), ones, if norm.
      out_proj: (d_inner, d_model).
  """
  key_in, key_dt, key_out = jax.random.split(key, 3)
  width, inner = config.d_model, config.d_inner
  heads, states = config.heads, config.d_state
  params = {
    "in_proj": contract.uniform(key_in, (width, sum(config.parts)), width),
    "dt_bias": discretize.step_size_bias(key_dt, heads, config),
    "D": jnp.ones((heads,), jnp.float32),
    "out_proj": contract.uniform(key_out, (inner, width), inner),
  }
  for name in "BC":
    params[f"{name}_norm"] = jnp.ones((states,), jnp.float32)
    params[f"{name}_bias"] = jnp.ones((heads, states), jnp.float32)
  if config.norm:
    params["norm_scale"] = jnp.ones((heads, config.head_width), jnp.float32)
  return params


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: zeros."""
  heads, states, width = config.heads, config.d_state, config.head_width

  def zeros(*shape):
    return jnp.zeros((*batch_shape, heads, *shape), dtype)

  return State(
    zeros(config.angles), zeros(states, width), zeros(states), zeros(width)
  )


@contract.apply(Config, init, initial_state, sections=True)
def apply(config, params, x, state=None, reset=None, *, axis=None):
  """Runs over a sequence; a reset forgets the element before, too."""
  params = contract.cast(params, contract.wide_dtype(x))
  z, inputs, B, C, dt, a, trap, angle = _projected(config, params, x)
  inputs = inputs.reshape(*x.shape[:-1], config.heads, config.head_width)
  k, q = (
    _with_bias(config, part, params[f"{name}_norm"], params[f"{name}_bias"])
    for name, part in (("B", B), ("C", C))
  )
  dt = jax.nn.softplus(dt + params["dt_bias"])
  decay = -jnp.maximum(_rate(a), config.A_floor) * dt
  y, state = scan(
    q,
    k,
    inputs,
    decay,
    dt,
    trap,
    angle[..., None, :],
    state,
    reset=reset,
    axis=axis,
  )

  def finish(y, x, z, D, scale=None):
    y = y + D[:, None] * x
    if scale is not None:
      square = jnp.mean(jnp.square(y), axis=-1, keepdims=True)
      y = y * lax.rsqrt(square + config.norm_eps) * scale
    return y.reshape(z.shape) * jax.nn.silu(z)

  scales = [params["norm_scale"]] if config.norm else []
  y = contract.pointwise(finish, y, inputs, z, params["D"], *scales)
  return recurrence.dense(y, params["out_proj"]), state


step = passes.step_by(Config, init, initial_state, apply)


def scan(
  q: jax.Array,
  k: jax.Array,
  x: jax.Array,
  decay: jax.Array,
  dt: jax.Array,
  trap: jax.Array,
  angle: jax.Array,
  state: State,
  *,
  reset: jax.Array | None = None,
  axis: str | None = None,
) -> tuple[jax.Array, State]:
  """Runs the recurrence of Mamba-3 over time, by one `outer_scan`.

  The two terms with k_t x_t^T, at t and at t + 1, are combined into one term
  with their weights added; an element reads the state before itself, without
  its successor's weights, and then itself alone.

  Args:
    q: (*batch, time, heads, d_state) queries, before rotation, floating.
    k: (*batch, time, heads, d_state) keys, before rotation.
    x: (*batch, time, heads, headdim) inputs.
    decay: (*batch, time, heads), dt A, the logarithm of the decay.
    dt: (*batch, time, heads) step sizes.
    trap: (*batch, time, heads), tau before the sigmoid.
    angle: (*batch, time, heads | 1, angles), rotations before tanh and dt.
    state: state before the first element.
    reset: (*batch, time) bool; where true the state is that of a fresh sequence
      before the element is consumed.
    axis: name of the mesh axis over which time is split, or None.

  Returns:
    y, like x, without D x, and the state after the last element.
  """
  turns = math.pi * jnp.tanh(angle) * dt[..., None]
  phase, theta = _phases(turns, state.angle, reset, axis)
  cos, sin = jnp.real(phase), jnp.imag(phase)
  q, k = (contract.pointwise(_turned, part, cos, sin) for part in (q, k))
  tau = jax.nn.sigmoid(trap)
  gain, late = tau * dt, jax.nn.sigmoid(-trap) * dt
  # The last element of all waits for its successor, in the state.
  first = _of_device(late[..., 0, :], axis, last=False)[..., None]
  last_k, last_x = state.k, state.x
  if reset is not None:
    # For the gradients: undefined numbers of a state must not pass a reset.
    begins = reset[..., 0].astype(dt.dtype)
    begins = _of_device(begins, axis, last=False)[..., None, None] > 0
    last_k, last_x = (jnp.where(begins, 0, z) for z in (last_k, last_x))
  before = (first * last_k)[..., None] * last_x[..., None, :]
  weights = gain + _of_successor(late, reset, axis)
  read, S = recurrence.outer_scan_heads(
    q,
    k,
    contract.pointwise(lambda x, w: w[..., None] * x, x, weights),
    decay[..., None],
    state.S + before,
    reset=reset,
    inclusive=False,
    axis=axis,
  )

  def finish(read, q, k, x, decay, gain):
    score = gain * jnp.sum(q * k, axis=-1)
    return jnp.exp(decay)[..., None] * read + score[..., None] * x

  y = contract.pointwise(finish, read, q, k, x, decay, gain)
  last = jnp.concatenate([k[..., -1, :, :], x[..., -1, :, :]], axis=-1)
  last = _of_device(last.astype(S.dtype), axis, last=True)
  last_k, last_x = jnp.split(last, (k.shape[-1],), axis=-1)
  return y, State(theta.astype(S.dtype), S, last_k, last_x)


def _projected(config, params, x):
  """The parts of in_proj x; dt and the parts after it at least float32."""
  weight, sizes = params["in_proj"], config.parts
  cuts = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
  if x.dtype == contract.wide_dtype(x):
    return jnp.split(recurrence.dense(x, weight), cuts, axis=-1)
  narrow = cuts[3]
  first = recurrence.dense(x, weight[:, :narrow])
  rest = recurrence.dense(x, weight[:, narrow:], wide=True)
  first = jnp.split(first, cuts[:3], axis=-1)
  rest = jnp.split(rest, [cut - narrow for cut in cuts[4:]], axis=-1)
  return [*first, *rest]


def _with_bias(config, x, scale, bias):
  """Returns keys or queries (..., heads, d_state) from B or C of all groups."""
  x = x.reshape(*x.shape[:-1], config.ngroups, config.d_state)

  def run(x, scale, bias):
    x = positions.rms_norm(x, scale, config.norm_eps)
    return jnp.repeat(x, config.heads // config.ngroups, axis=-2) + bias

  return contract.pointwise(run, x, scale, bias)


def _rate(a):
  """The positive function h, of slope 1 at 0; its slopes are finite."""
  return jnp.where(a >= 0, 1 + a, 1 / (1 - jnp.minimum(a, 0)))


def _phases(turns, angle, reset, axis):
  """Values e^{i theta}, (*batch, time, heads, angles), and the last theta."""
  # A product of e^{i turn} has no large numbers: a sum of 100,000 angles would
  # have no digits left in float32.
  *lead, heads, angles = turns.shape
  flat = turns.reshape(*lead, heads * angles)
  factors = lax.complex(jnp.cos(flat), jnp.sin(flat))
  angle = angle.astype(turns.dtype).reshape(*lead[:-1], -1)
  begin = lax.complex(jnp.cos(angle), jnp.sin(angle))
  started = jnp.zeros_like(factors)
  if reset is not None:
    # The factor 1, of the angle 0, if states are reset to 0.
    started = jnp.where(reset[..., None], factors, started)
  phase, last = recurrence.linear_scan(
    factors, started, begin, reset=reset, axis=axis
  )
  # Of length 1 except for rounding, which accumulates.
  phase = phase / jnp.abs(phase)
  theta = jnp.mod(jnp.arctan2(jnp.imag(last), jnp.real(last)), 2 * math.pi)
  return (phase.reshape(turns.shape), theta.reshape(*lead[:-1], heads, angles))


def _turned(x, cos, sin):
  """Rotates the first states (2 j, 2 j + 1) of (..., d_state) by angle j."""
  pairs = x[..., : 2 * cos.shape[-1]].reshape(*cos.shape, 2)
  even, odd = pairs[..., 0], pairs[..., 1]
  turned = jnp.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1)
  rest = x[..., 2 * cos.shape[-1] :]
  return jnp.concatenate([turned.reshape(*cos.shape[:-1], -1), rest], axis=-1)


def _of_successor(x, reset, axis):
  """Entries of the next elements; 0 before a reset and at the end."""
  if reset is not None:
    x = jnp.where(reset[..., None], 0, x)
  first = x[..., :1, :]
  if axis is None:
    entering = jnp.zeros_like(first)
  else:
    # The last device receives zeros.
    pairs = [(i + 1, i) for i in range(lax.axis_size(axis) - 1)]
    entering = lax.ppermute(first, axis, pairs)
  return jnp.concatenate([x[..., 1:, :], entering], axis=-2)


def _of_device(x, axis, *, last):
  """Sends the first or last device's array to all; x without an axis."""
  if axis is None:
    return x
  device = lax.axis_size(axis) - 1 if last else 0
  return lax.psum(jnp.where(lax.axis_index(axis) == device, x, 0), axis)
