"""Moves of arrays inside `jax.shard_map`; `axis` names the mesh axis."""

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.types import PyTree


def shift(x: jax.Array, axis: str, hops: int = 1) -> jax.Array:
  """Sends to the device that is `hops` to the right, around the ring."""
  devices = lax.axis_size(axis)
  pairs = [(i, (i + hops) % devices) for i in range(devices)]
  return lax.ppermute(x, axis, pairs)


def joined(axis: str, tree: PyTree, along: int) -> PyTree:
  """Concatenates devices' arrays; the result is the same on all devices."""
  # By a sum, since the type of a gathered array says that devices differ.

  def join(leaf):
    shape = list(leaf.shape)
    shape[along] *= lax.axis_size(axis)
    begin = lax.axis_index(axis) * leaf.shape[along]
    whole = jnp.broadcast_to(jnp.zeros_like(leaf[:1].sum()), shape)
    whole = lax.dynamic_update_slice_in_dim(whole, leaf, begin, along)
    return lax.psum(whole, axis)

  return jax.tree.map(join, tree)


def own_slice(axis: str, x: jax.Array, along: int) -> jax.Array:
  """This device's share of an array that all devices have."""
  size = x.shape[along] // lax.axis_size(axis)
  begin = lax.axis_index(axis) * size
  return lax.dynamic_slice_in_dim(x, begin, size, along)


def may_branch() -> bool:
  """Returns whether devices may take different branches of a program."""
  mesh = jax.sharding.get_abstract_mesh()
  return all(mesh.shape[name] == 1 for name in mesh.auto_axes)
