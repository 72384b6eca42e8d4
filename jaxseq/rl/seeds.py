"""The same program for many seeds, side by side and over all devices."""

from collections.abc import Callable
import math

import jax


def spread(function: Callable, num_seeds: int) -> Callable:
  """Maps a function over a leading axis of seeds.

  Where the number of devices and that of seeds have a common divisor, the
  seeds are dealt out to that many devices, which then work independently; on
  each device its seeds are run by `vmap`.

  Args:
    function: a function of pytrees of arrays, for one seed.
    num_seeds: length of the leading axis.

  Returns:
    The function on pytrees that all have a leading axis of seeds.
  """
  mapped = jax.vmap(function)
  count = math.gcd(num_seeds, jax.local_device_count())
  if count == 1:
    return mapped
  mesh = jax.sharding.Mesh(jax.local_devices()[:count], ("seeds",))
  by_seed = jax.sharding.PartitionSpec("seeds")
  return jax.shard_map(
    mapped, mesh=mesh, in_specs=by_seed, out_specs=by_seed, check_vma=False
  )
