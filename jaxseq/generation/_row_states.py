"""States of rows: fresh ones, and some of the rows replaced."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxseq import nn
from jaxseq._types import PyTree


def fresh_states(network: Any, rows: int) -> PyTree:
  """Returns the states of rows that have read nothing, at least float32."""
  dtype = jnp.float32
  if isinstance(network, nn.SequenceNetwork):
    dtype = jnp.promote_types(network.config.stack.dtype, dtype)
  return network.initial_state((rows,), dtype)


def where(flags: jax.Array, new: PyTree, old: PyTree) -> PyTree:
  """Takes `new` in the rows where the flag (*rows,) is set."""

  def leaf(new, old):
    wide = flags.reshape(*flags.shape, *[1] * (old.ndim - flags.ndim))
    return jnp.where(wide, new, old)

  return jax.tree.map(leaf, new, old)
