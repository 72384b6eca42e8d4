"""Types of values that vary over the devices of `jax.shard_map`."""

import functools

import jax
from jax import lax

from jaxseq.types import PyTree


def vary_as(like: jax.Array, x: jax.Array) -> jax.Array:
  """`x` with the type of a value that varies over devices as another does."""
  varies = jax.typeof(like).manual_axis_type.varying
  missing = varies - jax.typeof(x).manual_axis_type.varying
  return lax.pcast(x, tuple(missing), to="varying") if missing else x


def alike(tree: PyTree) -> PyTree:
  """The leaves of a tree, each with the type of values that all vary as."""
  for like in jax.tree.leaves(tree):
    tree = jax.tree.map(functools.partial(vary_as, like), tree)
  return tree
