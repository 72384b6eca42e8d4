"""Types of values that vary over the devices of `jax.shard_map`."""

import jax
from jax import lax

from jaxseq._types import T


def vary_as(like: jax.Array, x: jax.Array) -> jax.Array:
  """`x` with the type of a value that varies over devices as another does.

  A loop whose carry begins with zeros needs it, and so does what `plgpu.kernel`
  returns, which does not say so itself.

  Args:
    like: the other; of no consequence outside `jax.shard_map`.
    x: an array.
  """
  return _cast(_axes(like), x)


def alike(tree: T) -> T:
  """Arrays that all vary over the devices over which any of them does."""
  axes = frozenset().union(*map(_axes, jax.tree.leaves(tree)))
  return jax.tree.map(lambda x: _cast(axes, x), tree) if axes else tree


def _axes(x):
  return frozenset(jax.typeof(x).manual_axis_type.varying)


def _cast(axes, x):
  missing = axes - _axes(x)
  return lax.pcast(x, tuple(missing), to="varying") if missing else x
