"""Multi-query associative recall (MQAR).

The first 2 n elements are n pairs (key, value), keys from 1 .. V/2 - 1 and
values from V/2 .. V - 1, each without repetition. Then each key is queried
once: key i is at 2 n + 2 gap_i, where the target is its value. The gaps are
drawn without repetition from 0 .. (length - 2 n)/2 - 1 with probabilities
proportional to (gap + 1)^(power - 1). All other elements are random tokens, or
0.

Source: arXiv 2312.04927 (Zoology) and its code.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.data.tokens import sampling


@dataclasses.dataclass(frozen=True)
class Config(sampling.GivenLength, sampling.TokenClasses):
  """Options of MQAR.

  Attributes:
    length: number of elements, even, at least 4 times `pairs`.
    pairs: n, the number of pairs.
    vocab_size: V, even; n must be less than V / 2.
    power: exponent of the distribution of gaps; small ones query early.
    random_others: whether the elements that are neither pairs nor queries are
      random tokens of 0 .. V - 1, keys included; 0 otherwise.
  """

  length: int = 64
  pairs: int = 4
  vocab_size: int = 8192
  power: float = 0.01
  random_others: bool = True

  @property
  def scored(self) -> int:
    """Number of scored elements, the same in every sequence."""
    return self.pairs

  def __post_init__(self):
    validate.at_least(self, pairs=1)
    minima = {"length": 4 * self.pairs, "vocab_size": 2 * self.pairs + 2}
    validate.at_least(self, **minima)
    for name in minima:
      if getattr(self, name) % 2:
        raise validate.error(name, getattr(self, name), "even")
    validate.above_zero("power", self.power)


def sample(key: jax.Array, config: Config) -> sampling.TokenBatch:
  """Samples MQAR.

  The mask is True at the n queries.
  """
  half = config.vocab_size // 2
  context = 2 * config.pairs
  gaps = (config.length - context) // 2
  logits = (config.power - 1) * jnp.log(jnp.arange(1.0, gaps + 1))

  key_keys, key_values, key_gaps, key_others = jax.random.split(key, 4)
  keys = 1 + sampling.distinct(key_keys, config.pairs, half - 1)
  values = half + sampling.distinct(key_values, config.pairs, half)
  queries = context + 2 * sampling.distinct(
    key_gaps, config.pairs, gaps, logits
  )
  shape = (config.length,)
  inputs = jnp.zeros(shape, jnp.int32)
  if config.random_others:
    inputs = sampling.integers(key_others, shape, 0, config.vocab_size)
  pairs = jnp.stack([keys, values], axis=-1).reshape(-1)
  inputs = inputs.at[:context].set(pairs).at[queries].set(keys)
  targets = jnp.zeros(shape, jnp.int32).at[queries].set(values)
  asked = jnp.zeros(shape, bool).at[queries].set(True)
  return sampling.TokenBatch(inputs, targets, asked)


MQAR = sampling.Task(Config, sample)
