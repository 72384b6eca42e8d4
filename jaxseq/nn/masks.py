"""Masks of sequences that are padded to one length, and of rows."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq._types import PyTree


def inside(time: int, lengths: jax.typing.ArrayLike) -> jax.Array:
  """Returns which elements are valid, and no padding behind these.

  Args:
    time: number of elements, padding counted.
    lengths: (*batch,) numbers of valid elements; nested lists, too.

  Returns:
    (*batch, time) bool: a NumPy array where `lengths` is one.
  """
  numbers = np if isinstance(lengths, np.ndarray) else jnp
  return numbers.arange(time) < numbers.asarray(lengths)[..., None]


def choose(flags: jax.Array, new: PyTree, old: PyTree) -> PyTree:
  """Returns `new` where flags of leading axes are set, and `old` elsewhere."""

  def leaf(new, old):
    wide = flags.reshape(flags.shape + (1,) * (new.ndim - flags.ndim))
    return jnp.where(wide, new, old)

  return jax.tree.map(leaf, new, old)
