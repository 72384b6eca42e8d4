"""Mamba: a selective state space model between two projections.

    x, z = split(in_proj u)
    x = silu(conv(x))                            causal, depthwise over time
    dt, B, C = split(x_proj x)
    delta = softplus(dt_proj dt + dt_bias)
    h_t = exp(delta_t A) h_{t-1} + delta_t B_t x_t,  A = -exp(A_log)
    y_t = C_t h_t + D x_t
    out_proj (y * silu(z))

Gu and Dao, "Mamba: Linear-time sequence modeling with selective state spaces",
arXiv:2312.00752, section 3.4, and its code. This is the whole block of the
paper; norm and residual around it are in `jaxseq.nn`.
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

DT_INITS = ("random", "constant")

# What the paper's code keeps weight decay away from.
SSM_PARAMETERS = ("A_log", "D", "dt_bias")


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of Mamba; the defaults are those of the paper's code.

  Attributes:
    d_model: width of inputs and outputs.
    expand: d_inner / d_model, where d_inner is the number of channels inside.
    d_state: states per channel, N.
    d_conv: width of the convolution, the present element counted.
    dt_rank: rank of the projection to the step sizes; d_model / 16, rounded
      up, if None.
    dt_min: smallest initial step size.
    dt_max: largest initial step size; steps are drawn log-uniformly.
    dt_init: "random": dt_proj is uniform in +-dt_scale / sqrt(dt_rank);
      "constant": it has that value everywhere.
    dt_scale: factor on dt_proj at the start.
    dt_init_floor: lower bound on initial step sizes.
    conv_bias: whether the convolution has a bias.
    bias: whether in_proj and out_proj have biases.
  """

  d_model: int
  expand: int = 2
  d_state: int = 16
  d_conv: int = 4
  dt_rank: int | None = None
  dt_min: float = 0.001
  dt_max: float = 0.1
  dt_init: str = "random"
  dt_scale: float = 1.0
  dt_init_floor: float = 1e-4
  conv_bias: bool = True
  bias: bool = False

  def __post_init__(self):
    _check.check_positive(self, "d_model", "expand", "d_state", "d_conv")
    if self.dt_rank is not None:
      _check.check_positive(self, "dt_rank")
    if not 0 < self.dt_min <= self.dt_max:
      raise ValueError(
        "dt_min and dt_max must satisfy 0 < dt_min <= dt_max; got "
        f"{self.dt_min} and {self.dt_max}."
      )
    if self.dt_init not in DT_INITS:
      raise ValueError(
        f"dt_init must be one of {DT_INITS}; got {self.dt_init!r}."
      )
    for name in ("dt_scale", "dt_init_floor"):
      if not getattr(self, name) > 0:
        raise ValueError(f"{name} must be positive; got {getattr(self, name)}.")

  @property
  def d_inner(self) -> int:
    """Number of channels inside."""
    return self.expand * self.d_model

  @property
  def rank(self) -> int:
    """Rank of the projection to the step sizes."""
    if self.dt_rank is None:
      return math.ceil(self.d_model / 16)
    return self.dt_rank


class State(NamedTuple):
  """State of Mamba.

  Attributes:
    conv: (*batch, d_conv - 1, d_inner), the last inputs of the convolution,
      oldest first.
    ssm: (*batch, d_inner, d_state).
  """

  conv: jax.Array
  ssm: jax.Array


def init(key: jax.Array, config: Config) -> Params:
  """Draws the parameters (arXiv:2312.00752, section 3.6, and its code).

  Args:
    key: random key.
    config: options.

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
  """
  width, inner, N = config.d_model, config.d_inner, config.d_state
  rank, taps = config.rank, config.d_conv
  keys = jax.random.split(key, 7)
  params = {
    "in_proj": _uniform(keys[0], (width, 2 * inner), width),
    "conv_weight": _uniform(keys[1], (taps, inner), taps),
    "x_proj": _uniform(keys[2], (inner, rank + 2 * N), inner),
    "dt_proj": config.dt_scale * _init_dt_proj(keys[3], config),
    "dt_bias": _init_dt_bias(keys[4], config),
    "A_log": jnp.log(
      jnp.tile(jnp.arange(1, N + 1, dtype=jnp.float32), (inner, 1))
    ),
    "D": jnp.ones((inner,), jnp.float32),
    "out_proj": _uniform(keys[5], (inner, width), inner),
  }
  if config.conv_bias:
    params["conv_bias"] = _uniform(keys[6], (inner,), taps)
  if config.bias:
    params["in_proj_bias"] = jnp.zeros((2 * inner,), jnp.float32)
    params["out_proj_bias"] = jnp.zeros((width,), jnp.float32)
  return params


def _uniform(key, shape, fan_in):
  """PyTorch's default for linear and convolutional layers."""
  bound = 1 / math.sqrt(fan_in)
  return jax.random.uniform(key, shape, jnp.float32, -bound, bound)


def _init_dt_proj(key, config):
  shape = config.rank, config.d_inner
  if config.dt_init == "constant":
    return jnp.full(shape, 1 / math.sqrt(config.rank), jnp.float32)
  return _uniform(key, shape, config.rank)


def _init_dt_bias(key, config):
  low, high = math.log(config.dt_min), math.log(config.dt_max)
  dt = jnp.exp(
    jax.random.uniform(key, (config.d_inner,), jnp.float32, low, high)
  )
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
  inner = config.d_inner
  return State(
    jnp.zeros((*batch_shape, config.d_conv - 1, inner), dtype),
    jnp.zeros((*batch_shape, inner, config.d_state), dtype),
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
  if step:
    conv, scan = recurrence.causal_conv_step, recurrence.selective_step
  else:
    conv = functools.partial(recurrence.causal_conv, axis=axis)
    scan = functools.partial(recurrence.selective_scan, axis=axis)

  inner, N = config.d_inner, config.d_state
  u = _linear(params, "in_proj", x.astype(dtype))
  u, z = u[..., :inner], u[..., inner:]
  u, window = conv(
    u, params["conv_weight"], params.get("conv_bias"), state.conv, reset
  )
  u = jax.nn.silu(u)
  low, B, C = jnp.split(
    recurrence.dense(u, params["x_proj"]),
    (config.rank, config.rank + N),
    axis=-1,
  )
  delta = jax.nn.softplus(
    recurrence.dense(low, params["dt_proj"]) + params["dt_bias"]
  )
  y, ssm = scan(
    u,
    delta,
    -jnp.exp(params["A_log"]),
    B,
    C,
    state.ssm,
    D=params["D"],
    reset=reset,
  )
  y = _linear(params, "out_proj", y * jax.nn.silu(z))
  return y.astype(x.dtype), State(window, ssm)


def _linear(params, name, x):
  y = recurrence.dense(x, params[name])
  bias = params.get(f"{name}_bias")
  return y if bias is None else y + bias
