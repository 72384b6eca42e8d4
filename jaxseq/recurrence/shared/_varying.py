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


def vary_as_all(like: PyTree, tree: PyTree) -> PyTree:
  """The leaves of `tree`, which vary over devices as all of `like` do, too."""
  for leaf in jax.tree.leaves(like):
    tree = jax.tree.map(functools.partial(vary_as, leaf), tree)
  return tree
