"""Blocks of Mamba and Mamba-2: options and biases that both have."""

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp

from jaxseq.mixers import contract
from jaxseq.mixers.state_space import discretize

Params = contract.Params

# Declarations that both share.
TRAITS = contract.Traits(
  # What the papers' code keeps weight decay away from.
  ssm_parameters=("A_log", "D", "dt_bias"),
  block={"activation": "none"},
)


@dataclasses.dataclass(frozen=True)
class Config(contract.Options):
  """Options that both have.

  Attributes:
    d_model: width of inputs and outputs.
    expand: d_inner / d_model, where d_inner is the number of channels inside.
    d_state: states per channel, N.
    d_conv: width of the convolution, the present element counted.
    dt_min: smallest initial step size.
    dt_max: largest initial step size; steps are drawn log-uniformly.
    dt_init_floor: lower bound on initial step sizes.
    conv_bias: whether the convolution has a bias.
    bias: whether in_proj and out_proj have biases.
  """

  d_model: int
  expand: int = 2
  d_state: int = 16
  d_conv: int = 4
  dt_min: float = 0.001
  dt_max: float = 0.1
  dt_init_floor: float = 1e-4
  conv_bias: bool = True
  bias: bool = False

  def __post_init__(self):
    contract.literals(self)
    contract.fields(
      self,
      positive=("d_model", "expand", "d_state", "d_conv"),
      above_zero=("dt_init_floor",),
    )
    discretize.check_step_sizes(self)

  @property
  def d_inner(self) -> int:
    """Number of channels inside."""
    return self.expand * self.d_model

  @property
  def biases_out(self) -> bool:
    """True if out_proj has a bias."""
    return self.bias


def convolved(
  conv: Callable[..., tuple[jax.Array, jax.Array]],
  params: Params,
  x: jax.Array,
  window: jax.Array,
  reset: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
  """Values silu of the convolution `conv` of x, like x, and the window."""
  # Of narrow x the gradient convolves again, and keeps x alone.

  def run(x, weight, bias, window):
    y, window = conv(x, weight, bias, window, reset)
    return contract.pointwise(jax.nn.silu, y.astype(x.dtype)), window

  if x.dtype != contract.wide_dtype(x):
    run = jax.checkpoint(run)
  return run(x, params["conv_weight"], params.get("conv_bias"), window)


def add_biases(params: Params, key: jax.Array, config: Config) -> Params:
  """Adds the biases that the options ask for; returns the parameters."""
  taps, channels = params["conv_weight"].shape
  if config.conv_bias:
    params["conv_bias"] = contract.uniform(key, (channels,), taps)
  for name, biased in (
    ("in_proj", config.bias),
    ("out_proj", config.biases_out),
  ):
    if biased:
      width = params[name].shape[1]
      params[f"{name}_bias"] = jnp.zeros((width,), jnp.float32)
  return params
