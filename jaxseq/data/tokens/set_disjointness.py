"""Set disjointness: which token do two sets have in common?

A marker, the tokens of one set, a marker, the tokens of another set, and a
marker, whose target is the one token in both sets. Markers are 0, 1 and 2,
tokens of sets 3 .. V - 1, in random order and each once in a set.

To answer after one pass from left to right, a state must store the first set,
however large; a model that knows both sets only needs to store the smaller one.

Source: arXiv 2407.05483 (Just read twice), section 3.1 and its appendix.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.data.tokens import sampling

_MARKERS = 3


@dataclasses.dataclass(frozen=True)
class Config(sampling.TokenClasses):
  """Options of set disjointness.

  Attributes:
    first: number of tokens of the first set.
    second: number of tokens of the second set.
    swap: whether the sets are swapped in half of the sequences.
    vocab_size: V, the three markers included.
  """

  first: int = 4
  second: int = 16
  swap: bool = True
  vocab_size: int = 2048

  def __post_init__(self):
    validate.at_least(self, first=1, second=1)
    validate.at_least(self, vocab_size=self.first + self.second - 1 + _MARKERS)

  @property
  def time(self) -> int:
    """Length of a sequence: both sets and the three markers."""
    return self.first + self.second + _MARKERS

  @property
  def scored(self) -> int:
    """Number of scored elements: the last marker."""
    return 1


def sample(key: jax.Array, config: Config) -> sampling.TokenBatch:
  """Samples set disjointness.

  The mask is True on the last element only.
  """
  key_drawn, key_first, key_second, key_swap = jax.random.split(key, 4)
  count = config.first + config.second - 1
  size = config.vocab_size - _MARKERS
  drawn = _MARKERS + sampling.distinct(key_drawn, count, size)
  common = drawn[:1]
  second = jnp.concatenate([common, drawn[config.first :]])
  first = jax.random.permutation(key_first, drawn[: config.first])
  second = jax.random.permutation(key_second, second)

  def arranged(*sets):
    marked = [
      part for i, each in enumerate(sets) for part in (jnp.array([i]), each)
    ]
    return jnp.concatenate([*marked, jnp.array([len(sets)])])

  inputs = arranged(first, second)
  if config.swap:
    swapped = jax.random.bernoulli(key_swap)
    inputs = jnp.where(swapped, arranged(second, first), inputs)
  last = jnp.arange(config.time) == config.time - 1
  return sampling.TokenBatch(inputs, jnp.where(last, common, 0), last)


SET_DISJOINTNESS = sampling.Task(Config, sample)
