"""Regular languages: state tracking with a handful of states.

Random strings of random length, padded at the end. The target is the class of
the string at its last element, or of every prefix at each element.

Source: arXiv 2207.02098 and its code: trained on lengths 1 .. 40, tested on
longer ones; the score is the mean accuracy over test lengths.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.data.tokens import sampling


@dataclasses.dataclass(frozen=True)
class _Config(sampling.StringConfig):
  """Options of a regular language.

  Attributes:
    min_length: smallest number of symbols.
    max_length: largest number of symbols; the time axis has this length.
    every_step: whether every prefix is scored, or only the whole string.
  """

  every_step: bool = False


@dataclasses.dataclass(frozen=True)
class BinaryConfig(_Config):
  """Options of parity and even pairs. Tokens: 0, 1, and 2 after the end."""

  vocab_size = 3
  num_classes = 2


@dataclasses.dataclass(frozen=True)
class CycleNavigationConfig(_Config):
  """Options of cycle navigation. Tokens: steps -1, 0, 1 as 0, 1, 2; end 3."""

  vocab_size = 4
  num_classes = 5


@dataclasses.dataclass(frozen=True)
class ModularArithmeticConfig(_Config):
  """Options of modular arithmetic: lengths are odd.

  Tokens: numbers 0 .. 4, then + - * as 5, 6, 7, and 8 after the end.
  """

  vocab_size = 9
  num_classes = 5

  def __post_init__(self):
    super().__post_init__()
    # Even bounds are allowed: the odd numbers between them are used.
    if self.min_length == self.max_length and self.max_length % 2 == 0:
      expected = "one that leaves an odd length"
      raise validate.error("min_length", self.min_length, expected)


def _padded(length, string, classes, config):
  """Pads a string after its length and builds the mask."""
  place = jnp.arange(config.max_length)
  inside = place < length
  mask = inside if config.every_step else place == length - 1
  end = config.vocab_size - 1
  return sampling.TokenBatch(jnp.where(inside, string, end), classes, mask)


def _symbols(key, config, count):
  return sampling.integers(key, (config.max_length,), 0, count)


def _string(key, config, count):
  """Draws a length, and a string of `count` different symbols."""
  key_length, key_string = jax.random.split(key)
  string = _symbols(key_string, config, count)
  return sampling.draw_length(key_length, config), string


def sample_parity(key: jax.Array, config: BinaryConfig) -> sampling.TokenBatch:
  """Samples parity: the number of ones, modulo 2."""
  length, string = _string(key, config, 2)
  return _padded(length, string, jnp.cumsum(string) % 2, config)


def sample_even_pairs(
  key: jax.Array, config: BinaryConfig
) -> sampling.TokenBatch:
  """Samples even pairs: the number of unequal neighbors, modulo 2."""
  length, string = _string(key, config, 2)
  unequal = jnp.pad(string[1:] != string[:-1], (1, 0))
  return _padded(length, string, jnp.cumsum(unequal) % 2, config)


def sample_cycle_navigation(
  key: jax.Array, config: CycleNavigationConfig
) -> sampling.TokenBatch:
  """Samples cycle navigation: the place on a ring of 5 after steps from 0."""
  length, string = _string(key, config, 3)
  return _padded(length, string, jnp.cumsum(string - 1) % 5, config)


def _evaluate(string):
  """Value modulo 5 of every prefix that ends in a number; * binds first."""

  def read(state, token):
    # The expression is total + term, and term may still be multiplied.
    total, term, operator = state
    number = token < 5
    product = operator == 7
    signed = jnp.where(operator == 6, -token, token)
    next_total = jnp.where(product, total, total + term) % 5
    next_term = jnp.where(product, term * token, signed) % 5
    total = jnp.where(number, next_total, total)
    term = jnp.where(number, next_term, term)
    operator = jnp.where(number, operator, token)
    return (total, term, operator), (total + term) % 5

  start = jnp.zeros((), string.dtype)
  _, values = jax.lax.scan(read, (start, start, start + 5), string)
  return values


def sample_modular_arithmetic(
  key: jax.Array, config: ModularArithmeticConfig
) -> sampling.TokenBatch:
  """Samples sums and products modulo 5, without brackets.

  With every_step the number elements are scored.
  """
  shortest = config.min_length // 2
  longest = (config.max_length - 1) // 2

  key_length, key_numbers, key_operators = jax.random.split(key, 3)
  numbers = _symbols(key_numbers, config, 5)
  operators = 5 + _symbols(key_operators, config, 3)
  at_number = jnp.arange(config.max_length) % 2 == 0
  string = jnp.where(at_number, numbers, operators)
  length = 1 + 2 * sampling.integers(key_length, (), shortest, longest + 1)
  batch = _padded(length, string, _evaluate(string), config)
  return batch._replace(mask=batch.mask & at_number)


CYCLE_NAVIGATION = sampling.Task(CycleNavigationConfig, sample_cycle_navigation)
EVEN_PAIRS = sampling.Task(BinaryConfig, sample_even_pairs)
MODULAR_ARITHMETIC = sampling.Task(
  ModularArithmeticConfig, sample_modular_arithmetic
)
PARITY = sampling.Task(BinaryConfig, sample_parity)
