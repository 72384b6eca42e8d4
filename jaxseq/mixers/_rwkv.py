"""Parts that all versions of RWKV have: token shift, initial values."""

import dataclasses
import math
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.mixers import contract

# `contract.Traits.block`: the block around the time mix of all versions.
BLOCK = {
  "activation": "none",
  "feedforward": "channel_mix",
  "norm_epsilon": 1e-5,
}


def mix(x: jax.Array, before: jax.Array, mu: jax.Array) -> jax.Array:
  """Returns x with a share mu (d_model,) of the element before."""
  return x + (before - x) * mu


@dataclasses.dataclass(frozen=True)
class Layer(contract.Options):
  """Base of a Config whose initial parameters depend on the layer's place.

  Attributes:
    layer: number of the layer in its network, from 0. Initial parameters depend
      on it.
    num_layers: number of layers in the network.
  """

  _: dataclasses.KW_ONLY
  layer: Annotated[int, None] = 0
  num_layers: int = 1

  def __post_init__(self):
    super().__post_init__()
    validate.integer("layer", self.layer, 0, self.num_layers - 1)


def depth(config: Layer) -> float:
  """Returns the layer's depth from 0, the first, to 1, the last; 0 if alone."""
  return config.layer / max(1, config.num_layers - 1)


def ramp(width: int) -> np.ndarray:
  """Numbers of the channels over the width, in float64."""
  return np.arange(width) / width


def orthogonal(
  key: jax.Array, shape: tuple[int, int], scale: float = 1.0
) -> jax.Array:
  """Draws an orthogonal matrix, times the root of columns over rows above 1."""
  rows, columns = shape
  scale *= max(1.0, math.sqrt(columns / rows))
  return jax.nn.initializers.orthogonal(scale)(key, shape, jnp.float32)
