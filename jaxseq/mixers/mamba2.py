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
`jaxseq.nn`.
"""

import dataclasses
import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import _check

Params = dict[str, jax.Array]

# What the paper's code keeps weight decay away from.
SSM_PARAMETERS = ("A_log", "D", "dt_bias")


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of Mamba-2; the defaults are those of the paper's code.

  Attributes:
    d_model: width of inputs and outputs.
    expand: d_inner / d_model, where d_inner is the number of channels inside.
    headdim: channels of a head, P; 64 or, where that is no divisor of d_inner,
      the largest divisor below it, if None.
    d_state: states per channel, N.
    ngroups: groups of heads that share B and C.
    d_conv: width of the convolution, the present element counted.
    dt_min: smallest initial step size.
    dt_max: largest initial step size; steps are drawn log-uniformly.
    dt_init_floor: lower bound on initial step sizes.
    dt_limit: bounds on the step sizes at all times.
    A_init_range: bounds between which the initial -A are drawn uniformly.
    chunk_size: elements per chunk of the scan; by the sizes if None.
    conv_bias: whether the convolution has a bias.
    bias: whether in_proj and out_proj have biases.
    norm_eps: added to the mean square in the norm.
    norm_groups: groups of neighbouring channels, of one size, that the norm
      takes its mean squares over. Weights that were trained with ngroups > 1
      mostly have as many here.
  """

  d_model: int
  expand: int = 2
  headdim: int | None = None
  d_state: int = 128
  ngroups: int = 1
  d_conv: int = 4
  dt_min: float = 0.001
  dt_max: float = 0.1
  dt_init_floor: float = 1e-4
  dt_limit: tuple[float, float] = (0.0, math.inf)
  A_init_range: tuple[float, float] = (1.0, 16.0)
  chunk_size: int | None = None
  conv_bias: bool = True
  bias: bool = False
  norm_eps: float = 1e-5
  norm_groups: int = 1

  def __post_init__(self):
    _check.check_positive(
      self,
      "d_model",
      "expand",
      "d_state",
      "ngroups",
      "d_conv",
      "norm_groups",
    )
    for name in ("headdim", "chunk_size"):
      if getattr(self, name) is not None:
        _check.check_positive(self, name)
    if self.d_inner % self.head_width:
      raise ValueError(
        "headdim must divide expand * d_model; got headdim = "
        f"{self.headdim}, expand * d_model = {self.d_inner}."
      )
    if self.heads % self.ngroups:
      raise ValueError(
        "ngroups must divide the number of heads; got ngroups = "
        f"{self.ngroups} and {self.heads} heads of {self.head_width}."
      )
    if self.d_inner % self.norm_groups:
      raise ValueError(
        "norm_groups must divide expand * d_model; got norm_groups = "
        f"{self.norm_groups}, expand * d_model = {self.d_inner}."
      )
    for name, lowest in (("dt_limit", 0.0), ("A_init_range", 1e-30)):
      bounds = tuple(getattr(self, name))  # Hashable, whatever came.
      if len(bounds) != 2 or not lowest <= bounds[0] <= bounds[1]:
        raise ValueError(
          f"{name} must be (low, high) with "
          f"{'0 <=' if name == 'dt_limit' else '0 <'} low <= high; got "
          f"{getattr(self, name)}."
        )
      object.__setattr__(self, name, bounds)
    if not 0 < self.dt_min <= self.dt_max:
      raise ValueError(
        "dt_min and dt_max must satisfy 0 < dt_min <= dt_max; got "
        f"{self.dt_min} and {self.dt_max}."
      )
    for name in ("dt_init_floor", "norm_eps"):
      if not getattr(self, name) > 0:
        raise ValueError(f"{name} must be positive; got {getattr(self, name)}.")

  @property
  def d_inner(self) -> int:
    """Number of channels inside."""
    return self.expand * self.d_model

  @property
  def head_width(self) -> int:
    """Channels of a head."""
    if self.headdim is not None:
      return self.headdim
    widths = range(1, min(64, self.d_inner) + 1)
    return max(width for width in widths if self.d_inner % width == 0)

  @property
  def heads(self) -> int:
    """Number of heads."""
    return self.d_inner // self.head_width

  @property
  def conv_channels(self) -> int:
    """Channels of the convolution: those of x, B and C."""
    return self.d_inner + 2 * self.ngroups * self.d_state


class State(NamedTuple):
  """State of Mamba-2.

  Attributes:
    conv: (*batch, d_conv - 1, conv_channels), the last inputs of the
      convolution, oldest first.
    ssm: (*batch, heads, d_state, headdim).
  """

  conv: jax.Array
  ssm: jax.Array


def init(key: jax.Array, config: Config) -> Params:
  """Draws the parameters, as the paper's code does.

  Args:
    key: random key.
    config: options.

  Returns:
    A dict of float32 arrays:
      in_proj: (d_model, 2 d_inner + 2 ngroups d_state + heads), to z, x, B, C
        and dt side by side.
      conv_weight: (d_conv, conv_channels), the last row for the present
        element.
      conv_bias: (conv_channels,), if conv_bias.
      dt_bias: (heads,), inverse softplus of the initial step sizes.
      A_log: (heads,), logarithm of -A.
      D: (heads,), ones.
      norm_scale: (d_inner,), ones.
      out_proj: (d_inner, d_model).
      in_proj_bias, out_proj_bias: zeros, if bias.
  """
  width, inner, heads = config.d_model, config.d_inner, config.heads
  channels, taps = config.conv_channels, config.d_conv
  keys = jax.random.split(key, 6)
  projected = inner + channels + heads
  low, high = config.A_init_range
  params = {
    "in_proj": _uniform(keys[0], (width, projected), width),
    "conv_weight": _uniform(keys[1], (taps, channels), taps),
    "dt_bias": _init_dt_bias(keys[2], config),
    "A_log": jnp.log(
      jax.random.uniform(keys[3], (heads,), jnp.float32, low, high)
    ),
    "D": jnp.ones((heads,), jnp.float32),
    "norm_scale": jnp.ones((inner,), jnp.float32),
    "out_proj": _uniform(keys[4], (inner, width), inner),
  }
  if config.conv_bias:
    params["conv_bias"] = _uniform(keys[5], (channels,), taps)
  if config.bias:
    params["in_proj_bias"] = jnp.zeros((projected,), jnp.float32)
    params["out_proj_bias"] = jnp.zeros((width,), jnp.float32)
  return params


def _uniform(key, shape, fan_in):
  """PyTorch's default for linear and convolutional layers."""
  bound = 1 / math.sqrt(fan_in)
  return jax.random.uniform(key, shape, jnp.float32, -bound, bound)


def _init_dt_bias(key, config):
  low, high = math.log(config.dt_min), math.log(config.dt_max)
  dt = jnp.exp(jax.random.uniform(key, (config.heads,), jnp.float32, low, high))
  dt = jnp.maximum(dt, config.dt_init_floor)
  # softplus(this) = dt, also where exp(dt) would round to 1.
  return dt + jnp.log(-jnp.expm1(-dt))


def initial_state(
  config: Config, batch_shape: tuple[int, ...] = (), dtype=jnp.float32
) -> State:
  """Returns the state of a fresh sequence: zeros.

  Args:
    config: options.
    batch_shape: leading axes.
    dtype: dtype of the state; float32 if it is narrower.

  Returns:
    The state.

  Raises:
    ValueError: if batch_shape or dtype is not of that kind.
  """
  dtype = _check.state_dtype(batch_shape, dtype)
  ssm = config.heads, config.d_state, config.head_width
  return State(
    jnp.zeros((*batch_shape, config.d_conv - 1, config.conv_channels), dtype),
    jnp.zeros((*batch_shape, *ssm), dtype),
  )


def apply(
  config: Config,
  params: Params,
  x: jax.Array,
  state: State | None = None,
  reset: jax.Array | None = None,
  *,
  axis: str | None = None,
) -> tuple[jax.Array, State]:
  """Runs over a sequence.

  Args:
    config: options.
    params: from `init`.
    x: (*batch, time, d_model), floating.
    state: state before the first element; a fresh one if None.
    reset: (*batch, time) bool; where true the state is that of a fresh
      sequence before the element is consumed, the convolution's inputs too.
    axis: name of a mesh axis over which time is split, inside `jax.shard_map`
      only; see `registry`.

  Returns:
    y (*batch, time, d_model) in the dtype of x, and the state after the last
    element, float32 or wider.

  Raises:
    ValueError: if a shape or dtype does not fit.
  """
  return _run(config, params, x, state, reset, step=False, axis=axis)


def step(
  config: Config,
  params: Params,
  x: jax.Array,
  state: State,
  reset: jax.Array | None = None,
) -> tuple[jax.Array, State]:
  """Consumes one element; `apply` without the time axis.

  Args:
    config: options.
    params: from `init`.
    x: (*batch, d_model), floating.
    state: state before the element.
    reset: (*batch,) bool or None.

  Returns:
    y (*batch, d_model) in the dtype of x, and the state after the element.

  Raises:
    ValueError: if a shape or dtype does not fit.
  """
  return _run(config, params, x, state, reset, step=True)


def _run(config, params, x, state, reset, *, step, axis=None):
  _check.check_params(Config, init, config, params)
  x = jnp.asarray(x)
  batch = _check.check_inputs(
    config.d_model,
    x,
    state,
    lambda shape: initial_state(config, shape),
    reset,
    step=step,
  )
  dtype = jnp.promote_types(x.dtype, jnp.float32)
  if state is None:
    state = initial_state(config, batch, dtype)
  params = {name: leaf.astype(dtype) for name, leaf in params.items()}
  conv = recurrence.causal_conv_step
  if not step:
    conv = functools.partial(recurrence.causal_conv, axis=axis)

  inner, channels = config.d_inner, config.conv_channels
  z, xBC, dt = jnp.split(
    _linear(params, "in_proj", x.astype(dtype)),
    (inner, inner + channels),
    axis=-1,
  )
  xBC, window = conv(
    xBC, params["conv_weight"], params.get("conv_bias"), state.conv, reset
  )
  dt = jax.nn.softplus(dt + params["dt_bias"])
  if config.dt_limit != (0.0, math.inf):
    dt = jnp.clip(dt, *config.dt_limit)
  y, ssm = _ssm(
    config, params, jax.nn.silu(xBC), dt, state.ssm, reset, step, axis
  )
  y = _rms_norm(config, y * jax.nn.silu(z), params["norm_scale"])
  y = _linear(params, "out_proj", y)
  return y.astype(x.dtype), State(window, ssm)


def _ssm(config, params, xBC, dt, state, reset, step, axis):
  """The recurrence: xBC (..., conv_channels), dt (..., heads)."""
  lead, inner = xBC.shape[:-1], config.d_inner
  states = config.ngroups * config.d_state
  x, B, C = jnp.split(xBC, (inner, inner + states), axis=-1)
  x = x.reshape(*lead, config.heads, config.head_width)
  B, C = (
    leaf.reshape(*lead, config.ngroups, config.d_state) for leaf in (B, C)
  )
  decay = (-jnp.exp(params["A_log"]) * dt)[..., None]
  scaled = dt[..., None] * x
  if step:
    # Heads are batch axes of a step.
    per_group = config.heads // config.ngroups
    B, C = (jnp.repeat(leaf, per_group, axis=-2) for leaf in (B, C))
    if reset is not None:
      reset = jnp.broadcast_to(reset[..., None], (*lead, config.heads))
    y, state = recurrence.outer_step(C, B, scaled, decay, state, reset=reset)
  else:
    y, state = recurrence.outer_scan_heads(
      C,
      B,
      scaled,
      decay,
      state,
      axis=axis,
      reset=reset,
      chunk_size=config.chunk_size,
    )
  y = y + params["D"][:, None] * x
  return y.reshape(*lead, inner), state


def _rms_norm(config, x, scale):
  groups = x.reshape(*x.shape[:-1], config.norm_groups, -1)
  mean_square = jnp.mean(jnp.square(groups), axis=-1, keepdims=True)
  groups = groups * jax.lax.rsqrt(mean_square + config.norm_eps)
  return groups.reshape(x.shape) * scale


def _linear(params, name, x):
  y = recurrence.dense(x, params[name])
  bias = params.get(f"{name}_bias")
  return y if bias is None else y + bias
