"""Draws from raw random words, for environments that draw once per step.

A call into the random number generator costs far more than the arithmetic of
a small game, whatever the number of words it returns. An environment
therefore asks once for all the 32-bit words of a step, and these functions
turn single words into numbers.
"""

import jax
import jax.numpy as jnp


def below(word: jax.Array, bound: jax.Array | int) -> jax.Array:
  """Draws an integer in [0, bound).

  Computes floor(word * bound / 2**32) exactly in 32-bit arithmetic. The
  probabilities of two outcomes differ by at most 2**-32.

  Args:
    word: uint32 random words of any shape.
    bound: exclusive upper end, at most 65535; an integer or an int32 array
      that broadcasts against `word`. A bound of 0 gives 0.

  Returns:
    int32, of the broadcast shape.
  """
  bound = jnp.asarray(bound).astype(jnp.uint32)
  # The product has 48 bits: add up its two halves without the low 16.
  high = (word >> 16) * bound
  low = (word & 0xFFFF) * bound
  return ((high + (low >> 16)) >> 16).astype(jnp.int32)


def uniform(word: jax.Array, low: float = 0.0, high: float = 1.0) -> jax.Array:
  """Draws a float in [low, high) on a grid of 2**24 points.

  Args:
    word: uint32 random words of any shape.
    low: lower end.
    high: upper end; reached only by float32 rounding.

  Returns:
    float32, of the shape of `word`.
  """
  unit = (word >> 8).astype(jnp.float32) * jnp.float32(2.0**-24)
  return jnp.float32(low) + jnp.float32(high - low) * unit
