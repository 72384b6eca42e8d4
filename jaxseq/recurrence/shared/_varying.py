"""Types of values that vary over the devices of `jax.shard_map`."""

import jax
from jax import lax


def vary_as(like: jax.Array, x: jax.Array) -> jax.Array:
  """`x` with the type of a value that varies over devices as another does.

  A loop whose carry begins with zeros needs it, and so does what `plgpu.kernel`
  returns, which does not say so itself.

  Args:
    like: the other; of no consequence outside `jax.shard_map`.
    x: an array.
  """
  varies = jax.typeof(like).manual_axis_type.varying
  missing = varies - jax.typeof(x).manual_axis_type.varying
  return lax.pcast(x, tuple(missing), to="varying") if missing else x
