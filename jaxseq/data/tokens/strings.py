"""String-to-string tasks, context-free and context-sensitive.

A sequence is a string of n symbols and then as many blanks as the answer has
symbols; the targets at the blanks are the answer, and the mask is True there.
Blanks also pad to the length of the longest sequence. The blank is the last
token.

Source: arXiv 2207.02098 and its code: trained on lengths 1 .. 40, tested on
longer ones.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.data.tokens import sampling


@dataclasses.dataclass(frozen=True)
class _Config(sampling.StringConfig):
  """Options of a task on strings, see `sampling.StringConfig`."""

  # The longest answer is `copies` times the longest string, plus `longer`.
  copies: ClassVar[int] = 1
  longer: ClassVar[int] = 0

  @property
  def max_answer(self) -> int:
    """Length of the longest answer."""
    return self.copies * self.max_length + self.longer

  @property
  def time(self) -> int:
    """Length of a padded sequence: string and answer."""
    return self.max_length + self.max_answer


@dataclasses.dataclass(frozen=True)
class SymbolsConfig(_Config):
  """Options of a task on strings over any number of symbols.

  Attributes:
    min_length: smallest number of symbols of the string.
    max_length: largest number of symbols of the string.
    symbols: number of symbols.
  """

  symbols: int = 2

  def __post_init__(self):
    super().__post_init__()
    validate.at_least(self, symbols=2)

  @property
  def vocab_size(self) -> int:
    """Number of tokens: the symbols and the blank."""
    return self.symbols + 1

  @property
  def num_classes(self) -> int:
    """Number of classes of the targets: the symbols."""
    return self.symbols


@dataclasses.dataclass(frozen=True)
class DuplicateConfig(SymbolsConfig):
  """Options of writing a string twice."""

  copies = 2


@dataclasses.dataclass(frozen=True)
class BucketSortConfig(SymbolsConfig):
  """Options of bucket sort."""

  symbols: int = 5


@dataclasses.dataclass(frozen=True)
class MissingDuplicateConfig(SymbolsConfig):
  """Options of the missing duplicate: lengths are even, hole before blank."""

  min_length: int = 2

  smallest = 2
  copies = 0
  longer = 1

  def __post_init__(self):
    super().__post_init__()
    if self.min_length == self.max_length and self.max_length % 2:
      expected = "one that leaves an even length"
      raise validate.error("max_length", self.max_length, expected)

  @property
  def vocab_size(self) -> int:
    """Number of tokens: the symbols, the hole and the blank."""
    return self.symbols + 2


@dataclasses.dataclass(frozen=True)
class StackConfig(_Config):
  """Options of stack manipulation.

  Tokens: 0 and 1 on the stack, pop 2, push 0 as 3, push 1 as 4, blank 5.
  Classes: 0, 1, and 2 for the end of the stack.
  """

  vocab_size = 6
  num_classes = 3
  longer = 1


@dataclasses.dataclass(frozen=True)
class BinaryAdditionConfig(_Config):
  """Options of binary addition.

  Tokens: 0, 1, plus 2, blank 3. Classes: 0, 1, and 2 for the end of the sum.
  """

  min_length: int = 3

  vocab_size = 4
  num_classes = 3
  smallest = 3
  longer = 1


def _assemble(config, string, length, answer, answer_length):
  """Builds the sequence of string, answer and blanks."""
  place = jnp.arange(config.time)
  inputs = jnp.full(config.time, config.vocab_size - 1)
  inputs = inputs.at[: config.max_length].set(string)
  inputs = jnp.where(place < length, inputs, config.vocab_size - 1)
  nth = place - length
  mask = (nth >= 0) & (nth < answer_length)
  return sampling.TokenBatch(inputs, answer[jnp.where(mask, nth, 0)], mask)


def _answered(answer):
  """Returns a sampler of uniform strings whose answer consists of copies."""

  def sample(key, config):
    key_length, key_string = jax.random.split(key)
    length = sampling.draw_length(key_length, config)
    shape = (config.max_length,)
    string = sampling.integers(key_string, shape, 0, config.symbols)
    answers = answer(string, length, config)
    return _assemble(config, string, length, answers, config.copies * length)

  return sample


def _mirrored(string, length, config):
  return string[length - 1 - jnp.arange(config.max_answer)]


def _twice(string, length, config):
  return string[jnp.arange(config.max_answer) % length]


def _odds_first(string, length, config):
  """Indices 1, 3, .. come first, then 0, 2, .."""
  place = jnp.arange(config.max_answer)
  odds = length // 2
  source = jnp.where(place < odds, 2 * place + 1, 2 * (place - odds))
  # Elements beyond the length are not scored; their index must be valid.
  return string[jnp.minimum(source, config.max_length - 1)]


def _sorted(string, length, config):
  inside = jnp.arange(config.max_length) < length
  return jnp.sort(jnp.where(inside, string, config.symbols))


def sample_missing_duplicate(
  key: jax.Array, config: MissingDuplicateConfig
) -> sampling.TokenBatch:
  """Samples strings written twice with a hole; which symbol is missing?"""
  shortest = (config.min_length + 1) // 2
  longest = config.max_length // 2

  key_length, key_string, key_hole = jax.random.split(key, 3)
  half = sampling.integers(key_length, (), shortest, longest + 1)
  size = config.max_length
  string = sampling.integers(key_string, (size,), 0, config.symbols)
  string = string[jnp.arange(size) % half]
  hole = sampling.integers(key_hole, (), 0, 2 * half)
  shown = string.at[hole].set(config.symbols)
  return _assemble(config, shown, 2 * half, string[hole][None], 1)


def sample_stack(key: jax.Array, config: StackConfig) -> sampling.TokenBatch:
  """Samples a stack and actions on it; what is on it afterwards?

  The answer to n symbols has n + 1: the stack from its top to its bottom, the
  end 2, and zeros, which are scored.
  """
  size = config.max_length

  def act(state, token):
    stack, height = state
    push = (token == 3) | (token == 4)
    # Writing at `size`, out of range, leaves the stack unchanged.
    where = jnp.where(push, height, size)
    stack = stack.at[where].set(token - 3, mode="drop")
    height = height + push - (token == 2)
    return (stack, jnp.maximum(height, 0)), None

  key_length, key_height, key_bits, key_actions = jax.random.split(key, 4)
  length = sampling.draw_length(key_length, config)
  height = sampling.integers(key_height, (), 1, jnp.maximum(length, 2))
  bits = sampling.integers(key_bits, (size,), 0, 2)
  actions = sampling.integers(key_actions, (size,), 2, 5)
  place = jnp.arange(size)
  string = jnp.where(place < height, bits, actions)
  acting = (place >= height) & (place < length)
  (stack, height), _ = jax.lax.scan(
    act, (bits, height), jnp.where(acting, string, 0)
  )
  down = jnp.arange(config.max_answer)
  answer = jnp.where(down < height, stack[height - 1 - down], 0)
  return _assemble(config, string, length, answer.at[height].set(2), length + 1)


def sample_binary_addition(
  key: jax.Array, config: BinaryAdditionConfig
) -> sampling.TokenBatch:
  """Samples sums of two numbers with the lowest digit first.

  The answer to n symbols has n + 1: the sum without leading zeros, lowest digit
  first, the end 2, and zeros, which are scored.
  """
  size = config.max_length
  place = jnp.arange(size)

  def add(carry, digits):
    total = carry + digits
    return total // 2, total % 2

  key_length, key_plus, key_bits = jax.random.split(key, 3)
  length = sampling.draw_length(key_length, config)
  plus = sampling.integers(key_plus, (), 1, length - 1)
  bits = sampling.integers(key_bits, (size,), 0, 2)
  first = jnp.where(place < plus, bits, 0)
  shifted = bits[jnp.minimum(plus + 1 + place, size - 1)]
  second = jnp.where(plus + 1 + place < length, shifted, 0)
  _, total = jax.lax.scan(add, jnp.int32(0), first + second)
  digits = jnp.maximum(jnp.max(jnp.where(total > 0, place + 1, 0)), 1)
  answer = jnp.pad(total, (0, 1)).at[digits].set(2)
  string = bits.at[plus].set(2)
  return _assemble(config, string, length, answer, length + 1)


BINARY_ADDITION = sampling.Task(BinaryAdditionConfig, sample_binary_addition)
BUCKET_SORT = sampling.Task(BucketSortConfig, _answered(_sorted))
DUPLICATE_STRING = sampling.Task(DuplicateConfig, _answered(_twice))
MISSING_DUPLICATE = sampling.Task(
  MissingDuplicateConfig, sample_missing_duplicate
)
ODDS_FIRST = sampling.Task(SymbolsConfig, _answered(_odds_first))
REVERSE_STRING = sampling.Task(SymbolsConfig, _answered(_mirrored))
STACK_MANIPULATION = sampling.Task(StackConfig, sample_stack)
