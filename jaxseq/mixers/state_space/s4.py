"""S4: a diagonal plus low rank state space model for every channel.

    x'(t) = A x(t) + B u(t),   y(t) = 2 Re(C x(t)) + D u(t)
    A = diag(Lambda) - sum_r P_r P_r^H

discretized by the bilinear transform with one learned step size per channel.
Gu, Goel, Re, "Efficiently modeling long sequences with structured state
spaces", arXiv:2111.00396, as its code has it today: one P for both low-rank
factors (arXiv:2202.09729), which keeps every eigenvalue in the left half plane.

The parameter is the output vector C itself. The code of the paper trains C~ = C
(I - A_bar^L) for one length L instead, which saves the power of A_bar in every
pass; but then the model depends on L, and C, which a step needs, is the
solution of a linear system.

Only the state space model itself is here; the activation, gate and residual of
the paper's layer are in `jaxseq.nn`.
"""

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp

from jaxseq.mixers import contract
from jaxseq.mixers.state_space import _dplr
from jaxseq.mixers.state_space import _siso
from jaxseq.mixers.state_space import hippo

TRAITS = contract.Traits(
  keeps="per channel, 32 complex states of one diagonal plus low-rank system",
  # Parameters with the smaller learning rate in the paper.
  ssm_parameters=("Lambda_re", "Lambda_im", "P", "B", "log_step"),
  memory=("",),
)


@dataclasses.dataclass(frozen=True)
class Config(_siso.Config):
  """Options of S4; the defaults are those of the paper's code.

  Attributes:
    init: initial HiPPO matrix: "legs", "legt" or "fourier". With "legt" the
      convolution loses up to 3 more digits; method = "auto" considers it.
  """

  n_ssm: int | None = 1
  init: Literal["legs", "legt", "fourier"] = "legs"


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters (arXiv:2111.00396, section 3, and its code).

  Returns:
    A dict of float32 arrays, where M = N / 2, one of each conjugate pair is
    kept, a last axis of 2 holds real and imaginary part, and the rank r is 2
    for "legt" and 1 otherwise:
      Lambda_re: (n_ssm, M), which real_transform maps to -Re(Lambda).
      Lambda_im: (n_ssm, M), Im(Lambda).
      P: (r, n_ssm, M, 2).
      B: (n_ssm, M, 2).
      C: (H, M, 2); (2, H, M, 2) if bidirectional, forward and backward.
      D: (H,).
      log_step: (H,), which dt_transform maps to the step sizes.
  """
  H, M, n = config.d_model, config.d_state // 2, config.copies
  form = hippo.half_dplr(config.init, config.d_state)
  key_C, key_D, key_step = jax.random.split(key, 3)
  directions = (2,) if config.bidirectional else ()
  C = jax.random.normal(key_C, (*directions, H, M, 2), jnp.float32)
  return {
    **_siso.init_Lambda(config, form.Lambda),
    "P": _siso.to_pair(form.P[:, None], (len(form.P), n, M)),
    "B": _siso.to_pair(form.B, (n, M)),
    "C": math.sqrt(0.5) * C,
    "D": jax.random.normal(key_D, (H,), jnp.float32),
    "log_step": _siso.init_step(key_step, config, (H,)),
  }


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: complex zeros (*batch, H, N / 2)."""
  shape = (*batch_shape, config.d_model, config.d_state // 2)
  return jnp.zeros(shape, jnp.result_type(dtype, jnp.complex64))


@contract.step(Config, init, initial_state)
def step(config, params, x, state, reset=None):
  """Consumes one element, in O(N) per channel."""
  u = x.astype(contract.wide_dtype(x))
  state = _siso.put_back(reset, state)
  state = _dplr.advance(_continuous(config, params, u.dtype), state, u)
  C = _siso.from_pair(params["C"], u.dtype)
  y = 2 * jnp.sum(C.real * state.real - C.imag * state.imag, -1)
  return y + params["D"].astype(u.dtype) * u, state


def _directions(config, params, dtype):
  """C of all directions, (directions, H, M) complex."""
  C = _siso.from_pair(params["C"], dtype)
  return C if config.bidirectional else C[None]


def _continuous(config, params, dtype):
  """The systems of all channels in continuous time."""
  complex_params = (
    _siso.complex_Lambda(config, params, dtype),
    _siso.from_pair(params["P"], dtype),
    _siso.from_pair(params["B"], dtype),
  )
  return _dplr.System(
    *(_siso.to_channels(config, leaf) for leaf in complex_params),
    _siso.step_sizes(config, params, dtype),
  )


def _discrete(config, params, dtype):
  """The systems of all channels in discrete time, on joined states."""
  continuous = _continuous(config, params, dtype)
  A_bar, B_bar = _dplr.transition(continuous)
  C = _directions(config, params, dtype)

  def kernel(length):
    truncated = _dplr.truncate(A_bar, C, length)
    return _dplr.kernel(continuous, truncated, length)

  return _siso.System(A_bar, B_bar, _dplr.read_out(C), kernel)


apply = _siso.bind(
  Config, init, initial_state, _discrete, _dplr.join, _dplr.split
)
