"""Induction heads: which token followed the special token?

Tokens are uniform in 0 .. A - 2; the special token A - 1 is at a random place
and at the very end, where the target is the token that followed it.

Sources: arXiv 2209.11895; the task of arXiv 2212.14052 (H3) and its code; the
setting of arXiv 2312.00752 (Mamba), appendix E.1: vocabulary 16, trained at
length 256, tested at 64 .. 2^20.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.data.tokens import sampling


@dataclasses.dataclass(frozen=True)
class Config(sampling.GivenLength, sampling.TokenClasses):
  """Options of induction heads.

  Attributes:
    length: number of elements, the special token at the end included.
    vocab_size: A, the special token A - 1 included.
  """

  length: int = 256
  vocab_size: int = 16

  def __post_init__(self):
    validate.at_least(self, vocab_size=3, length=3)


def sample(key: jax.Array, config: Config) -> sampling.TokenBatch:
  """Samples induction heads.

  The mask is True on the last element only.
  """
  special = config.vocab_size - 1

  key_tokens, key_answer, key_places = jax.random.split(key, 3)
  tokens = sampling.integers(key_tokens, (config.length,), 0, special)
  answer = sampling.integers(key_answer, (), 0, special)
  where = sampling.integers(key_places, (1,), 0, config.length - 2)
  tokens = tokens.at[where].set(special).at[where + 1].set(answer)
  inputs = tokens.at[-1].set(special)
  last = jnp.arange(config.length) == config.length - 1
  return sampling.TokenBatch(inputs, jnp.where(last, answer, 0), last)


INDUCTION = sampling.Task(Config, sample)
