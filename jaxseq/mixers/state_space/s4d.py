"""S4D: a diagonal state space model for every channel.

    x'(t) = Lambda x(t) + B u(t),   y(t) = 2 Re(C x(t)) + D u(t)

discretized with one learned step size per channel. Gu, Gupta, Goel, Re, "On the
parameterization and initialization of diagonal state space models",
arXiv:2206.11893. With `init = "real"` all of it is real: an exponential moving
average per state (the paper's S4D-Real).

Only the state space model itself is here; the activation, gate and residual of
the paper's layer are in `jaxseq.nn`.
"""

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers.state_space import _siso
from jaxseq.mixers.state_space import discretize
from jaxseq.mixers.state_space import hippo

TRAITS = contract.Traits(
  keeps="per channel, 32 complex states of one diagonal system",
  # Parameters with the smaller learning rate in the paper.
  ssm_parameters=("Lambda_re", "Lambda_im", "B", "log_step"),
  memory=("",),
)


@dataclasses.dataclass(frozen=True)
class Config(_siso.Config):
  """Options of S4D; the defaults are those of the paper's short version.

  Attributes:
    init: initial eigenvalues: "lin", "inv", "legs", "inv2", "quad" or "real"
      (see `hippo.diagonal`); with "real" they stay real.
    discretization: "zoh" or "bilinear".
    dt_tie: one step size per channel; otherwise one per state.
  """

  init: Literal["lin", "inv", "inv2", "quad", "real", "legs"] = "lin"
  discretization: Literal["zoh", "bilinear"] = "zoh"
  dt_tie: bool = True

  @property
  def num_states(self) -> int:
    """M, the number of states per channel that are kept."""
    return self.d_state if self.init == "real" else self.d_state // 2


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters (arXiv:2206.11893, section 4, and its code).

  Returns:
    A dict of float32 arrays. One of each conjugate pair is kept, M = N / 2, and
    a last axis of 2 holds real and imaginary part; under "real" M = N, and
    there are no such axis and no Lambda_im:
      Lambda_re: (n_ssm, M), which real_transform maps to -Re(Lambda).
      Lambda_im: (n_ssm, M), Im(Lambda).
      B: (n_ssm, M, 2).
      C: (H, M, 2); (2, H, M, 2) if bidirectional, forward and backward.
      D: (H,).
      log_step: (H,), or (H, M) without dt_tie, which dt_transform maps to the
        step sizes.
  """
  H, M, n = config.d_model, config.num_states, config.copies
  real = config.init == "real"
  key_C, key_D, key_step = jax.random.split(key, 3)
  directions = (2,) if config.bidirectional else ()
  C = jax.random.normal(
    key_C, (*directions, H, M, *(() if real else (2,))), jnp.float32
  )
  params = {
    **_siso.init_Lambda(config, hippo.diagonal(config.init, config.d_state)),
    "C": C if real else math.sqrt(0.5) * C,
    "D": jax.random.normal(key_D, (H,), jnp.float32),
    "log_step": _siso.init_step(
      key_step, config, (H,) if config.dt_tie else (H, M)
    ),
  }
  if real:
    del params["Lambda_im"]
    params["B"] = jnp.ones((n, M), jnp.float32)
  elif config.init == "legs":
    params["B"] = _siso.to_pair(
      hippo.half_dplr("legs", config.d_state).B, (n, M)
    )
  else:
    params["B"] = _siso.to_pair(1.0 + 0j, (n, M))
  return params


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: zeros (*batch, H, M)."""
  if config.init != "real":
    dtype = jnp.result_type(dtype, jnp.complex64)
  shape = (*batch_shape, config.d_model, config.num_states)
  return jnp.zeros(shape, dtype)


@contract.step(Config, init, initial_state)
def step(config, params, x, state, reset=None):
  """Consumes one element; `apply` without the time axis."""
  u = x.astype(contract.wide_dtype(x))
  state = _siso.put_back(reset, state)
  A, B, C, _ = _discrete(config, params, u.dtype)
  state = A * state + B * u[..., None]
  y = jnp.sum(jnp.real(C[0]) * jnp.real(state), -1)
  if jnp.iscomplexobj(C):
    y = y - jnp.sum(jnp.imag(C[0]) * jnp.imag(state), -1)
  return y + params["D"].astype(u.dtype) * u, state


def _discrete(config, params, dtype):
  """The systems of all channels in discrete time."""
  if config.init == "real":
    Lambda = _siso.real_part(config, params, dtype)
    B, C = params["B"].astype(dtype), params["C"].astype(dtype)
  else:
    Lambda = _siso.complex_Lambda(config, params, dtype)
    B, C = (_siso.from_pair(params[name], dtype) for name in ("B", "C"))
  dt = _siso.step_sizes(config, params, dtype)
  if config.dt_tie:
    dt = dt[:, None]
  A_bar, factor = discretize.get(config.discretization)(
    _siso.to_channels(config, Lambda), dt
  )
  B_bar = factor * _siso.to_channels(config, B)
  # The factor 2 even without pairs, as in the paper's code.
  C = 2 * (C if config.bidirectional else C[None])

  def kernel(length):
    return jnp.stack(
      [recurrence.siso_kernel(A_bar, B_bar, one, length) for one in C]
    )

  return _siso.System(A_bar, B_bar, C, kernel)


apply = _siso.bind(Config, init, initial_state, _discrete)
