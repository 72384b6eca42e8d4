"""S5 as a mixer in the formulation of `baselines.s5_reset_apply`.

Parameters and results are those of `jaxseq.mixers.s5`. A single step is a
sequence of length one, as in the public in-context RL code.
"""

import dataclasses

import jax
import jax.numpy as jnp

from benchmarks import baselines
from jaxseq.mixers.state_space import discretize
from jaxseq.mixers.state_space import s5

init = s5.init
initial_state = s5.initial_state


@dataclasses.dataclass(frozen=True)
class Config(s5.Config):
  """Options of S5; only zero-order hold and conjugate pairs, causal."""


def apply(config, params, x, state=None, reset=None):
  batch, time = x.shape[:-2], x.shape[-2]
  if state is None:
    state = initial_state(config, batch)
  if reset is None:
    reset = jnp.zeros((*batch, time), bool)
  Lambda = jax.lax.complex(params["Lambda_re"], params["Lambda_im"])
  Lambda_bar, factor = discretize.get("zoh")(
    Lambda, jnp.exp(params["log_step"][:, 0])
  )
  B, C = (
    jax.lax.complex(m[..., 0], m[..., 1]) for m in (params["B"], params["C"])
  )
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
  reset = None if reset is None else reset[:, None]
  y, state = apply(config, params, x[:, None], state, reset)
  return y[:, 0], state
