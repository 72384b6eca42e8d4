"""Log-linear Mamba-2: the past in stretches of powers of 2, a state for each.

The block of `jaxseq.mixers.state_space.mamba2`, whose outputs are a sum over
levels of the past, C_t (lambda_t[0] S_t[0] + ... + lambda_t[L - 1] S_t[L - 1]),
with lambda = softplus(L_scale * W_l x) for each head and level. Guo et al.,
"Log-linear attention", arXiv:2506.04761, in the form of
flash-linear-attention's layer; the levels are `recurrence.log_linear_scan`.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import _serialization
from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import passes
from jaxseq.mixers.matrix_states import _levels
from jaxseq.mixers.state_space import mamba2

TRAITS = dataclasses.replace(
  mamba2.TRAITS,
  keeps="a matrix per head for each of 15 stretches of the past, with a decay "
  "that depends on the input; 3 inputs of a convolution",
  ssm_parameters=(*mamba2.TRAITS.ssm_parameters, "L_scale"),
  memory=("ssm",),
)


@dataclasses.dataclass(frozen=True)
class Config(mamba2.Config):
  """Options of log-linear Mamba-2.

  Attributes:
    levels: number of ranges of past elements, L; elements older than 2^(levels
      - 2) may share the last.
  """

  levels: int = 15

  def __post_init__(self):
    super().__post_init__()
    _levels.check(self.levels)


@_serialization.exported("jaxseq.mixers.log_linear.State")
class State(NamedTuple):
  """State of log-linear Mamba-2.

  Attributes:
    conv: like that of Mamba-2.
    ssm: (*batch, heads, levels, d_state, headdim).
    count: (*batch,), number of elements of the episode so far.
  """

  conv: jax.Array
  ssm: jax.Array
  count: jax.Array


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters: those of Mamba-2, and of the levels.

  Returns:
    A dict of float32 arrays, those of `mamba2.init` and
      A_log: (heads,), logarithms of 1 to heads.
      level_proj: (d_model, heads levels).
      L_scale: (heads, levels), ones.
  """
  block, level = jax.random.split(key)
  rates = np.log(np.arange(1, config.heads + 1))
  return {
    **mamba2.init(block, config),
    **_levels.init(level, config.d_model, config.heads, config.levels),
    "A_log": jnp.asarray(rates, jnp.float32),
  }


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: zeros."""
  window = config.d_conv - 1, config.conv_channels
  ssm = config.heads, config.levels, config.d_state, config.head_width
  return State(
    jnp.zeros((*batch_shape, *window), dtype),
    jnp.zeros((*batch_shape, *ssm), dtype),
    jnp.zeros(batch_shape, dtype),
  )


def _run(over, config, params, x, state, reset):
  """Runs over a sequence; a reset empties the convolution's window too."""
  scales = _levels.scales(params, x)

  def levels(scan, C, B, scaled, decay, before, *, reset):
    del scan
    elements = C, B, scaled, decay, scales, before
    return over(_levels.scan, *elements, reset=reset, step=_levels.step)

  def over_levels(scan, *arguments, **options):
    run = levels if scan is recurrence.outer_scan_heads else over
    return run(scan, *arguments, **options)

  inner = mamba2.State(state.conv, (state.ssm, state.count))
  y, after = mamba2.run(over_levels, config, params, x, inner, reset)
  return y, State(after.conv, *after.ssm)


apply, step = passes.make(Config, init, initial_state, _run, sections=True)
