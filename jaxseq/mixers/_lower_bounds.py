"""Lower bounds of forget gates that grow from layer to layer, as in HGRN."""

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.mixers import contract


def check(lower_bound: float) -> None:
  """Checks the bound of a configuration.

  Raises:
    ValueError: unless it is a number from 0 to below 1.
  """
  if not 0 <= lower_bound < 1:
    expected = "a number from 0 to below 1"
    raise contract.error("lower_bound", lower_bound, expected)


def given(config, channels, lower_bound, x, axis):
  """Returns the bound of `apply`, a number or one for each channel."""
  if lower_bound is None:
    return config.lower_bound
  validate.shape("lower_bound", lower_bound, (channels,))
  lower_bound = jnp.asarray(lower_bound, contract.wide_dtype(x))
  return contract.varying_as(x, lower_bound) if axis is None else lower_bound


def of_layers(gamma: jax.Array) -> jax.Array:
  """Returns sums over layers of a softmax over all layers, less the first."""
  validate.shape("gamma", gamma, ("layers", "channels"))
  parts = jax.nn.softmax(gamma, axis=0)
  return jnp.cumsum(parts, axis=0) - parts[0]
