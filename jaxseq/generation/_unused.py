"""States without the unused parts of their arrays.

A window of attention has the same size after a word as after a book. Its unused
elements are zeros at one of its ends, for any mixer, and need not be stored.
"""

import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq.types import PyTree

# Arrays with fewer elements are not cut.
_LEAST = 1024


class Cut(NamedTuple):
  """A part of an array whose other elements are zeros."""

  part: jax.Array  # Its length is a power of two.
  first: int  # Its first place.
  axis: int  # Along which it was cut.
  size: int  # Length of that axis before the cut.

  @property
  def nbytes(self) -> int:
    """Bytes of the part."""
    return self.part.nbytes


def cut(tree: PyTree) -> PyTree:
  """Returns a pytree of arrays in which those with unused parts are `Cut`."""
  leaves, structure = jax.tree.flatten(tree)
  large = [i for i, leaf in enumerate(leaves) if _is_large(leaf)]
  used = jax.device_get([_used(leaves[i]) for i in large])
  for i, axes in zip(large, used, strict=True):
    leaves[i] = _shortest(leaves[i], axes)
  return jax.tree.unflatten(structure, leaves)


def whole(tree: PyTree) -> PyTree:
  """Restores the argument of `cut`."""

  def leaf(value):
    if not isinstance(value, Cut):
      return value
    return _padded(value.axis, value.size, value.part, np.int32(value.first))

  return jax.tree.map(leaf, tree, is_leaf=is_cut)


def is_cut(value: object) -> bool:
  """True for a part of an array."""
  return isinstance(value, Cut)


def _is_large(leaf: object) -> bool:
  """True for an array that is large enough to be cut."""
  return isinstance(leaf, jax.Array) and leaf.size >= _LEAST and leaf.ndim > 2


@jax.jit
def _used(leaf):
  """Returns the used places of each axis except the first."""
  some = leaf != 0
  if jnp.issubdtype(leaf.dtype, jnp.floating):
    some = some | jnp.signbit(leaf)
  return [
    jnp.any(some, axis=tuple(i for i in range(leaf.ndim) if i != axis))
    for axis in range(1, leaf.ndim)
  ]


def _shortest(leaf, used):
  """Cuts an array along the axis with the smallest used share."""
  choices = []
  for axis, mask in enumerate(used, 1):
    places = np.flatnonzero(mask)
    first, last = (places[0], places[-1]) if len(places) else (0, 0)
    size, full = 1 << int(last - first).bit_length(), leaf.shape[axis]
    choices.append((size / full, axis, size, min(first, full - size)))
  share, axis, size, first = min(choices)
  if share >= 1:
    return leaf
  part = _part(axis, size, leaf, np.int32(first))
  return Cut(part, int(first), axis, leaf.shape[axis])


@functools.partial(jax.jit, static_argnums=(0, 1))
def _part(axis, size, leaf, first):
  """A part of an array."""
  return lax.dynamic_slice_in_dim(leaf, first, size, axis)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _padded(axis, size, part, first):
  """Returns the whole array from its part."""
  shape = *part.shape[:axis], size, *part.shape[axis + 1 :]
  zeros = jnp.zeros(shape, part.dtype)
  return lax.dynamic_update_slice_in_dim(zeros, part, first, axis)
