"""Placement of a comparison's programs: seeds side by side, or on a mesh.

Without a mesh the seeds are dealt out to the devices of this process
(`seeds`). With one, all devices of all processes share all seeds.
"""

from collections.abc import Callable
from typing import Any

import jax

from jaxseq.training.devices import device_mesh
from jaxseq.training.devices import seeds
from jaxseq.types import PyTree
from jaxseq.types import T


def compiled(
  config: device_mesh.MeshConfig,
  num_seeds: int,
  function: Callable,
  *,
  shared: int = 0,
  one_by_one: bool | None = None,
  **options: Any,
) -> Callable:
  """Compiles a function of one seed for all seeds.

  The arguments are those of `seeds.jit` and the mesh. With one, results that
  the option `out_shardings` of `jax.jit` does not place are whole everywhere.

  Raises:
    UserError: (a ValueError) the mesh does not fit the devices.
  """
  mesh = device_mesh.make(config)
  if mesh is None:
    options.pop("out_shardings", None)
    return seeds.jit(
      function, num_seeds, shared=shared, one_by_one=one_by_one, **options
    )
  options.setdefault("out_shardings", device_mesh.whole(mesh))
  mapped = seeds.over(function, shared=shared, one_by_one=one_by_one)
  return device_mesh.jit(mapped, mesh, **options)


def share(config: device_mesh.MeshConfig, num_seeds: int, data: T) -> T:
  """Puts the host arrays of all seeds onto the devices, once for all calls."""
  mesh = device_mesh.make(config)
  if mesh is None:
    return seeds.share(data, num_seeds)
  return device_mesh.place(data, mesh, config.split_data)


def state_placements(
  config: device_mesh.MeshConfig, state: PyTree, examples: str
) -> PyTree:
  """Returns where the state of all seeds lies; None without a mesh.

  Args:
    config: the mesh.
    state: the state, or its shapes, with a leading axis of seeds: a NamedTuple
      with the fields `variables` and `opt_state`, which the devices along
      "parameters" share. Other fields are whole on every device.
    examples: name of the field whose arrays have an axis of examples behind
      that of the seeds.
  """
  mesh = device_mesh.make(config)
  if mesh is None:
    return None
  return jax.tree.map(lambda _: device_mesh.whole(mesh), state)._replace(
    variables=device_mesh.cut_parameters(mesh, state.variables, skip=1),
    opt_state=device_mesh.cut_parameters(mesh, state.opt_state, skip=1),
    **{
      examples: device_mesh.cut_examples(mesh, getattr(state, examples), axis=1)
    },
  )


def everywhere(
  config: device_mesh.MeshConfig,
) -> jax.sharding.NamedSharding | None:
  """Returns the placement of what every device has; None without a mesh."""
  mesh = device_mesh.make(config)
  return None if mesh is None else device_mesh.whole(mesh)


def gather(config: device_mesh.MeshConfig, tree: T) -> T:
  """Returns the host's copies of arrays that devices may share.

  With a mesh all processes have to call it.
  """
  sharding = everywhere(config)
  if sharding is not None:
    tree = jax.jit(lambda tree: tree, out_shardings=sharding)(tree)
  return jax.device_get(tree)


def create(config: device_mesh.MeshConfig, function: Callable[[], T]) -> T:
  """Returns what a function makes, such as keys, on all devices of a mesh."""
  sharding = everywhere(config)
  if sharding is None:
    return function()
  return jax.jit(function, out_shardings=sharding)()


def keys(
  config: device_mesh.MeshConfig, seed: int, num_seeds: int
) -> jax.Array:
  """Returns the keys of the seeds, on all devices if there is a mesh."""
  return create(
    config, lambda: jax.random.split(jax.random.key(seed), num_seeds)
  )
