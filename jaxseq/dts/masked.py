"""Means over batches whose last rows may be padding and that may be sharded.

A mask is (batch,) bool, True where a row counts. An axis name is that of a
mapped axis (`jax.shard_map`, `jax.vmap`) over which the rows of the batch are
dealt out evenly, in order; the results are those of the whole batch.
"""

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import _validate

Array = jax.Array


def mean(
  x: Array, mask: Array | None = None, axis_name: str | None = None
) -> Array:
  """Averages over the rows that count.

  Args:
    x: (batch, ...).
    mask: (batch,) bool; all rows count if None.
    axis_name: mapped axis that shares the batch.

  Returns:
    (...); zeros if no row counts. Masked rows may hold anything, and have no
    gradient. What x was computed from may not: 0 times infinity is no number,
    so that `hide` comes first.
  """
  total = hide(x, mask).sum(axis=0)
  count = x.shape[0] if mask is None else mask.sum()
  if axis_name is not None:
    total, count = lax.psum(total, axis_name), lax.psum(count, axis_name)
  return total / jnp.maximum(count, 1)


def gather(x: Array, axis_name: str | None) -> Array:
  """Returns the rows of all shards, in order: (shards * batch, ...)."""
  if axis_name is None:
    return x
  return lax.all_gather(x, axis_name, tiled=True)


def hide(x: Array, mask: Array | None) -> Array:
  """Returns (batch, ...) with zeros, which are harmless, in masked rows."""
  if mask is None:
    return x
  return jnp.where(mask.reshape(mask.shape + (1,) * (x.ndim - 1)), x, 0)


def check_mask(mask: Array | None, rows: int, name: str = "mask") -> None:
  """Checks that a mask is (rows,) bool, or None."""
  if mask is not None and (mask.shape != (rows,) or mask.dtype != bool):
    got = f"dtype {mask.dtype}, shape {mask.shape}"
    raise _validate.error(name, got, f"a bool array of shape {(rows,)}")


def check_integers(name: str, x: Array, rows: int) -> None:
  """Checks that an array is (rows,) integers."""
  if x.shape != (rows,) or not jnp.issubdtype(x.dtype, jnp.integer):
    got = f"dtype {x.dtype}, shape {x.shape}"
    raise _validate.error(name, got, f"integers of shape {(rows,)}")
