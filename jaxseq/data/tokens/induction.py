"""Induction heads: what followed the special token before?

Tokens uniform in 0 .. A - 2; the special token A - 1 stands at a random place
and at the very end, where the token that followed it is to be given. With more
triggers, each further place has the special token with probability 1/2, always
followed by the same token.

Sources: arXiv 2209.11895; the task of arXiv 2212.14052 (H3) and its code; the
setting of arXiv 2312.00752 (Mamba), appendix E.1: vocabulary 16, trained at
length 256, tested at 64 .. 2^20.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxseq import _validate
from jaxseq.data.tokens import sampling


@dataclasses.dataclass(frozen=True)
class Config(sampling.GivenLength, sampling.TokenClasses):
  """Options of induction heads.

  Attributes:
    length: number of elements, the special token at the end included.
    vocab_size: A, the special token A - 1 included.
    triggers: largest number of places with the special token before the end.
  """

  length: int = 256
  vocab_size: int = 16
  triggers: int = 1

  def __post_init__(self):
    _validate.at_least(self, triggers=1, vocab_size=3)
    _validate.at_least(self, length=2 * self.triggers + 1)


def _places(key, config):
  """Draws where the special token stands, and whether it does there."""
  last = config.length - 2
  if config.triggers == 1:
    return sampling.integers(key, (1,), 0, last), jnp.ones(1, jnp.bool_)
  key_where, key_present = jax.random.split(key)
  # Even places keep a trigger from standing where another one's token is.
  where = 2 * sampling.distinct(
    key_where, config.triggers, last // 2 + last % 2
  )
  present = jax.random.bernoulli(key_present, 0.5, (config.triggers,))
  return where, present.at[0].set(True)


def sample(key: jax.Array, config: Config) -> sampling.TokenBatch:
  """Samples induction heads.

  The mask is True on the last element only.
  """
  special = config.vocab_size - 1

  key_tokens, key_answer, key_places = jax.random.split(key, 3)
  tokens = sampling.integers(key_tokens, (config.length,), 0, special)
  answer = sampling.integers(key_answer, (), 0, special)
  where, present = _places(key_places, config)
  # Places without a trigger are sent out of range, where nothing is written.
  where = jnp.where(present, where, config.length)
  tokens = tokens.at[where].set(special, mode="drop")
  tokens = tokens.at[where + 1].set(answer, mode="drop")
  inputs = tokens.at[-1].set(special)
  last = jnp.arange(config.length) == config.length - 1
  return sampling.TokenBatch(inputs, jnp.where(last, answer, 0), last)


INDUCTION = sampling.Task(Config, sample)
