"""Reset flags, as all recurrences apply them."""

import jax
import jax.numpy as jnp

from jaxseq.types import PyTree


def forget(reset: jax.Array, state: jax.Array) -> jax.Array:
  """Zeros if `reset` is set, else `state` (*reset.shape, n)."""
  return jnp.where(reset[..., None], jnp.zeros((), state.dtype), state)


def select(reset: jax.Array, fresh: PyTree, carry: PyTree) -> PyTree:
  """Leaves of `fresh` if `reset` is set, else leaves of `carry`."""
  # A select and not a product: an infinite or undefined state must not survive.

  def leaf(new, old):
    mask = reset.reshape(reset.shape + (1,) * (old.ndim - reset.ndim))
    return jnp.where(mask, new, old)

  return jax.tree.map(leaf, fresh, carry)
