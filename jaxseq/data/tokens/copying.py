"""Copying and selective copying: memory for tokens, at fixed or random places.

M tokens, uniform in 1 .. A - 2, come first (copying) or at random places among
L + M blanks (selective copying); then M markers A - 1, whose targets are the
tokens in order. A time-invariant model can learn the first but not the second,
whose gaps depend on the input.

Source: arXiv 2111.00396 (S4) and its code; the setting of selective copying at
length 4096 is of arXiv 2312.00752 (Mamba), appendix E.1.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.data.tokens import sampling


@dataclasses.dataclass(frozen=True)
class Config(sampling.TokenClasses):
  """Options of copying.

  Attributes:
    blanks: L, the number of blanks.
    memorise: M, the number of tokens to remember.
    vocab_size: A, blank 0 and marker A - 1 included.
  """

  blanks: int = 100
  memorise: int = 10
  vocab_size: int = 10

  def __post_init__(self):
    validate.at_least(self, blanks=0, memorise=1, vocab_size=3)

  @property
  def time(self) -> int:
    """Length of a sequence."""
    return self.blanks + 2 * self.memorise


@dataclasses.dataclass(frozen=True)
class SelectiveConfig(Config):
  """Options of selective copying; the defaults are its small setting."""

  blanks: int = 240
  memorise: int = 16
  vocab_size: int = 16


def sample(key: jax.Array, config: Config) -> sampling.TokenBatch:
  """Samples copying, or selective copying for a `SelectiveConfig`.

  The mask is True on the last M elements.
  """
  places = config.blanks + config.memorise

  key_tokens, key_places = jax.random.split(key)
  tokens = sampling.integers(
    key_tokens, (config.memorise,), 1, config.vocab_size - 1
  )
  if isinstance(config, SelectiveConfig):
    where = jnp.sort(sampling.distinct(key_places, config.memorise, places))
  else:
    where = jnp.arange(config.memorise)
  inputs = jnp.full(config.time, config.vocab_size - 1)
  inputs = inputs.at[:places].set(0).at[where].set(tokens)
  targets = jnp.zeros(config.time, jnp.int32).at[places:].set(tokens)
  return sampling.TokenBatch(inputs, targets, jnp.arange(config.time) >= places)


COPYING = sampling.Task(Config, sample)
SELECTIVE_COPYING = sampling.Task(SelectiveConfig, sample)
