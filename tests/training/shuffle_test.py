import functools
import math

import hypothesis
from hypothesis import strategies
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxseq.recurrence import kernels
from jaxseq.training import shuffle
from tests import jaxprs


@functools.cache
def orders(size, count):
  """(count, size): where bijections take all numbers."""
  shape = (shuffle.NUM_WORDS, count, 1)
  words = jax.random.bits(jax.random.key(size), shape, jnp.uint32)
  index = jnp.arange(size, dtype=jnp.uint32)
  permute = jax.jit(lambda words: shuffle.permute(words, index, size))
  return np.asarray(permute(words)).astype(np.int64)


def tell_from_uniform(counts):
  """The p-value of a chi-square test."""
  assert counts.mean() > 5
  return stats.chisquare(counts.ravel()).pvalue


@pytest.mark.slow
@hypothesis.given(
  size=strategies.one_of(
    strategies.integers(1, 3000),
    strategies.sampled_from([2**i + j for i in (4, 9, 12) for j in (-1, 0, 1)]),
    strategies.sampled_from([31, 997, 65537, 99991]),
  ),
  seed=strategies.integers(0, 2**32 - 1),
)
@hypothesis.example(size=1, seed=0)
@hypothesis.example(size=2, seed=0)
@hypothesis.example(size=1_000_003, seed=0)
@hypothesis.settings(max_examples=12, deadline=None)
def test_every_number_comes_once(size, seed):
  words = jax.random.bits(jax.random.key(seed), (shuffle.NUM_WORDS, 1))
  taken = shuffle.permute(words, jnp.arange(size, dtype=jnp.uint32), size)
  assert taken.dtype == jnp.uint32
  np.testing.assert_array_equal(np.sort(taken), np.arange(size))


@pytest.mark.parametrize("size", [2**31 - 1, 2_000_000_011])
def test_the_largest_sets(size):
  words = jax.random.bits(jax.random.key(0), (shuffle.NUM_WORDS, 1))
  last = jnp.arange(size - 50_000, size, dtype=jnp.uint32)
  taken = np.asarray(shuffle.permute(words, last, size))
  assert taken.max() < size
  assert len(set(taken.tolist())) == len(last)
  # All over the set.
  counts = np.histogram(taken, 100, (0, size))[0]
  assert tell_from_uniform(counts) > 1e-6


@pytest.mark.parametrize(
  "size",
  [
    2,
    3,
    10,
    21,
    *(pytest.param(n, marks=pytest.mark.slow) for n in (5, 16, 97)),
  ],
)
def test_places_are_uniform(size):
  drawn = orders(size, 20_000)
  counts = np.stack([np.bincount(c, minlength=size) for c in drawn.T])
  assert tell_from_uniform(counts) > 1e-6


@pytest.mark.parametrize("size", [3, 5, 10, 16, 21, 97])
def test_distances_are_uniform(size):
  drawn = orders(size, 20_000)
  for first, second in ((0, 1), (0, size - 1), (size // 2, size - 1)):
    distance = (drawn[:, first] - drawn[:, second]) % size
    counts = np.bincount(distance, minlength=size)
    assert counts[0] == 0
    assert tell_from_uniform(counts[1:]) > 1e-6


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_all_orders_occur_alike(size):
  drawn = orders(size, 20_000)
  codes = (drawn * size ** np.arange(size)).sum(axis=1)
  counts = np.unique(codes, return_counts=True)[1]
  assert len(counts) == math.factorial(size)
  assert tell_from_uniform(counts) > 1e-6


def test_orders_are_unlike_each_other():
  drawn = orders(97, 20_000)
  # The number of examples that two orders have in the same place: about 1.
  same = (drawn[::2] == drawn[1::2]).sum(axis=1)
  expected = stats.poisson(1).pmf(np.arange(4)) * len(same)
  counts = np.bincount(same)[:4]
  np.testing.assert_allclose(counts, expected, atol=4 * np.sqrt(expected.max()))


@pytest.mark.parametrize(
  "size",
  [1, 10, *(pytest.param(n, marks=pytest.mark.slow) for n in (5, 97, 1000))],
)
def test_a_gpu_does_not_wait_for_where_numbers_are(size):
  words = jax.random.bits(jax.random.key(1), (shuffle.NUM_WORDS, 1))
  index = jnp.arange(size, dtype=jnp.uint32)
  permute = functools.partial(shuffle.permute, words, index, size)
  expected = permute()
  with kernels.choosing_for("gpu"):
    np.testing.assert_array_equal(permute(), expected)
    # A loop of known length.
    assert not list(jaxprs.find(jax.make_jaxpr(permute)(), "while"))


@pytest.mark.parametrize("size", [1, 5, 997, 70_000])
def test_the_host_computes_the_same_order(size):
  words = np.random.default_rng(size).integers(
    2**32, size=shuffle.NUM_WORDS, dtype=np.uint32
  )
  expected = shuffle.permute(
    jnp.asarray(words)[:, None], jnp.arange(size, dtype=jnp.uint32), size
  )
  computed = shuffle.permute_on_host(words, np.arange(size), size)
  np.testing.assert_array_equal(computed, expected)
