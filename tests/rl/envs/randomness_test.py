import math

import hypothesis
from hypothesis import strategies
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.rl.envs import randomness

_WORDS = strategies.integers(0, 2**32 - 1)


@hypothesis.given(_WORDS, strategies.integers(0, 2**16 - 1))
@hypothesis.example(2**32 - 1, 2**16 - 1)
@hypothesis.example(0, 1)
@hypothesis.settings(deadline=None, derandomize=True)
def test_below_is_the_exact_scaled_word(word, bound):
  drawn = randomness.below(jnp.uint32(word), jnp.int32(bound))
  assert drawn.dtype == jnp.int32
  assert int(drawn) == word * bound // 2**32


def test_below_gives_each_outcome_its_share_of_evenly_spread_words():
  words = np.arange(0, 2**32, 2**16, dtype=np.uint64).astype(np.uint32)
  for bound in (1, 2, 3, 52, 832):
    counts = np.bincount(randomness.below(jnp.asarray(words), bound))
    # 2**16 words, evenly spread: each outcome gets its share, to one word.
    np.testing.assert_allclose(counts, 2**16 / bound, atol=1)


@hypothesis.given(_WORDS)
@hypothesis.example(0)
@hypothesis.example(2**32 - 1)
@hypothesis.settings(deadline=None, derandomize=True)
def test_uniform_is_within_its_bounds(word):
  unit = randomness.uniform(jnp.uint32(word))
  assert unit.dtype == jnp.float32
  assert float(unit) == (word >> 8) / 2**24 < 1
  assert -2 <= float(randomness.uniform(jnp.uint32(word), -2.0, 3.0)) <= 3


def test_uniform_has_the_moments_of_the_uniform_distribution():
  words = jax.random.bits(jax.random.key(0), (100_000,), jnp.uint32)
  drawn = np.asarray(randomness.uniform(words, -0.05, 0.05))
  # Five standard errors: sd 0.1/sqrt(12) over sqrt(1e5) draws.
  np.testing.assert_allclose(drawn.mean(), 0, atol=5 * 0.0289 / 316)
  np.testing.assert_allclose(drawn.std(), 0.1 / np.sqrt(12), rtol=0.01)


def test_normal_inverts_the_distribution_function():
  # One word for each of 2**16 intervals of equal probability.
  words = np.arange(2**15, 2**32, 2**16, dtype=np.uint64).astype(np.uint32)
  drawn = np.asarray(randomness.normal(jnp.asarray(words)), np.float64)
  below = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in drawn])
  # The words lie 2**-24 below or above the middles of the grid of 2**23 points,
  # and float32 rounds the last of 24 bits.
  np.testing.assert_allclose(below, (np.arange(2**16) + 0.5) / 2**16, atol=3e-7)


def test_normal_is_finite_and_symmetric():
  ends = randomness.normal(jnp.array([0, 2**32 - 1], jnp.uint32), 2.0)
  assert ends[0] == -ends[1]
  assert 10 < ends[1] < 11


def test_types_are_the_same_with_64_bits(x64):
  word = jnp.uint32(2**31)
  assert randomness.below(word, 10).dtype == jnp.int32
  assert randomness.uniform(word, 0.0, 1.0).dtype == jnp.float32
  assert randomness.normal(word, 2.0).dtype == jnp.float32
