"""Draws from raw random words, for environments that draw once per step.

A call to the random number generator costs far more than the arithmetic of
a small game, whatever the number of words it returns. An environment
therefore requests all the 32-bit words of a step at once, and these functions
turn single words into numbers.
"""

import math

import jax
import jax.numpy as jnp


def below(word: jax.Array, bound: jax.Array | int) -> jax.Array:
  """Draws an integer in [0, bound).

  Computes floor(word * bound / 2**32) exactly in 32-bit arithmetic. The
  probabilities of two outcomes differ by at most 2**-32.

  Args:
    word: uint32 random words of any shape.
    bound: exclusive upper end, at most 65535; an integer or an int32 array
      that broadcasts against `word`. A bound of 0 returns 0.

  Returns:
    int32, of the broadcast shape.
  """
  bound = jnp.asarray(bound).astype(jnp.uint32)
  # The product has 48 bits: add its two halves without the low 16.
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


def normal(word: jax.Array, scale: float = 1.0) -> jax.Array:
  """Draws from a normal distribution of mean 0.

  Inverts the distribution function on a symmetric grid of 2**23 points, so
  that no draw is further from 0 than 5.3 standard deviations.

  Args:
    word: uint32 random words of any shape.
    scale: standard deviation.

  Returns:
    float32, of the shape of `word`.
  """
  # An odd integer between -2**23 and 2**23, exact in float32.
  odd = (2 * (word >> 9).astype(jnp.int32) + 1 - 2**23).astype(jnp.float32)
  unit = jax.lax.erf_inv(odd * jnp.float32(2.0**-23))
  return jnp.float32(scale * math.sqrt(2)) * unit
