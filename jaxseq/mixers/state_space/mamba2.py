"""Mamba-2: a state space model with one decay per head (SSD), as a block.

    z, x, B, C, dt = split(in_proj u)
    x, B, C = silu(conv(x, B, C))                causal, depthwise over time
    dt = softplus(dt + dt_bias)                  one number per head
    S_t = exp(dt_t A) S_{t-1} + dt_t B_t x_t^T,  A = -exp(A_log)
    y_t = C_t S_t + D x_t
    out_proj norm(y * silu(z))

Dao and Gu, "Transformers are SSMs: Generalized models and efficient algorithms
through structured state space duality", arXiv:2405.21060, section 7, and its
code. This is the whole block of the paper; norm and residual around it are in
`jaxseq.nn`. The norm may come before the gate, or be omitted (Falcon-H1,
arXiv:2507.22448).
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
from jaxseq.mixers.state_space import _mamba
from jaxseq.mixers.state_space import discretize

TRAITS = dataclasses.replace(
  _mamba.TRAITS,
  keeps="a matrix per head, with a decay that depends on the input; 3 inputs "
  "of a convolution",
  memory=("ssm",),
)


@dataclasses.dataclass(frozen=True)
class Config(_mamba.Heads, _mamba.Config):
  """Options of Mamba-2; the defaults are those of the paper's code.

  Attributes:
    channels: number of inner channels, d_inner; expand * d_model if None.
    dt_limit: bounds on the step sizes at all times.
    A_init_range: bounds between which the initial -A are drawn uniformly.
    norm: place of the norm: "after_gate", norm(y * silu(z)), "before_gate",
      norm(y) * silu(z), or "none".
    norm_eps: added to the mean square in the norm.
    norm_groups: groups of neighboring channels, of one size, for which the norm
      computes separate mean squares. Weights that were trained with ngroups > 1
      mostly have as many here.
    out_bias: whether out_proj has a bias; like in_proj if None.
  """

  channels: int | None = None
  dt_limit: tuple[float, float] = (0.0, math.inf)
  A_init_range: tuple[float, float] = (1.0, 16.0)
  norm: Literal["after_gate", "before_gate", "none"] = "after_gate"
  norm_eps: float = 1e-5
  norm_groups: int = 1
  out_bias: bool | None = None

  def __post_init__(self):
    super().__post_init__()
    inside = {self.inside: self.d_inner}
    contract.divisor("norm_groups", self.norm_groups, **inside)
    for name, lowest in (("dt_limit", 0.0), ("A_init_range", 1e-30)):
      bounds = tuple(getattr(self, name))  # Hashable, for any sequence.
      if len(bounds) != 2 or not lowest <= bounds[0] <= bounds[1]:
        above = "0 <=" if name == "dt_limit" else "0 <"
        raise contract.error(name, bounds, f"(low, high), {above} low <= high")
      object.__setattr__(self, name, bounds)

  @property
  def inside(self) -> str:
    """Name of the option that d_inner is computed from."""
    return super().inside if self.channels is None else "channels"

  @property
  def d_inner(self) -> int:
    """Number of channels inside."""
    return self.channels or super().d_inner

  @property
  def biases_out(self) -> bool:
    """True if out_proj has a bias."""
    return self.bias if self.out_bias is None else self.out_bias

  @property
  def conv_channels(self) -> int:
    """Channels of the convolution: those of x, B and C."""
    return self.d_inner + 2 * self.ngroups * self.d_state


@_serialization.exported("jaxseq.mixers.mamba2.State")
class State(NamedTuple):
  """State of Mamba-2.

  Attributes:
    conv: (*batch, d_conv - 1, conv_channels), the last inputs of the
      convolution, oldest first.
    ssm: (*batch, heads, d_state, headdim).
  """

  conv: jax.Array
  ssm: jax.Array


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters, as the paper's code does.

  Returns:
    A dict of float32 arrays:
      in_proj: (d_model, 2 d_inner + 2 ngroups d_state + heads), to z, x, B, C
        and dt concatenated.
      conv_weight: (d_conv, conv_channels), the last row for the present
        element.
      conv_bias: (conv_channels,), if conv_bias.
      dt_bias: (heads,), inverse softplus of the initial step sizes.
      A_log: (heads,), logarithm of -A.
      D: (heads,), ones.
      norm_scale: (d_inner,), ones, unless norm is "none".
      out_proj: (d_inner, d_model).
      in_proj_bias, out_proj_bias: zeros, by the options.
  """
  width, inner, heads = config.d_model, config.d_inner, config.heads
  channels, taps = config.conv_channels, config.d_conv
  keys = jax.random.split(key, 6)
  projected = inner + channels + heads
  low, high = config.A_init_range
  A = jax.random.uniform(keys[3], (heads,), jnp.float32, low, high)
  weights = {
    "in_proj": contract.uniform(keys[0], (width, projected), width),
    "conv_weight": contract.uniform(keys[1], (taps, channels), taps),
    "dt_bias": discretize.step_size_bias(keys[2], heads, config),
    "A_log": jnp.log(A),
    "D": jnp.ones((heads,), jnp.float32),
    "out_proj": contract.uniform(keys[4], (inner, width), inner),
  }
  if config.norm != "none":
    weights["norm_scale"] = jnp.ones((inner,), jnp.float32)
  return _mamba.add_biases(weights, keys[5], config)


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: zeros."""
  ssm = config.heads, config.d_state, config.head_width
  return State(
    jnp.zeros((*batch_shape, config.d_conv - 1, config.conv_channels), dtype),
    jnp.zeros((*batch_shape, *ssm), dtype),
  )


def run(over, config, params, x, state, reset):
  """Runs over a sequence; a reset empties the convolution's window too."""
  z, xBC, dt = _project(config, params, x)
  xBC, window = passes.convolved(over, params, xBC, state.conv, reset)
  dt = jax.nn.softplus(dt + params["dt_bias"])
  if config.dt_limit != (0.0, math.inf):
    dt = jnp.clip(dt, *config.dt_limit)
  y, x, ssm = _ssm(config, params, xBC, dt, state.ssm, reset, over)
  finish, scale = functools.partial(_finish, config), ()
  if config.norm != "none":
    scale = (params["norm_scale"],)
  y = contract.pointwise(finish, y, x, z, params["D"], *scale)
  return contract.project(params, "out_proj", y), State(window, ssm)


def _project(config, params, x):
  """The activations z and xBC, and dt, which stays float32 for narrow x."""
  inner, end = config.d_inner, config.d_inner + config.conv_channels
  if x.dtype == contract.wide_dtype(x):
    projected = contract.project(params, "in_proj", x)
    return jnp.split(projected, (inner, end), axis=-1)
  weight, bias = params["in_proj"], params.get("in_proj_bias")

  def part(columns, wide=False):
    bias_part = None if bias is None else bias[columns]
    return recurrence.dense(x, weight[:, columns], bias_part, wide=wide)

  # Parts of a single product would be copies beside the whole.
  z, xBC = part(slice(inner)), part(slice(inner, end))
  return z, xBC, part(slice(end, None), wide=True)


def _ssm(config, params, xBC, dt, state, reset, over):
  """Returns outputs y without D x, x (..., heads, headdim) and the state."""
  # From xBC (..., conv_channels) and dt (..., heads).
  lead, inner = xBC.shape[:-1], config.d_inner
  states = config.ngroups * config.d_state
  x, B, C = jnp.split(xBC, (inner, inner + states), axis=-1)
  x = x.reshape(*lead, config.heads, config.head_width)
  B, C = (
    leaf.reshape(*lead, config.ngroups, config.d_state) for leaf in (B, C)
  )
  decay = (-jnp.exp(params["A_log"]) * dt)[..., None]
  scaled = contract.pointwise(lambda x, dt: dt[..., None] * x, x, dt)
  elements = C, B, scaled, decay, state
  y, state = over(recurrence.outer_scan_heads, *elements, reset=reset)
  return y, x, state


def _finish(config, y, x, z, D, scale=None):
  """Applies feed-through, gate and norm: (..., d_inner)."""
  y = y + D[:, None] * x
  y, gate = y.reshape(z.shape), jax.nn.silu(z)
  if config.norm == "before_gate":
    return _normalized(config, y, scale) * gate
  y = y * gate
  return y if scale is None else _normalized(config, y, scale)


def _normalized(config, x, scale):
  groups = x.reshape(*x.shape[:-1], config.norm_groups, -1)
  mean_square = jnp.mean(jnp.square(groups), axis=-1, keepdims=True)
  groups = groups * jax.lax.rsqrt(mean_square + config.norm_eps)
  return groups.reshape(x.shape) * scale


apply, step = passes.make(Config, init, initial_state, run, sections=True)
tree, commit = passes.trees(Config, run)
