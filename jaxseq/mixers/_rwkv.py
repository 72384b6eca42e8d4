"""Parts that all versions of RWKV have: token shift, initial values."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import _validate

# `contract.Traits.block`: what stands around the time mix of all versions.
BLOCK = {
  "activation": "none",
  "feedforward": "channel_mix",
  "norm_epsilon": 1e-5,
}


def mix(x: jax.Array, before: jax.Array, mu: jax.Array) -> jax.Array:
  """Returns x with a share mu (d_model,) of the element before."""
  return x + (before - x) * mu


def check_layer(config: Any) -> None:
  """Raises ValueError unless config.layer is one of config.num_layers."""
  _validate.integer("layer", config.layer, 0, config.num_layers - 1)


def depth(config: Any) -> float:
  """The layer from 0, the first, to 1, the last; 0 if it is alone."""
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
