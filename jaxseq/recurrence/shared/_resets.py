"""Reset flags, as all recurrences apply them."""

import jax
import jax.numpy as jnp

from jaxseq._types import PyTree


def forget(reset: jax.Array, state: jax.Array) -> jax.Array:
  """Zeros where `reset` is set, and `state` (*reset.shape, n) elsewhere."""
  return jnp.where(reset[..., None], jnp.zeros((), state.dtype), state)


def select(reset: jax.Array, fresh: PyTree, carry: PyTree) -> PyTree:
  """Leaves of `fresh` where `reset` is set, and of `carry` elsewhere."""
  # A select and not a product: an infinite or undefined state must not survive.

  def leaf(new, old):
    mask = reset.reshape(reset.shape + (1,) * (old.ndim - reset.ndim))
    return jnp.where(mask, new, old)

  return jax.tree.map(leaf, fresh, carry)
