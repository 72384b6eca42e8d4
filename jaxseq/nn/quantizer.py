"""Vectors by codes: the nearest of a book, residuals, codes started anew.

    quantized = quantizer.quantize(z, books)  # level by level
    used = quantizer.used(quantized.codes.T, books.shape[1])

A code of which nothing is nearest gets no gradient and would stay so; it is put
where one of the vectors is that were to be quantized (`revived`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Quantized(NamedTuple):
  """Vectors by their codes.

  Attributes:
    codes: (n, levels) int32.
    residuals: (n, levels, width), what each level quantizes.
    chosen: (n, levels, width), the vectors of the codes.
  """

  codes: jax.Array
  residuals: jax.Array
  chosen: jax.Array


def nearest(
  x: jax.Array, book: jax.Array, *, cosine: bool = False
) -> jax.Array:
  """Returns which rows of a book are nearest to vectors.

  Args:
    x: (*batch, width).
    book: (codes, width).
    cosine: whether the angle counts, and not the squared distance.

  Returns:
    (*batch,) int32; of equal ones the lowest.
  """
  if cosine:
    norms = jnp.linalg.norm(book, axis=-1, keepdims=True)
    book = book / jnp.maximum(norms, 1e-12)
    return (x @ book.T).argmax(axis=-1).astype(jnp.int32)
  products = x @ book.T
  distances = jnp.square(book).sum(axis=-1) - 2 * products
  return distances.argmin(axis=-1).astype(jnp.int32)


def quantize(z: jax.Array, books: jax.Array) -> Quantized:
  """Quantizes level by level, each level what those before have left.

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
  """Returns which of `count` codes are among (*levels, n), (*levels, count)."""
  return jax.nn.one_hot(codes, count, dtype=bool).any(axis=-2)


def usage(codes: np.ndarray, count: int) -> np.ndarray:
  """Returns which share of `count` codes each level (n, levels) has, float."""
  return np.array([len(np.unique(level)) / count for level in codes.T])


def revived(
  key: jax.Array, books: jax.Array, residuals: jax.Array, dead: jax.Array
) -> jax.Array:
  """Returns books with dead codes put at residuals that are drawn at random.

  Args:
    key: of the draw.
    books: (*levels, codes, width).
    residuals: (*levels, n, width), what the codes are for.
    dead: (*levels, codes) bool.
  """
  places = jax.random.randint(key, dead.shape, 0, residuals.shape[-2])
  drawn = jnp.take_along_axis(residuals, places[..., None], axis=-2)
  return jnp.where(dead[..., None], drawn, books)


class Restarts(NamedTuple):
  """The moves of codes without a gradient, and since when each is unused.

  Attributes:
    shift: (codes, width), which is added to the trained vectors.
    idle: (codes,) int32, updates since something had the code.
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
    key: of the draw.
    trained: (codes, width), which together with the shift is the book.
    state: before the batch.
    codes: (n,) integers of the batch.
    residuals: (n, width), what they stand for.
    after: a code that so many updates in turn had no use for is started anew; 0
      for never.
  """
  idle = jnp.where(used(codes, len(trained)), 0, state.idle + 1)
  if not after:
    return Restarts(state.shift, idle)
  dead = idle >= after
  book = revived(key, trained + state.shift, residuals, dead)
  shift = jnp.where(dead[:, None], book - trained, state.shift)
  return Restarts(jax.lax.stop_gradient(shift), jnp.where(dead, 0, idle))
