"""Devices that share the environments of a run, beside those that share seeds.

The environments of a batch are dealt out evenly, and every device holds all
parameters. It is the program of one device: XLA cuts it into pieces and puts
the sums of the gradients together, so that only rounding differs.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxseq.training import errors
from jaxseq.training import seeds

_ENVS = "envs"
_SEEDS = "seeds"


def check(devices: int, size: int) -> None:
  """Checks that environments can be dealt out.

  Args:
    devices: how many devices share them; 0 for all.
    size: environments that are worked on together.

  Raises:
    UserError: (a ValueError) there are fewer devices, or the environments
      cannot be dealt out evenly.
  """
  mesh = _mesh(devices)
  count = 1 if mesh is None else mesh.shape[_ENVS]
  if size % count:
    raise errors.UserError(
      f"devices: got {devices}, which makes {count} share the {size}"
      " environments of a minibatch, expected a divisor of these."
    )


def spread(tree: Any, devices: int) -> Any:
  """Deals a leading axis of environments out to devices.

  Args:
    tree: pytree of arrays. One whose axis cannot be dealt out evenly, such as
      a block of a mixture, is left where XLA wants it.
    devices: how many share the axis; 0 for all; 1 changes nothing.

  Returns:
    The tree, for use inside `jit`.
  """
  mesh = _mesh(devices)
  if mesh is None:
    return tree
  place = _place(mesh, jax.sharding.PartitionSpec(_ENVS))
  return jax.tree.map(
    lambda x: x if x.shape[0] % mesh.shape[_ENVS] else _put(x, place), tree
  )


def replicate(tree: Any, devices: int) -> Any:
  """Puts arrays onto all devices that share environments, whole.

  Args:
    tree: pytree of arrays.
    devices: as for `spread`.

  Returns:
    The tree, for use inside `jit`.
  """
  mesh = _mesh(devices)
  if mesh is None:
    return tree
  place = _place(mesh, jax.sharding.PartitionSpec())
  return jax.tree.map(lambda x: _put(x, place), tree)


def jit(
  function: Callable,
  num_seeds: int,
  devices: int,
  *,
  one_by_one: bool = False,
  **options: Any,
) -> Callable:
  """Compiles a function for many seeds, whose environments share devices.

  The devices form groups of `devices`. The seeds are dealt out evenly to as
  many groups as possible, as `seeds.spread` deals them out to devices.

  Args:
    function: a function of a pytree of arrays, for one seed. What it calls
      `spread` on is shared within a group.
    num_seeds: length of the leading axis.
    devices: how many share the environments of a seed. 0 for all that the
      seeds leave: two seeds on eight devices have four each.
    one_by_one: whether a group takes its seeds one after the other.
    **options: of `jax.jit`.

  Raises:
    UserError: (a ValueError) there are fewer devices.
  """
  total = _count(devices)
  groups = _largest_divisor(num_seeds, total // max(devices, 1))
  share = devices or total // groups
  if share == 1:
    return seeds.jit(function, num_seeds, one_by_one=one_by_one, **options)
  taking_part = np.array(jax.local_devices()[: groups * share])
  mesh = jax.sharding.Mesh(taking_part.reshape(groups, share), (_SEEDS, _ENVS))
  by_seed = jax.sharding.PartitionSpec(_SEEDS)

  def mapped(inputs):
    if one_by_one:
      return jax.lax.map(function, inputs)
    return jax.vmap(function)(inputs)

  # Groups work independently. Within one, XLA does what `spread` asks for.
  spread_out = jax.shard_map(
    mapped,
    mesh=mesh,
    in_specs=by_seed,
    out_specs=by_seed,
    axis_names={_SEEDS},
    check_vma=False,
  )
  return jax.jit(spread_out, **options)


def _mesh(devices: int) -> Any:
  """Returns the devices that share environments; None if that is one."""
  if devices == 1:
    return None
  total = _count(devices)
  around = jax.sharding.get_abstract_mesh()
  if _ENVS in around.axis_names:
    return around
  if not around.empty:
    if devices:
      raise errors.UserError(
        f"devices: got {devices}, expected 1 or 0 where seeds have been dealt"
        " out to single devices."
      )
    return None
  share = devices or total
  if share == 1:
    return None
  return jax.sharding.Mesh(jax.local_devices()[:share], (_ENVS,))


def _place(mesh, spec):
  """A sharding; around us a mesh goes without saying."""
  if isinstance(mesh, jax.sharding.AbstractMesh):
    return spec
  return jax.sharding.NamedSharding(mesh, spec)


def _put(x, place):
  return jax.lax.with_sharding_constraint(x, place)


def _count(devices: int) -> int:
  """Returns the number of devices, if it is not less than asked for."""
  total = jax.local_device_count()
  if devices > total:
    raise errors.UserError(
      f"devices: got {devices}, expected at most the {total} that there are."
    )
  return total


def _largest_divisor(number: int, limit: int) -> int:
  return max(n for n in range(1, limit + 1) if number % n == 0)
