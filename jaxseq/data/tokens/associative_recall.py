"""Associative recall: which value belongs to the queried key?

Each sequence has its own random map from keys to values. It shows pairs (key,
value), then the special token, and a key that was shown; the target there is
the value of that key. Tokens: keys 0 .. K - 1, values K .. K + U - 1, special
K + U.

Sources: arXiv 1610.06258; the task of arXiv 2212.14052 (H3) and its code.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.data.tokens import sampling


@dataclasses.dataclass(frozen=True)
class Config(sampling.TokenClasses):
  """Options of associative recall.

  Attributes:
    pairs: number of pairs shown; with fewer keys, keys repeat.
    keys: K, the number of keys.
    values: U, the number of values.
  """

  pairs: int = 9
  keys: int = 10
  values: int = 10

  def __post_init__(self):
    validate.at_least(self, pairs=1, keys=1, values=2)

  @property
  def time(self) -> int:
    """Length of a sequence."""
    return 2 * self.pairs + 2

  @property
  def vocab_size(self) -> int:
    """Number of tokens: keys, values and the special token."""
    return self.keys + self.values + 1


def sample(key: jax.Array, config: Config) -> sampling.TokenBatch:
  """Samples associative recall.

  The mask is True on the last element only.
  """
  special = config.vocab_size - 1

  key_map, key_shown, key_query = jax.random.split(key, 3)
  values = sampling.integers(
    key_map, (config.keys,), config.keys, config.keys + config.values
  )
  shown = sampling.integers(key_shown, (config.pairs,), 0, config.keys)
  query = shown[sampling.integers(key_query, (), 0, config.pairs)]
  pairs = jnp.stack([shown, values[shown]], axis=-1).reshape(-1)
  inputs = jnp.concatenate([pairs, jnp.stack([special, query])])
  last = jnp.arange(config.time) == config.time - 1
  return sampling.TokenBatch(inputs, jnp.where(last, values[query], 0), last)


ASSOCIATIVE_RECALL = sampling.Task(Config, sample)
