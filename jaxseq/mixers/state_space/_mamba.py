"""Options and biases that the blocks of Mamba have in common."""

import dataclasses

import jax
import jax.numpy as jnp

from jaxseq.mixers import contract
from jaxseq.mixers.state_space import discretize

# Declarations that all Mamba mixers share.
TRAITS = contract.Traits(
  # Parameters without weight decay in the papers' code.
  ssm_parameters=("A_log", "D", "dt_bias"),
  block={"activation": "none"},
)


@dataclasses.dataclass(frozen=True)
class Inner(discretize.FlooredSteps):
  """Options of all Mamba mixers.

  Attributes:
    expand: d_inner / d_model, where d_inner is the number of inner channels.
    d_state: states per channel, N.
  """

  expand: int = 2
  d_state: int = 16

  @property
  def inside(self) -> str:
    """Name of the option that d_inner is computed from."""
    return "expand * d_model"

  @property
  def d_inner(self) -> int:
    """Number of channels inside."""
    return self.expand * self.d_model


@dataclasses.dataclass(frozen=True)
class Heads(Inner):
  """Options of blocks with heads.

  Attributes:
    headdim: channels of a head, P; if None, 64 or, if that does not divide
      d_inner, the largest smaller divisor.
    ngroups: groups of heads that share B and C.
  """

  d_state: int = 128
  headdim: int | None = None
  ngroups: int = 1

  def __post_init__(self):
    super().__post_init__()
    inside = {self.inside: self.d_inner}
    contract.divisor("headdim", self.head_width, **inside)
    contract.divisor("ngroups", self.ngroups, heads=self.heads)

  @property
  def head_width(self) -> int:
    """Channels of a head."""
    return self.headdim or contract.largest_divisor(self.d_inner, 64)

  @property
  def heads(self) -> int:
    """Number of heads."""
    return self.d_inner // self.head_width


@dataclasses.dataclass(frozen=True)
class Config(Inner):
  """Options that Mamba and Mamba-2 have.

  Attributes:
    d_conv: width of the convolution, the present element counted.
    conv_bias: whether the convolution has a bias.
    bias: whether in_proj and out_proj have biases.
  """

  d_conv: int = 4
  conv_bias: bool = True
  bias: bool = False

  @property
  def biases_out(self) -> bool:
    """True if out_proj has a bias."""
    return self.bias


def add_biases(
  params: contract.Params, key: jax.Array, config: Config
) -> contract.Params:
  """Adds the biases of the options; returns the parameters."""
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
