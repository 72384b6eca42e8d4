"""Weights with an adapter and dropout on its input, in training."""

import dataclasses
import functools
import zlib

import jax
import jax.numpy as jnp

from jaxseq import recurrence


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=("w", "a", "b", "magnitude", "factors", "key"),
  meta_fields=("scale", "path", "dropout"),
)
@dataclasses.dataclass(frozen=True)
class Dropped(recurrence.LowRank):
  """The weight w + scale a b, where a reads x after dropout.

  With DoRA the norm is computed without dropout.

  Attributes:
    key: words of a key, uint32 (words,), with the leading axes of a.
    dropout: dropout rate p; the remaining elements are multiplied by 1 / (1 -
      p).
  """

  key: jax.Array | None = None
  dropout: float = 0.0

  def apply(self, x: jax.Array, wide: bool = False) -> jax.Array:
    """Returns x w + scale (dropped(x) a) b, (..., m)."""
    stays = jax.random.bernoulli(
      jax.random.wrap_key_data(self.key), 1 - self.dropout, x.shape
    )
    inner = jnp.where(stays, x / (1 - self.dropout), 0).astype(x.dtype)
    return self._product(x, inner, wide)


def dropped(
  weight: recurrence.LowRank, dropout: float, key: jax.Array
) -> Dropped:
  """Returns a weight with dropout; masks differ by path."""
  weight_key = jax.random.fold_in(key, zlib.crc32(weight.path.encode()))
  words = jax.random.key_data(jax.random.split(weight_key, weight.a.shape[:-2]))
  given = {
    field.name: getattr(weight, field.name)
    for field in dataclasses.fields(weight)
  }
  return Dropped(**given, key=words, dropout=dropout)
