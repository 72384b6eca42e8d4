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
from jaxseq.mixers import head_parts
from jaxseq.mixers import passes
from jaxseq.mixers.state_space import mamba2
from jaxseq.recurrence.outer import log_linear_attention

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
    if not 2 <= self.levels <= log_linear_attention.LARGEST:
      expected = f"2 to {log_linear_attention.LARGEST}"
      raise contract.error("levels", self.levels, expected)


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
  width, heads = config.d_model, config.heads
  shape = width, heads * config.levels
  rates = np.log(np.arange(1, heads + 1))
  return mamba2.init(block, config) | {
    "A_log": jnp.asarray(rates, jnp.float32),
    "level_proj": contract.uniform(level, shape, width),
    "L_scale": contract.ones(heads, config.levels),
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
  logits = recurrence.dense(x, params["level_proj"], wide=True)
  logits = head_parts.split(logits, config.heads)
  scales = jax.nn.softplus(params["L_scale"] * logits)

  def levels(scan, C, B, scaled, decay, before, *, reset):
    del scan
    elements = C, B, scaled, decay, scales, before
    return over(_scan, *elements, reset=reset, step=_step)

  def over_levels(scan, *arguments, **options):
    run = levels if scan is recurrence.outer_scan_heads else over
    return run(scan, *arguments, **options)

  inner = mamba2.State(state.conv, (state.ssm, state.count))
  y, after = mamba2.run(over_levels, config, params, x, inner, reset)
  return y, State(after.conv, *after.ssm)


def _scan(C, B, v, decay, scales, state, *, reset, axis=None):
  """Scans arrays (*batch, time, heads, n), B and C of groups."""
  heads = v.shape[-2]
  C, B = (jnp.repeat(x, heads // x.shape[-2], axis=-2) for x in (C, B))
  arrays = (jnp.moveaxis(x, -2, -3) for x in (C, B, v, decay, scales))
  reset = head_parts.resets(reset, (*v.shape[:-3], heads, v.shape[-3]))
  o, last = recurrence.log_linear_scan(
    *arrays, _of_heads(state, heads), reset=reset, axis=axis
  )
  return jnp.moveaxis(o, -3, -2), (last.S, last.count[..., 0])


def _step(C, B, v, decay, scales, state, *, reset=None):
  """Runs over one element; arrays (*batch, heads, n)."""
  heads = v.shape[-2]
  C, B = (jnp.repeat(x, heads // x.shape[-2], axis=-2) for x in (C, B))
  reset = head_parts.resets(reset, v.shape[:-1], time=False)
  o, last = recurrence.log_linear_step(
    C, B, v, decay, scales, _of_heads(state, heads), reset=reset
  )
  return o, (last.S, last.count[..., 0])


def _of_heads(state, heads):
  """Returns the state with a count for each head."""
  S, count = state
  count = jnp.broadcast_to(count[..., None], (*count.shape, heads))
  return recurrence.LogLinearState(S, count)


apply, step = passes.make(Config, init, initial_state, _run, sections=True)
