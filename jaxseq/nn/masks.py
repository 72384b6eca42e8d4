"""Masks of padded sequences, and of rows."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.types import PyTree


def inside(time: int, lengths: jax.typing.ArrayLike) -> jax.Array:
  """Returns a mask of the valid elements, False for padding.

  Args:
    time: number of elements, including padding.
    lengths: (*batch,) numbers of valid elements; nested lists, too.

  Returns:
    (*batch, time) bool: a NumPy array if `lengths` is one.
  """
  numbers = np if isinstance(lengths, np.ndarray) else jnp
  return numbers.arange(time) < numbers.asarray(lengths)[..., None]


def choose(flags: jax.Array, new: PyTree, old: PyTree) -> PyTree:
  """Selects `new` if flags of leading axes are set, else `old`."""

  def leaf(new, old):
    wide = flags.reshape(flags.shape + (1,) * (new.ndim - flags.ndim))
    return jnp.where(wide, new, old)

  return jax.tree.map(leaf, new, old)
