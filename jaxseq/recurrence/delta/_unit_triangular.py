"""Inverses of I + A, A strictly lower triangular, by blocks.

[[X, 0], [Y, Z]]^-1 = [[X^-1, 0], [-Z^-1 Y X^-1, Z^-1]]. The powers of A in (I -
A)(I + A^2)(I + A^4)... overflow float32 if keys are similar.
"""

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.platform import contexts
from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import _varying

_BASE = 16


def inverse(A: jax.Array) -> jax.Array:
  """Inverse of I + A for strictly lower triangular A [..., C, C]."""
  *lead, C, _ = A.shape
  size = min(_BASE, C)
  while size < C:
    size *= 2
  A = A.reshape(-1, C, C)
  A = jnp.pad(A, ((0, 0), (0, size - C), (0, size - C)))
  block = min(_BASE, C)
  blocks = _substituted(_diagonal(A, block, 0))
  while block < size:
    blocks = _merged(blocks, _diagonal(A, block, 1)[:, ::2])
    block *= 2
  return blocks[:, 0, :C, :C].reshape(*lead, C, C)


def _diagonal(A, block, below):
  """The blocks [B, n, b, b] on the diagonal, or on the one `below` it."""

  def cut(i):
    rows = lax.dynamic_slice_in_dim(A, (i + below) * block, block, axis=1)
    return lax.dynamic_slice_in_dim(rows, i * block, block, axis=2)

  count = A.shape[-1] // block - below
  return jnp.stack([cut(i) for i in range(count)], axis=1)


def _substituted(A):
  """Solves row by row: a row of I minus that of A times earlier results."""
  size = A.shape[-1]
  eye = jnp.eye(size, dtype=A.dtype)
  if contexts.machine()[0] == "tpu":
    # A product with one row is slow on the chip, and its compiler takes twice
    # as long for fifteen of them as for everything else.
    def body(rows, i):
      row = lax.dynamic_slice_in_dim(A, i, 1, axis=-2)
      above = jnp.sum(row.swapaxes(-1, -2) * rows, axis=-2, keepdims=True)
      row = lax.dynamic_slice_in_dim(eye, i, 1) - above
      return lax.dynamic_update_slice_in_dim(rows, row, i, axis=-2), None

    zeros = _varying.vary_as(A, jnp.zeros_like(A))
    return lax.scan(body, zeros, jnp.arange(size))[0]
  rows = jnp.broadcast_to(eye[:1], (*A.shape[:-2], 1, size))
  for i in range(1, size):
    above = A[..., i : i + 1, :i]
    row = eye[i] - _contractions.dot(above, rows, -1, -2, exact=True)
    rows = jnp.concatenate([rows, row], axis=-2)
  return rows


def _merged(inverses, below):
  """Inverses of twice the size, from those of blocks and the blocks below."""
  first, last = inverses[:, ::2], inverses[:, 1::2]
  across = _contractions.dot(below, first, -1, -2, exact=True)
  across = -_contractions.dot(last, across, -1, -2, exact=True)
  upper = jnp.concatenate([first, jnp.zeros_like(first)], axis=-1)
  lower = jnp.concatenate([across, last], axis=-1)
  return jnp.concatenate([upper, lower], axis=-2)
