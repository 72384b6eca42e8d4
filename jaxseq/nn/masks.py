"""Masks of sequences that are padded to one length."""

import jax
import jax.numpy as jnp
import numpy as np


def inside(time: int, lengths: jax.Array) -> jax.Array:
  """Returns which elements are valid, and no padding behind these.

  Args:
    time: number of elements, padding counted.
    lengths: (*batch,) numbers of valid elements.

  Returns:
    (*batch, time) bool: a NumPy array where `lengths` is one.
  """
  numbers = np if isinstance(lengths, np.ndarray) else jnp
  return numbers.arange(time) < lengths[..., None]
