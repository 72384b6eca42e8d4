"""Loss and gradient of a planned batch on a mesh of devices.

The arrays of `jaxseq.planner.rows` run wave by wave. Each wave sees the devices
as a mesh (groups, sp): along "sp" the tokens of a row are split, and a model
that is parallel over the sequence exchanges its states or keys. Groups exchange
nothing before the end of the step, when the gradients are summed, so that no
group waits for another. The assignment of documents to rows, waves and devices
changes neither the loss nor its gradient: both are sums over targets, divided
by the number of targets of the whole batch.

  loss_and_grad = mixed_lengths.make_loss_and_grad(token_loss)
  batch = rows.lay_out(assignment, documents, chunks, uniform=True)
  loss, gradients = loss_and_grad(params, batch)

The devices may be those of several processes, which then all make the same
calls. Of the arrays of a batch each sends what its own devices hold; the rest
of them need not be right.
"""

from collections.abc import Callable
from collections.abc import Sequence
import functools

import jax
from jax import lax
from jax.extend import core
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.planner import rows
from jaxseq.training.devices import device_mesh
from jaxseq.types import PyTree

_Spec = jax.sharding.PartitionSpec

GROUPS = "groups"
SEQUENCE = "sp"

# (params, wave, axis) -> sum of the losses of this device's targets.
TokenLoss = Callable[[PyTree, rows.Wave, str], jax.Array]


def make_mesh(
  degree: int, devices: Sequence[jax.Device] | None = None
) -> jax.sharding.Mesh:
  """Returns the mesh (groups, sp) of neighboring devices.

  All if none are named, in the order of the plan; a ValueError if the degree,
  the devices of a group, does not divide their number.
  """
  devices = jax.devices() if devices is None else devices
  if degree < 1 or len(devices) % degree:
    raise validate.error(
      "degree", degree, f"a divisor of the number of devices, {len(devices)}"
    )
  return jax.sharding.Mesh(
    np.reshape(np.array(devices, object), (-1, degree)), (GROUPS, SEQUENCE)
  )


def make_loss_and_grad(
  token_loss: TokenLoss, devices: Sequence[jax.Device] | None = None
) -> Callable[[PyTree, rows.Batch], tuple[jax.Array, PyTree]]:
  """Binds a model's loss to the devices.

  Args:
    token_loss: called inside `jax.shard_map` with the parameters, this device's
      part of a wave, arrays (1, chunk), and the name of the axis over which the
      row is split. Returns the sum, not the mean, of the losses where
      `wave.mask` is true; scalar. It is traced once for every `rows.Key`.
    devices: the devices in the order of the plan, those of all processes; all
      if None.

  Returns:
    A function of the parameters and a batch that returns the loss per target
    and its gradient, whole on every device. With several processes all of them
    have to call it, with the same parameters and plan.
  """

  # Each device differentiates its own sum. What it gathered from others sends
  # their part of the gradient back to them, so that the sum over devices is
  # the gradient of the whole.
  def own(params, wave):
    return jax.value_and_grad(token_loss)(params, wave, SEQUENCE)

  return _make(own, lambda loss, params: (loss, params), devices)


def make_loss(
  token_loss: TokenLoss, devices: Sequence[jax.Device] | None = None
) -> Callable[[PyTree, rows.Batch], jax.Array]:
  """Returns `make_loss_and_grad`'s function without the gradient."""

  def own(params, wave):
    return token_loss(params, wave, SEQUENCE)

  return _make(own, lambda loss, params: loss, devices)


def _add(loss_of_wave, totals, params, wave, active, weight):
  """Adds a wave's values to the totals of a device, if its group is active."""

  def work(totals, params, wave, weight):
    return jax.tree.map(
      lambda x, y: x + weight * y, totals, loss_of_wave(params, wave)
    )

  arguments = totals, params, wave, weight
  traced = jax.make_jaxpr(work)(*arguments)

  def run():
    flat = core.jaxpr_as_fun(traced)(*jax.tree.leaves(arguments))
    return jax.tree.unflatten(jax.tree.structure(totals), flat)

  # Of a ppermute all devices have to be part, whatever the groups.
  if "ppermute" in str(traced):
    return run()
  return lax.cond(active[0], run, lambda: totals)


def _make(loss_of_wave, like, devices):
  """Returns what adds up arrays `like` (loss, params), of devices and waves."""

  @functools.cache
  def program(degree):
    mesh = make_mesh(degree, devices)
    split = _Spec(GROUPS, SEQUENCE)
    # Every device has totals of its own; their order is the same in all meshes.
    each = _Spec((GROUPS, SEQUENCE))

    mapped = jax.shard_map(
      functools.partial(_add, loss_of_wave),
      mesh=mesh,
      in_specs=(each, _Spec(), split, _Spec(GROUPS), _Spec()),
      out_specs=each,
      check_vma=False,
    )
    places = [
      jax.sharding.NamedSharding(mesh, spec)
      for spec in (each, _Spec(), split, _Spec(GROUPS))
    ]
    return jax.jit(mapped, donate_argnums=0), places

  @functools.cache
  def ends():
    """The first totals of all devices, from parameters; and their sums."""
    each, everywhere, *_ = program(1)[1]
    count = each.mesh.size

    def zeros(params):
      loss = jnp.zeros((), jnp.result_type(*jax.tree.leaves(params)))
      return jax.tree.map(
        lambda x: jnp.zeros((count, *x.shape), x.dtype), like(loss, params)
      )

    def sums(totals):
      return jax.tree.map(lambda x: jnp.sum(x, axis=0), totals)

    return (
      jax.jit(zeros, out_shardings=each),
      jax.jit(sums, out_shardings=everywhere),
    )

  def run(params, batch):
    if batch.num_targets < 1:
      raise ValueError(
        "batch: got no target, expected a document of at least 2 tokens."
      )
    zeros, sums = ends()
    each, everywhere, *_ = program(1)[1]
    params = {1: _relabel(params, everywhere)}
    totals = zeros(params[1])
    for key, wave, active in zip(batch.keys, batch.waves, batch.active):
      add, (own_place, whole, split, groups) = program(key.sp_degree)
      if key.sp_degree not in params:
        params[key.sp_degree] = _relabel(params[1], whole)
      totals = add(
        _relabel(totals, own_place),
        params[key.sp_degree],
        jax.tree.map(lambda x, place=split: device_mesh.put(x, place), wave),
        device_mesh.put(active, groups),
        1 / batch.num_targets,
      )
      if each.mesh.devices.flat[0].platform == "cpu":
        # Compiling the next wave's program takes the threads that the devices
        # of a group wait for; XLA gives up after 40 seconds.
        _wait(totals)
    return sums(_relabel(totals, each))

  return run


def _wait(tree):
  """Waits for arrays; does nothing if they are traced."""
  if not any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(tree)):
    jax.block_until_ready(tree)


def _relabel(tree, place):
  """Returns arrays on another mesh of the same devices, without a copy."""
  # jax 0.11.2 aborts on two meshes in one program, and cannot always move
  # arrays between processes.

  def move(x):
    if not isinstance(x, jax.Array) or isinstance(x, jax.core.Tracer):
      return jax.device_put(x, place)
    if x.is_fully_addressable:
      return jax.device_put(x, place)
    pieces = [shard.data for shard in x.addressable_shards]
    return jax.make_array_from_single_device_arrays(x.shape, place, pieces)

  return jax.tree.map(move, tree)
