"""Mamba: a selective state space model between two projections.

    x, z = split(in_proj u)
    x = silu(conv(x))                            causal, depthwise over time
    dt, B, C = split(x_proj x)                   each normalized, by option
    delta = softplus(dt_proj dt + dt_bias)
    h_t = exp(delta_t A) h_{t-1} + delta_t B_t x_t,  A = -exp(A_log)
    y_t = C_t h_t + D x_t
    out_proj (y * silu(z))

Gu and Dao, "Mamba: Linear-time sequence modeling with selective state spaces",
arXiv:2312.00752, section 3.4, and its code. This is the whole block of the
paper; norm and residual around it are in `jaxseq.nn`. Jamba (arXiv:2403.19887,
section 6.4) and Falcon-Mamba (arXiv:2410.05355) normalize dt, B and C.
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
from jaxseq.mixers import head_parts
from jaxseq.mixers import passes
from jaxseq.mixers.state_space import _mamba
from jaxseq.mixers.state_space import discretize

TRAITS = dataclasses.replace(
  _mamba.TRAITS,
  keeps="16 states per channel, with decays that depend on the input; 3 inputs "
  "of a convolution",
  memory=("ssm",),
)


@dataclasses.dataclass(frozen=True)
class Config(_mamba.Config):
  """Options of Mamba; the defaults are those of the paper's code.

  Attributes:
    dt_rank: rank of the projection to the step sizes; d_model / 16, rounded
      up, if None.
    dt_init: "random": dt_proj is uniform in +-dt_scale / sqrt(dt_rank);
      "constant": it has that value everywhere.
    dt_scale: factor on the initial dt_proj.
    norm: division of dt, B and C, the outputs of x_proj, by the root of their
      mean squares: "none", "plain", or "scaled" with factors after it.
    norm_eps: added to the mean square there.
  """

  dt_rank: int | None = None
  dt_init: Literal["random", "constant"] = "random"
  dt_scale: float = 1.0
  norm: Literal["none", "plain", "scaled"] = "none"
  norm_eps: float = 1e-6

  @property
  def rank(self) -> int:
    """Rank of the projection to the step sizes."""
    if self.dt_rank is None:
      return math.ceil(self.d_model / 16)
    return self.dt_rank


@_serialization.exported("jaxseq.mixers.mamba.State")
class State(NamedTuple):
  """State of Mamba.

  Attributes:
    conv: (*batch, d_conv - 1, d_inner), the last inputs of the convolution,
      oldest first.
    ssm: (*batch, d_inner, d_state).
  """

  conv: jax.Array
  ssm: jax.Array


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters (arXiv:2312.00752, section 3.6, and its code).

  Returns:
    A dict of float32 arrays, with R = config.rank:
      in_proj: (d_model, 2 d_inner), to x and z side by side.
      conv_weight: (d_conv, d_inner), the last row for the present element.
      conv_bias: (d_inner,), if conv_bias.
      x_proj: (d_inner, R + 2 d_state), to dt, B and C side by side.
      dt_proj: (R, d_inner).
      dt_bias: (d_inner,), inverse softplus of the initial step sizes.
      A_log: (d_inner, d_state), log(1 ... d_state) for every channel.
      D: (d_inner,), ones.
      out_proj: (d_inner, d_model).
      in_proj_bias, out_proj_bias: (2 d_inner,) and (d_model,), zeros, if bias.
      dt_norm, B_norm, C_norm: (R,), (d_state,) and (d_state,), ones, if norm is
        "scaled".
  """
  width, inner, N = config.d_model, config.d_inner, config.d_state
  rank, taps = config.rank, config.d_conv
  keys = jax.random.split(key, 7)
  weights = {
    "in_proj": contract.uniform(keys[0], (width, 2 * inner), width),
    "conv_weight": contract.uniform(keys[1], (taps, inner), taps),
    "x_proj": contract.uniform(keys[2], (inner, rank + 2 * N), inner),
    "dt_proj": config.dt_scale * _init_dt_proj(keys[3], config),
    "dt_bias": discretize.step_size_bias(keys[4], inner, config),
    "A_log": jnp.log(
      jnp.tile(jnp.arange(1, N + 1, dtype=jnp.float32), (inner, 1))
    ),
    "D": jnp.ones((inner,), jnp.float32),
    "out_proj": contract.uniform(keys[5], (inner, width), inner),
  }
  if config.norm == "scaled":
    for name, size in (("dt", rank), ("B", N), ("C", N)):
      weights[f"{name}_norm"] = jnp.ones((size,), jnp.float32)
  return _mamba.add_biases(weights, keys[6], config)


def _init_dt_proj(key, config):
  shape = config.rank, config.d_inner
  if config.dt_init == "constant":
    return jnp.full(shape, 1 / math.sqrt(config.rank), jnp.float32)
  return contract.uniform(key, shape, config.rank)


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: zeros."""
  inner = config.d_inner
  return State(
    jnp.zeros((*batch_shape, config.d_conv - 1, inner), dtype),
    jnp.zeros((*batch_shape, inner, config.d_state), dtype),
  )


def _run(over, config, params, x, state, reset):
  """Runs over a sequence; a reset empties the convolution's window too."""
  inner, N = config.d_inner, config.d_state
  u = contract.project(params, "in_proj", x)
  u, z = u[..., :inner], u[..., inner:]
  u, window = passes.convolved(over, params, u, state.conv, reset)
  projected = recurrence.dense(u, params["x_proj"])
  parts = jnp.split(projected, (config.rank, config.rank + N), axis=-1)
  if config.norm != "none":
    normed = functools.partial(_normed, config, params)
    parts = map(normed, ("dt", "B", "C"), parts)
  low, B, C = parts
  delta = recurrence.dense(low, params["dt_proj"], params["dt_bias"], wide=True)
  delta, A = jax.nn.softplus(delta), -jnp.exp(params["A_log"])
  elements = u, delta, A, B, C, state.ssm
  y, ssm = over(
    recurrence.selective_scan, *elements, D=params["D"], reset=reset
  )
  y = contract.pointwise(lambda y, z: y * jax.nn.silu(z), y, z)
  return contract.project(params, "out_proj", y), State(window, ssm)


def _normed(config, params, name, x):
  weight = params.get(f"{name}_norm", jnp.ones(x.shape[-1:], x.dtype))
  return head_parts.normed(x, weight, config.norm_eps)


apply, step = passes.make(Config, init, initial_state, _run, sections=True)
