"""The state that enters a device's chunk of time, from one small exchange.

Each device summarizes its chunk: its effect on the entering state. The operator
of the recurrence combines the summaries of two neighbors.
"""

from collections.abc import Callable
import functools
import math
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.platform import contexts
from jaxseq.types import PyTree

# Maps the summaries of two neighboring ranges of time, and the number of chunks
# in the right one, to the summary of both.
Combine = Callable[[PyTree, PyTree, int], PyTree]


# Bytes that a device may receive in one gather before "auto" prefers messages
# whose number grows with the logarithm of the devices.
_MOST_GATHERED = 2**20
_FEW_DEVICES = 8


def vary(axis: str, *trees: PyTree) -> Any:
  """Trees whose leaves have the type of values that differ between devices."""
  # Carries of loops, and cotangents of custom derivatives, must differ over the
  # same mesh axes before and after.
  zero = lax.axis_index(axis) * 0
  for leaf in jax.tree.leaves(trees):
    # A constant with the type of the leaf.
    zero = zero + jnp.zeros_like(leaf, zero.dtype, shape=())

  def mixed(leaf):
    leaf = jnp.asarray(leaf)
    if leaf.dtype == jnp.bool_:
      return leaf | (zero != 0)
    return leaf + zero.astype(leaf.dtype)

  trees = [jax.tree.map(mixed, tree) for tree in trees]
  return trees[0] if len(trees) == 1 else trees


def entering(
  summary: PyTree,
  initial: PyTree,
  neutral: PyTree,
  combine: Combine,
  *,
  axis: str,
  reverse: bool = False,
) -> tuple[PyTree, PyTree | None]:
  """Returns the combined summary of earlier chunks; and all, for `final`."""
  # "gather" is one `all_gather` of the packed summaries; each device combines
  # those it needs, with a tree: the single exchange of LASP-2 (Sun et al.,
  # arXiv:2502.07563, section 3), whose gradient is one reduce-scatter.
  # "ppermute" is a shift by one device and Hillis and Steele's scan over
  # devices ("Data parallel algorithms", 1986): ceil(log2(devices)) more
  # messages of one packed summary each, one after the other, and the same
  # number in the gradient. "auto" is "gather" if there are at most 8 devices,
  # or each receives at most 1 MiB by it: that follows from the volumes, and not
  # from a timing. `initial` is a summary that contains the state before the
  # whole sequence, `neutral` one that changes nothing on the left; `combine`
  # works on summaries with a further leading axis.
  exchange = contexts.exchange()
  devices = lax.axis_size(axis)
  summary, initial, neutral = vary(axis, summary, initial, neutral)
  if devices == 1:
    return initial, None
  rank = _rank(axis, reverse)
  packed, unpack = _pack(summary)
  if exchange == "auto":
    received = (devices - 1) * packed.size * packed.dtype.itemsize
    many = devices > _FEW_DEVICES and received > _MOST_GATHERED
    exchange = "ppermute" if many else "gather"
  if exchange == "ppermute":
    prefix = _by_ppermute(packed, unpack, initial, combine, axis, rank, reverse)
    return prefix, None
  if _varies(packed, axis):
    gathered, same = _gather(axis, packed)
  else:
    # Types are off (check_vma=False), so the gradient cannot use them either.
    gathered, same = lax.all_gather(packed, axis), None
  if reverse:
    gathered = gathered[::-1]
    same = None if same is None else same[::-1]
  # Earlier chunks come last, in order; the initial state before them.
  twice = jnp.concatenate([gathered, gathered])
  last = unpack(lax.dynamic_slice_in_dim(twice, rank, devices))
  start = devices - 1 - rank
  index = jnp.arange(devices)

  def place(leaf, first, nothing):
    device = index.reshape((devices,) + (1,) * (leaf.ndim - 1))
    leaf = jnp.where(device < start, nothing, leaf)
    return jnp.where(device == start, first, leaf)

  before = fold(combine, jax.tree.map(place, last, initial, neutral), neutral)
  return before, None if same is None else unpack(same)


def final(
  gathered: PyTree | None,
  initial: PyTree,
  neutral: PyTree,
  combine: Combine,
  last: PyTree,
  *,
  axis: str,
  reverse: bool = False,
) -> PyTree:
  """State after the whole sequence, the same on all devices."""
  # With the summaries gathered by `entering`, every device computes it itself.
  # Otherwise the device that is last in time sends its `last` state:
  # `replicate_last`. So it does if `initial`, `neutral` or arrays used by
  # `combine` have a type of values that differ between devices.
  if gathered is not None:
    # In front of all: a neutral summary is neutral only on the left.
    chunks = jax.tree.map(_in_front, initial, gathered)
    state = fold(combine, chunks, neutral).state
    result = jax.tree.map(lambda x, y: x.astype(y.dtype), state, last)
    if not any(_varies(leaf, axis) for leaf in jax.tree.leaves(result)):
      return result
  return replicate_last(last, axis, reverse=reverse)


def fold(combine: Combine, tree: PyTree, neutral: PyTree) -> PyTree:
  """Combination of all entries of the first axis, by a tree of neighbors."""
  # If the count is odd, the neutral one is first: the right one of any pair
  # then stands for a power of two of elements.
  hops = 1
  while (count := jax.tree.leaves(tree)[0].shape[0]) > 1:
    if count % 2:
      tree = jax.tree.map(_in_front, neutral, tree)
    pairs = [jax.tree.map(lambda leaf, i=i: leaf[i::2], tree) for i in (0, 1)]
    tree = combine(*pairs, hops)
    hops *= 2
  return jax.tree.map(lambda leaf: leaf[0], tree)


def _in_front(first, rest):
  first = jnp.broadcast_to(first, (1, *rest.shape[1:]))
  return jnp.concatenate([first, rest])


def replicate_last(tree: PyTree, axis: str, *, reverse: bool = False) -> PyTree:
  """Sends the tree of the device that is last in time to all devices."""
  packed, unpack = _pack(vary(axis, tree))
  is_last = _rank(axis, reverse) == lax.axis_size(axis) - 1
  return unpack(lax.psum(jnp.where(is_last, packed, 0), axis))


def _varies(x, axis):
  """True if, by its type, an array differs between devices."""
  return axis in jax.typeof(x).manual_axis_type.varying


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _gather(axis, packed):
  """Arrays of all devices, (devices, n), as varying and as equal ones."""
  same = lax.all_gather(packed, axis, to="invarying")
  return lax.pcast(same, axis, to="varying"), same


def _gather_forward(axis, packed):
  return _gather(axis, packed), None


def _gather_backward(axis, _, cotangents):
  local, same = cotangents
  index = lax.axis_index(axis)
  part = lax.dynamic_index_in_dim(same, index, keepdims=False)
  return (lax.psum_scatter(local, axis) + part,)


_gather.defvjp(_gather_forward, _gather_backward)


def _rank(axis, reverse):
  index = lax.axis_index(axis)
  return lax.axis_size(axis) - 1 - index if reverse else index


def _by_ppermute(packed, unpack, initial, combine, axis, rank, reverse):
  devices = lax.axis_size(axis)

  def send(x, hops):
    pairs = [(i, i + hops) for i in range(devices - hops)]
    if reverse:
      pairs = [(devices - 1 - i, devices - 1 - j) for i, j in pairs]
    return lax.ppermute(x, axis, pairs)

  packed = jnp.where(rank == 0, _pack(initial)[0], send(packed, 1))
  hops = 1
  while hops < devices:
    combined = combine(unpack(send(packed, hops)), unpack(packed), hops)
    # A device without a sender receives zeros.
    packed = jnp.where(rank >= hops, _pack(combined)[0], packed)
    hops *= 2
  return unpack(packed)


def _pack(tree):
  """Packs all leaves into a real vector; returns it and the inverse."""
  leaves, structure = jax.tree.flatten(tree)
  shapes = [(leaf.shape, leaf.dtype) for leaf in leaves]
  real = [leaf for leaf in leaves if leaf.dtype != jnp.bool_]
  dtype = jnp.result_type(jnp.float32, *map(jnp.real, real))

  def flat(leaf):
    if jnp.iscomplexobj(leaf):
      leaf = jnp.stack([jnp.real(leaf), jnp.imag(leaf)])
    return leaf.astype(dtype).reshape(-1)

  def unpack(packed):
    lead, start, out = packed.shape[:-1], 0, []
    for shape, leaf_dtype in shapes:
      is_complex = jnp.issubdtype(leaf_dtype, jnp.complexfloating)
      size = math.prod(shape) * (2 if is_complex else 1)
      part = packed[..., start : start + size]
      start += size
      if is_complex:
        part = lax.complex(*jnp.split(part, 2, axis=-1))
      part = part != 0 if leaf_dtype == jnp.bool_ else part.astype(leaf_dtype)
      out.append(part.reshape(lead + shape))
    return jax.tree.unflatten(structure, out)

  return jnp.concatenate([flat(leaf) for leaf in leaves]), unpack
