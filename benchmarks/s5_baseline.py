"""The formulation of `baselines.s5_reset_apply` as a mixer, to train with.

Parameters and configuration are those of `jaxseq.mixers.s5`. One step is a
sequence of one element, as in the public in-context RL code.
"""

import dataclasses

import jax.numpy as jnp

from benchmarks import baselines
from jaxseq.mixers import discretize
from jaxseq.mixers import s5

SSM_PARAMETERS = s5.SSM_PARAMETERS


@dataclasses.dataclass(frozen=True)
class Config(s5.Config):
  """Options of S5; one direction only."""


init = s5.init
initial_state = s5.initial_state


def apply(config, params, x, state=None, reset=None):
  """As `s5.apply`, for x (batch, time, d_model)."""
  if state is None:
    state = initial_state(config, x.shape[:-2])
  if reset is None:
    reset = jnp.zeros(x.shape[:-1], bool)
  Lambda = params["Lambda_re"] + 1j * params["Lambda_im"]
  dt = config.step_rescale * jnp.exp(params["log_step"][:, 0])
  Lambda_bar, factor = discretize.get(config.discretization)(Lambda, dt)
  B = params["B"][..., 0] + 1j * params["B"][..., 1]
  C = params["C"][..., 0] + 1j * params["C"][..., 1]
  return baselines.s5_reset_apply(
    Lambda_bar,
    factor[:, None] * B,
    C,
    params["D"],
    x,
    state,
    reset.astype(x.dtype),
  )


def step(config, params, x, state, reset=None):
  """As `s5.step`, for x (batch, d_model)."""
  if reset is not None:
    reset = reset[..., None]
  y, state = apply(config, params, x[..., None, :], state, reset)
  return y[..., 0, :], state
