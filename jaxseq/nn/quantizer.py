"""Vector quantization: nearest codes, residual levels, restarts of codes.

    quantized = quantizer.quantize(z, books)  # level by level
    used = quantizer.used(quantized.codes.T, books.shape[1])

A code that is never the nearest gets no gradient and would stay unused; it is
moved to one of the vectors to quantize (`revived`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Quantized(NamedTuple):
  """Vectors and their codes.

  Attributes:
    codes: (n, levels) int32.
    residuals: (n, levels, width), the vectors that each level quantizes.
    chosen: (n, levels, width), the vectors of the codes.
  """

  codes: jax.Array
  residuals: jax.Array
  chosen: jax.Array


def nearest(
  x: jax.Array, book: jax.Array, *, cosine: bool = False
) -> jax.Array:
  """Returns the indices of a codebook's rows nearest to vectors.

  Args:
    x: (*batch, width).
    book: (codes, width).
    cosine: whether to compare angles instead of squared distances.

  Returns:
    (*batch,) int32; the lowest of equal ones.
  """
  if cosine:
    norms = jnp.linalg.norm(book, axis=-1, keepdims=True)
    book = book / jnp.maximum(norms, 1e-12)
    return (x @ book.T).argmax(axis=-1).astype(jnp.int32)
  products = x @ book.T
  distances = jnp.square(book).sum(axis=-1) - 2 * products
  return distances.argmin(axis=-1).astype(jnp.int32)


def quantize(z: jax.Array, books: jax.Array) -> Quantized:
  """Quantizes level by level, each level the residual of the levels before.

  Args:
    z: (n, width).
    books: (levels, codes, width).
  """
  codes, residuals, chosen = [], [], []
  for book in books:
    codes.append(nearest(z, book))
    residuals.append(z)
    chosen.append(book[codes[-1]])
    z = z - chosen[-1]
  return Quantized(
    jnp.stack(codes, axis=1),
    jnp.stack(residuals, axis=1),
    jnp.stack(chosen, axis=1),
  )


def used(codes: jax.Array, count: int) -> jax.Array:
  """Flags the codes that occur among (*levels, n), (*levels, count) bool."""
  return jax.nn.one_hot(codes, count, dtype=bool).any(axis=-2)


def usage(codes: np.ndarray, count: int) -> np.ndarray:
  """Returns each level's share of `count` codes in (n, levels), float."""
  return np.array([len(np.unique(level)) / count for level in codes.T])


def revived(
  key: jax.Array, books: jax.Array, residuals: jax.Array, dead: jax.Array
) -> jax.Array:
  """Returns codebooks with dead codes moved to randomly drawn residuals.

  Args:
    key: random key.
    books: (*levels, codes, width).
    residuals: (*levels, n, width), the vectors that the codes quantize.
    dead: (*levels, codes) bool.
  """
  places = jax.random.randint(key, dead.shape, 0, residuals.shape[-2])
  drawn = jnp.take_along_axis(residuals, places[..., None], axis=-2)
  return jnp.where(dead[..., None], drawn, books)


class Restarts(NamedTuple):
  """Shifts of restarted codes, and the time that each has been unused.

  Attributes:
    shift: (codes, width), added to the trained vectors.
    idle: (codes,) int32, number of updates since the code was last used.
  """

  shift: jax.Array
  idle: jax.Array


def restart(
  key: jax.Array,
  trained: jax.Array,
  state: Restarts,
  codes: jax.Array,
  residuals: jax.Array,
  after: int,
) -> Restarts:
  """Returns the restarts after a batch.

  Args:
    key: random key.
    trained: (codes, width), which plus the shift is the codebook.
    state: restarts before the batch.
    codes: (n,) integers of the batch.
    residuals: (n, width), the vectors that the codes quantize.
    after: number of consecutive updates without use after which a code is
      restarted; 0 for never.
  """
  idle = jnp.where(used(codes, len(trained)), 0, state.idle + 1)
  if not after:
    return Restarts(state.shift, idle)
  dead = idle >= after
  book = revived(key, trained + state.shift, residuals, dead)
  shift = jnp.where(dead[:, None], book - trained, state.shift)
  return Restarts(jax.lax.stop_gradient(shift), jnp.where(dead, 0, idle))
