"""Where the programs of a comparison run: seeds side by side, or on a mesh.

Without a mesh the seeds are dealt out to the devices of this process
(`seeds`). With one, all devices of all processes work on all seeds (`mesh`).
"""

from collections.abc import Callable
from typing import Any

import jax

from jaxseq.training import mesh as mesh_lib
from jaxseq.training import seeds
from jaxseq.training import supervised


def compiled(
  config: mesh_lib.MeshConfig,
  num_seeds: int,
  function: Callable,
  *,
  shared: int = 0,
  **options: Any,
) -> Callable:
  """Compiles a function of one seed for all seeds.

  Args:
    config: the mesh.
    num_seeds: length of the arguments' leading axis.
    function: of pytrees of arrays.
    shared: how many of the last arguments all seeds get whole.
    **options: of `jax.jit`. With a mesh, results that `out_shardings` does not
      place are whole on every device.

  Raises:
    UserError: (a ValueError) the mesh does not fit the devices.
  """
  mesh = mesh_lib.make(config)
  if mesh is None:
    options.pop("out_shardings", None)
    return seeds.jit(function, num_seeds, shared=shared, **options)
  options.setdefault("out_shardings", mesh_lib.whole(mesh))
  return mesh_lib.jit(seeds.over(function, shared=shared), mesh, **options)


def share(config: mesh_lib.MeshConfig, num_seeds: int, data: Any) -> Any:
  """Puts the data of all seeds onto the devices, once for all calls.

  Args:
    config: the mesh.
    num_seeds: number of seeds.
    data: pytree of host arrays.
  """
  mesh = mesh_lib.make(config)
  if mesh is None:
    return seeds.share(data, num_seeds)
  return mesh_lib.place(data, mesh, config.split_data)


def state_placements(config: mesh_lib.MeshConfig, state: Any) -> Any:
  """Returns where a `supervised.State` of all seeds lies; None without a mesh.

  Args:
    config: the mesh.
    state: the state, or its shapes, with a leading axis of seeds.
  """
  mesh = mesh_lib.make(config)
  if mesh is None:
    return None
  return supervised.State(
    mesh_lib.cut_parameters(mesh, state.variables, skip=1),
    mesh_lib.cut_parameters(mesh, state.opt_state, skip=1),
    mesh_lib.cut_examples(mesh, state.carry, axis=1),
    mesh_lib.whole(mesh),
    mesh_lib.whole(mesh),
  )


def everywhere(config: mesh_lib.MeshConfig) -> Any:
  """Returns the placement of what every device has; None without a mesh."""
  mesh = mesh_lib.make(config)
  return None if mesh is None else mesh_lib.whole(mesh)


def keys(config: mesh_lib.MeshConfig, seed: int, num_seeds: int) -> jax.Array:
  """Returns the keys of the seeds, on all devices if there is a mesh."""
  mesh = mesh_lib.make(config)

  def split():
    return jax.random.split(jax.random.key(seed), num_seeds)

  if mesh is None:
    return split()
  return jax.jit(split, out_shardings=mesh_lib.whole(mesh))()
