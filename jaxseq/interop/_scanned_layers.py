"""Parameters of scanned layers, stacked and split."""

import dataclasses

from flax import traverse_util
import jax
import jax.numpy as jnp

from jaxseq import nn
from jaxseq.types import PyTree


def configured(config: nn.NetworkConfig, scan_layers: bool) -> nn.NetworkConfig:
  """Returns the configuration with its layers scanned, or not."""
  stack = dataclasses.replace(config.stack, scan_layers=scan_layers)
  return dataclasses.replace(config, stack=stack)


def stacked(stack: PyTree) -> PyTree:
  """Returns parameters of a stack with its layers along a leading axis."""
  count = sum(name.startswith("layers_") for name in stack)
  rest = dict(stack)
  layers = [
    traverse_util.flatten_dict(rest.pop(f"layers_{i}")) for i in range(count)
  ]
  # Each leaf is released once it is in its stack.
  layer = {
    path: _stacked([one.pop(path) for one in layers])
    for path in list(layers[0])
  }
  return {**rest, "layers": traverse_util.unflatten_dict(layer)}


def _stacked(leaves):
  """Stacks arrays, or weights of several arrays, with the first's structure."""
  arrays = zip(*map(jax.tree.leaves, leaves))
  structure = jax.tree.structure(leaves[0])
  return jax.tree.unflatten(structure, map(jnp.stack, arrays))


def split(params: PyTree, num_layers: int) -> PyTree:
  """Returns parameters of a stack with each layer by itself.

  Raises:
    ValueError: if a parameter does not have so many layers.
  """
  rest = dict(params.get("stack", {}))
  layers = rest.pop("layers", {})
  for leaf in jax.tree.leaves(layers):
    if jnp.shape(leaf)[:1] != (num_layers,):
      raise ValueError(
        f"variables: got a parameter of shape {jnp.shape(leaf)}, expected "
        f"{num_layers} scanned layers, as the config says."
      )
  return rest | {
    f"layers_{i}": jax.tree.map(lambda leaf, i=i: leaf[i], layers)
    for i in range(num_layers)
  }
