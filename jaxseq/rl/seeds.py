"""The same program for many seeds, side by side and over all devices."""

from collections.abc import Callable
import functools
import os
from typing import Any

import jax


def split_cpu() -> None:
  """Makes every CPU core a device of its own.

  A small network leaves a second core idle, however many threads share the
  work of one seed; two seeds on a core each take half the time.

  To be called before anything uses a device; importing gymnax does. Nothing
  changes if the number of CPU devices has been set already.
  """
  # XLA sizes its thread pool from NPROC. jax 0.10.2 can wait for ever where
  # the pool has as few threads as the machine has cores, and they are two.
  os.environ.setdefault("NPROC", "8")
  flags = os.environ.get("XLA_FLAGS", "")
  if "xla_force_host_platform_device_count" in flags:
    return
  if jax.config.jax_num_cpu_devices > 0:
    return
  jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))


def spread(
  function: Callable, num_seeds: int, *, one_by_one: bool = False
) -> Callable:
  """Maps a function over a leading axis of seeds.

  The seeds are dealt out evenly to as many devices as possible, which then
  work independently; each device runs its seeds by `vmap`.

  Args:
    function: a function of pytrees of arrays, for one seed.
    num_seeds: length of the leading axis.
    one_by_one: whether a device takes its seeds one after the other instead.
      Initialisation needs it: on CPU, jax 0.10.2 waits for ever when there are
      as many batched QR decompositions at once as the pool has threads.

  Returns:
    The function on pytrees that all have a leading axis of seeds.
  """
  mapped = jax.vmap(function)
  if one_by_one:
    mapped = functools.partial(jax.lax.map, function)
  count = _devices(num_seeds)
  if count == 1:
    return mapped
  mesh = jax.sharding.Mesh(jax.local_devices()[:count], ("seeds",))
  by_seed = jax.sharding.PartitionSpec("seeds")
  return jax.shard_map(
    mapped, mesh=mesh, in_specs=by_seed, out_specs=by_seed, check_vma=False
  )


def jit(
  function: Callable,
  num_seeds: int,
  *,
  one_by_one: bool = False,
  **options: Any,
) -> Callable:
  """Compiles `spread(function, num_seeds, one_by_one=one_by_one)`.

  Args:
    function: a function of pytrees of arrays, for one seed.
    num_seeds: length of the leading axis.
    one_by_one: see `spread`.
    **options: of `jax.jit`.
  """
  devices = jax.local_device_count()
  if jax.default_backend() == "cpu" and 1 < devices == _devices(num_seeds):
    # No core is idle: threads of one seed would only disturb the others.
    settings = {"xla_cpu_multi_thread_eigen": False}
    settings |= options.pop("compiler_options", {})
    options["compiler_options"] = settings
  mapped = spread(function, num_seeds, one_by_one=one_by_one)
  return jax.jit(mapped, **options)


def _devices(num_seeds: int) -> int:
  """Returns the largest number of devices that can have equally many seeds."""
  available = range(1, jax.local_device_count() + 1)
  return max(count for count in available if num_seeds % count == 0)
