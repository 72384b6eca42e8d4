"""Sums of two numbers as texts, with answers that a program can check.

A prompt is "3+8=", its answer "11" and a line break: bytes, with a vocabulary
of 256.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate

VOCAB_SIZE = 256
# The line break, which ends an answer.
END = 10


@dataclasses.dataclass(frozen=True)
class Sums:
  """Sums of two numbers below 10**digits, with leading zeros in the prompts.

  Attributes:
    digits: number of digits of each number.
  """

  digits: int = 1

  def __post_init__(self):
    validate.integer("digits", self.digits, 1, 4)

  @property
  def answer_length(self) -> int:
    """Returns the maximum number of answer tokens, including the line break."""
    return self.digits + 2

  def sample(self, key: jax.Array, count: int) -> jax.Array:
    """Draws prompts, (count, 2 digits + 2) int32."""
    shape = count, 2
    return self._prompts(jax.random.randint(key, shape, 0, 10**self.digits))

  def every(self) -> jax.Array:
    """Returns all prompts, (100**digits, 2 digits + 2) int32."""
    numbers = np.arange(100**self.digits)
    return self._prompts(np.stack(np.divmod(numbers, 10**self.digits), 1))

  def answers(self, prompts: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the correct answers of prompts, and the mask of their tokens.

    Args:
      prompts: (rows, 2 digits + 2) tokens.

    Returns:
      (rows, `answer_length`) int32 and bool.
    """
    digits = prompts - ord("0")
    tens = 10 ** np.arange(self.digits)[::-1]
    first = digits[:, : self.digits] @ tens
    second = digits[:, self.digits + 1 : -1] @ tens
    total = (first + second)[:, None]
    places = np.arange(self.answer_length)
    counts = 1 + jnp.sum(total >= 10 ** (1 + places[:-1]), axis=1)[:, None]
    power = jnp.clip(counts - 1 - places, 0)
    tokens = ord("0") + total // 10**power % 10
    tokens = jnp.where(places == counts, END, tokens)
    return tokens.astype(jnp.int32), places <= counts

  def reward(
    self, prompts: jax.Array, tokens: jax.Array, mask: jax.Array
  ) -> jax.Array:
    """Returns 1 for each answer that is exactly the sum and its end, else 0.

    Args:
      prompts: (rows, 2 digits + 2) tokens.
      tokens: (rows, `answer_length`).
      mask: of the same shape, False in the padding.
    """
    right, counts = self.answers(prompts)
    same = jnp.where(counts, tokens == right, True) & (mask == counts)
    return jnp.all(same, axis=1).astype(jnp.float32)

  def _prompts(self, numbers):
    """Returns the prompts of pairs of numbers (rows, 2)."""
    tens = 10 ** np.arange(self.digits)[::-1]
    digits = ord("0") + numbers[..., None] // tens % 10
    sign, equal = (jnp.full((len(numbers), 1), ord(x)) for x in "+=")
    first, second = digits[:, 0], digits[:, 1]
    parts = [first, sign, second, equal]
    return jnp.concatenate(parts, axis=1).astype(jnp.int32)
