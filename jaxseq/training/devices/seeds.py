"""The same program for many seeds, side by side and over all devices."""

from collections.abc import Callable
import os
import re
from typing import Any

import jax
import jax.numpy as jnp

from jaxseq.types import T


def split_cpu() -> None:
  """Makes every CPU core a device of its own.

  A small network leaves a second core idle, however many threads share the
  work of one seed; two seeds on a core each take half the time.

  To be called before anything uses a device. Nothing changes if the number of
  CPU devices has been set already, nor where several processes have joined:
  they use devices to do so, and may share the cores.
  """
  os.environ.setdefault("NPROC", str(_pool_size()))
  if jax.distributed.is_initialized():
    return
  flags = os.environ.get("XLA_FLAGS", "")
  if "xla_force_host_platform_device_count" in flags:
    return
  if jax.config.jax_num_cpu_devices > 0:
    return
  jax.config.update("jax_num_cpu_devices", num_cores())


def num_cores() -> int:
  """Returns how many CPU cores this process may use."""
  # Of a process that is bound to some cores only Linux can tell.
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def _pool_size() -> int:
  """Returns the number of threads of XLA's pool, which it reads from NPROC."""
  forced = re.search(
    r"xla_force_host_platform_device_count=(\d+)",
    os.environ.get("XLA_FLAGS", ""),
  )
  devices = int(forced[1]) if forced else jax.config.jax_num_cpu_devices
  # A device may keep a thread waiting for the others: one more is free. With
  # two for two cores jax 0.10.2 can wait for ever; a pool of 8 there trains S5
  # by PPO at two thirds to four fifths of the speed (`benchmarks.threads`).
  return max(num_cores(), devices) + 1


def over(
  function: Callable, *, shared: int = 0, one_by_one: bool | None = None
) -> Callable:
  """Maps a function over a leading axis of seeds, wherever they are: `jit`."""

  def mapped(*arguments):
    mapped_arguments = arguments[: len(arguments) - shared]
    rest = arguments[len(mapped_arguments) :]

    def of_one(mapped_arguments):
      return function(*mapped_arguments, *rest)

    in_turn = one_by_one
    if in_turn is None:
      # A product of one seed's matrices is as quick as a CPU can be; those of
      # several at once, by `vmap`, take up to three times as long a seed.
      in_turn = jax.default_backend() == "cpu"
    if not in_turn:
      return jax.vmap(of_one)(mapped_arguments)
    if any(leaf.shape[0] > 1 for leaf in jax.tree.leaves(mapped_arguments)):
      return jax.lax.map(of_one, mapped_arguments)
    # No loop, and no axis of length 1 in every operation.
    single = of_one(jax.tree.map(lambda leaf: leaf[0], mapped_arguments))
    return jax.tree.map(lambda leaf: jnp.expand_dims(leaf, 0), single)

  return mapped


def jit(
  function: Callable,
  num_seeds: int,
  *,
  shared: int = 0,
  one_by_one: bool | None = None,
  **options: Any,
) -> Callable:
  """Compiles a function mapped over a leading axis of seeds.

  The seeds are dealt out evenly to as many devices as possible, which then
  work independently. A GPU or TPU runs its seeds by `vmap`, a CPU one after the
  other.

  Args:
    function: a function of pytrees of arrays, for one seed.
    num_seeds: length of the leading axis.
    shared: how many of the last arguments have no axis of seeds: all seeds get
      them whole. See `share`.
    one_by_one: whether a device takes its seeds one after the other; None:
      as above. Initialization needs it: on CPU, jax 0.10.2 waits for ever when
      there are as many batched QR decompositions at once as the pool has
      threads. False for arrays that are changed in place, such as a replay,
      which would be copied in every call.
    **options: of `jax.jit`.

  Returns:
    The function on pytrees that have a leading axis of seeds, but for the
    shared ones.
  """
  devices = jax.local_device_count()
  if jax.default_backend() == "cpu" and 1 < devices == num_devices(num_seeds):
    # No core is idle: threads of one seed would only disturb the others.
    settings = {"xla_cpu_multi_thread_eigen": False}
    settings |= options.pop("compiler_options", {})
    options["compiler_options"] = settings
  mapped = over(function, shared=shared, one_by_one=one_by_one)
  mesh = _mesh(num_seeds)
  if mesh is None:
    return jax.jit(mapped, **options)
  by_seed = jax.sharding.PartitionSpec("seeds")

  def spread_out(*arguments):
    placements = (by_seed,) * (len(arguments) - shared)
    specs = placements + (jax.sharding.PartitionSpec(),) * shared
    return jax.shard_map(
      mapped, mesh=mesh, in_specs=specs, out_specs=by_seed, check_vma=False
    )(*arguments)

  return jax.jit(spread_out, **options)


def share(tree: T, num_seeds: int) -> T:
  """Puts arrays onto all devices that `jit` uses, once and for all calls."""
  mesh = _mesh(num_seeds)
  if mesh is None:
    return jax.device_put(tree)
  everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  return jax.device_put(tree, everywhere)


def _mesh(num_seeds: int) -> jax.sharding.Mesh | None:
  """Returns the devices that share the seeds; None if that is one."""
  count = num_devices(num_seeds)
  if count == 1:
    return None
  return jax.sharding.Mesh(jax.local_devices()[:count], ("seeds",))


def num_devices(num_seeds: int) -> int:
  """Returns the largest number of devices that can have equally many seeds."""
  available = range(1, jax.local_device_count() + 1)
  return max(count for count in available if num_seeds % count == 0)
