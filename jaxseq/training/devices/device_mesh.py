"""One program on many devices: examples, parameters and time shared out.

A mesh of devices has three axes. The examples of a batch are dealt out along
"data" and "parameters"; every array of parameters (and of the optimizer) is cut
along "parameters", and XLA puts it together where it is used (ZeRO, arXiv:
1910.02054, stage 3); the mixers split time along "time", see `nn.StackConfig`.
The program is that of one device: XLA cuts it into pieces, and random numbers
do not depend on the cut, so that only rounding differs. That is why a run may
go on with another mesh than it began with.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import functools
import math
from typing import Any

import jax
import numpy as np

from jaxseq import _machine
from jaxseq import validate
from jaxseq.training import errors
from jaxseq.types import PyTree
from jaxseq.types import T

DATA = "data"
PARAMETERS = "parameters"
TIME = "time"

_P = jax.sharding.PartitionSpec
# Splitting smaller arrays costs more messages than it saves memory.
_MIN_SIZE = 1024


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """The devices that share a run; 1, 1, 1 is a run without a mesh.

  Attributes:
    data: groups of devices that share the examples of a batch; 0 for as many
      as the other fields leave.
    parameters: devices of a group that share the parameters, and the examples
      of the group.
    time: devices that share the time axis of every mixer.
    split_data: whether a device keeps only its part of the data set. Batches
      are then put together over the devices. If false, every device has all of
      it.
  """

  data: int = 1
  parameters: int = 1
  time: int = 1
  split_data: bool = False

  def __post_init__(self):
    for name, least in (("data", 0), ("parameters", 1), ("time", 1)):
      validate.integer(f"mesh.{name}", getattr(self, name), least)

  @property
  def trivial(self) -> bool:
    """True if this is one device."""
    return (self.data, self.parameters, self.time) == (1, 1, 1)


def parse(pairs: Sequence[str], config: MeshConfig) -> MeshConfig:
  """Changes a configuration as the flag `--mesh` asks: ["data=4", "time=2"].

  Raises:
    UserError: an item is not "FIELD=VALUE", or a field or its value is wrong.
  """
  types = {field.name: field.type for field in dataclasses.fields(MeshConfig)}
  changed = {}
  for pair in pairs:
    name, _, value = pair.partition("=")
    if name not in types or not value.isdecimal():
      raise errors.UserError(
        f"--mesh: got {pair!r}, expected NAME=NUMBER, a whole number from 0, "
        f"with a name of {', '.join(types)}"
      )
    if name in changed or (types[name] is bool and value not in ("0", "1")):
      raise errors.UserError(
        f"--mesh: got {pair!r}, expected every name once, and split_data=0 or "
        "split_data=1"
      )
    changed[name] = types[name](int(value))
  try:
    return dataclasses.replace(config, **changed)
  except ValueError as error:
    raise errors.UserError(f"--mesh: {error}") from error


def make(config: MeshConfig) -> jax.sharding.Mesh | None:
  """Returns the mesh over the devices of all processes; None for one device.

  Raises:
    UserError: (a ValueError) there are fewer devices, or `data=0` does not come
      out even, or a process would have none, or several processes have no mesh.
  """
  if config.trivial:
    if jax.process_count() > 1:
      raise errors.UserError(
        f"mesh: got one device, expected one of the {jax.device_count()} of "
        f"{jax.process_count()} processes each: set config.mesh.data=0 to "
        "share the examples between all"
      )
    return None
  total = jax.device_count()
  rest = config.parameters * config.time
  data = config.data or total // rest
  count, wrong = data * rest, None
  shape = f"{config.data} x {config.parameters} x {config.time}"
  shape += " (data, parameters, time)"
  if not config.data and (not data or total % rest):
    shape = f"parameters={config.parameters} and time={config.time}"
    wrong = f"a product that divides the {total} devices"
  elif count > total:
    wrong = f"at most the {total} devices that there are"
  elif jax.process_count() > 1 and count != total:
    wrong = f"all {total} devices, as there are {jax.process_count()} processes"
  if wrong:
    raise errors.UserError(f"mesh: got {shape}, expected {wrong}")
  # Neighbors on the last axis are close to each other.
  return jax.make_mesh(
    (data, config.parameters, config.time),
    (DATA, PARAMETERS, TIME),
    axis_types=(jax.sharding.AxisType.Auto,) * 3,
    devices=jax.devices()[:count],
  )


def jit(function: Callable, mesh: jax.sharding.Mesh, **options: Any):
  """Compiles a function by `jax.jit` in a mesh, which `spread` then finds."""
  compiled = jax.jit(function, **options)

  @functools.wraps(function)
  def call(*arguments):
    with jax.set_mesh(mesh):
      return compiled(*arguments)

  return call


def spread(tree: T, noun: str = "examples of a batch") -> T:
  """Deals the examples of a batch out; without a mesh it changes nothing.

  Args:
    tree: pytree of arrays with a leading axis of examples, and of scalars,
      inside `jit`.
    noun: name of the examples, for the message.

  Raises:
    UserError: (a ValueError) the examples do not come out even.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if DATA not in mesh.axis_names:
    return tree
  count = _count(mesh)

  def put(x):
    if not x.ndim:
      return x
    if x.shape[0] % count:
      raise errors.UserError(
        f"mesh: got {count} groups of devices for the {x.shape[0]} {noun}, "
        "expected a divisor of these (data times parameters)"
      )
    free = (_P.UNCONSTRAINED,) * (x.ndim - 1)
    return jax.lax.with_sharding_constraint(x, _P((DATA, PARAMETERS), *free))

  return jax.tree.map(put, tree)


def spread_evenly(tree: T) -> T:
  """`spread`, but arrays that do not come out even stay where XLA puts them.

  For evaluations, whose last batch is shorter, and for environments of several
  kinds, which are arrays of several lengths.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if DATA not in mesh.axis_names:
    return tree
  count = _count(mesh)
  return jax.tree.map(
    lambda x: x if x.ndim and x.shape[0] % count else spread(x), tree
  )


def replicate(tree: T) -> T:
  """Puts arrays whole onto all devices, inside `jit`, if there is a mesh."""
  if DATA not in jax.sharding.get_abstract_mesh().axis_names:
    return tree
  return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, _P()), tree)


def whole(mesh: jax.sharding.Mesh) -> jax.sharding.NamedSharding:
  """Returns the placement of arrays that every device has whole."""
  return jax.sharding.NamedSharding(mesh, _P())


def cut_parameters(
  mesh: jax.sharding.Mesh, tree: PyTree, skip: int = 0
) -> PyTree:
  """Returns placements that share parameters out, in a tree's structure.

  Along "parameters" the longest axis that comes out even is cut, but for the
  first `skip` ones, such as that of seeds; arrays of fewer than 1024 items are
  whole.
  """
  count = mesh.shape[PARAMETERS]

  def place(x):
    axes = [i for i in range(skip, x.ndim) if x.shape[i] % count == 0]
    if count == 1 or not axes or math.prod(x.shape[skip:]) < _MIN_SIZE:
      return whole(mesh)
    longest = max(axes, key=lambda i: x.shape[i])
    return jax.sharding.NamedSharding(mesh, _P(*[None] * longest, PARAMETERS))

  return jax.tree.map(place, tree)


def cut_examples(
  mesh: jax.sharding.Mesh, tree: PyTree, axis: int = 0
) -> PyTree:
  """Returns placements that share examples out along an axis.

  Arrays without it, or whose axis does not come out even, are whole.
  """
  count = _count(mesh)

  def place(x):
    if np.ndim(x) <= axis or np.shape(x)[axis] % count:
      return whole(mesh)
    spec = _P(*[None] * axis, (DATA, PARAMETERS))
    return jax.sharding.NamedSharding(mesh, spec)

  return jax.tree.map(place, tree)


def place(tree: T, mesh: jax.sharding.Mesh, split: bool) -> T:
  """Puts a data set onto the devices.

  Every process takes from the host arrays what its own devices get, and reads
  no more than that of arrays that are memory-mapped (`np.memmap`).

  Args:
    tree: pytree of host arrays, the same on all processes.
    mesh: the mesh.
    split: whether examples (the first axis) are shared out. If false, every
      device gets all; as it does of sets whose examples do not come out even,
      but for the largest one.

  Returns:
    The tree, of arrays on the devices.

  Raises:
    UserError: the examples of the largest array cannot be shared out.
  """
  if split:
    largest = max(jax.tree.leaves(tree), key=np.size)
    examples, count = np.shape(largest)[:1], _count(mesh)
    if not examples or examples[0] % count:
      raise errors.UserError(
        f"--mesh: split_data=1 needs a number of examples that is a multiple of"
        f" {count}, the groups of devices; got {examples[0] if examples else 1}"
      )
  placements = (
    cut_examples(mesh, tree)
    if split
    else jax.tree.map(lambda _: whole(mesh), tree)
  )
  return jax.tree.map(put, tree, placements)


def put(array: np.ndarray, sharding: jax.sharding.Sharding) -> jax.Array:
  """Puts a host's array onto devices; those of this process get their parts."""
  return jax.make_array_from_callback(
    np.shape(array), sharding, lambda index: np.asarray(array[index])
  )


def split_time(config: MeshConfig, arm: T) -> T:
  """Makes the mixers of a configuration split time, if the mesh does.

  Every field "time_axis" in a dataclass, or in dataclasses in it, is set.
  """
  if config.time == 1:
    return arm
  changed = {}
  for field in dataclasses.fields(arm):
    value = getattr(arm, field.name)
    if field.name == "time_axis":
      changed[field.name] = TIME
    elif dataclasses.is_dataclass(value):
      changed[field.name] = split_time(config, value)
  return dataclasses.replace(arm, **changed)


def on_one_gpu() -> bool:
  """Returns whether traced code runs on one GPU, and no mesh cuts its arrays.

  A GPU's way of doing something with few kernels is then worth its while.
  Inside `jax.shard_map` each device runs a program of its own.
  """
  mesh = jax.sharding.get_abstract_mesh()
  platform, _ = _machine.machine()
  return platform == "gpu" and (mesh.empty or mesh.are_all_axes_manual)


def _count(mesh) -> int:
  return mesh.shape[DATA] * mesh.shape[PARAMETERS]
