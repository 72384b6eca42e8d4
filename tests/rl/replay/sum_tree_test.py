"""Tests of priorities, against sums of more bits and a slow model."""

import hypothesis
from hypothesis import strategies
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl.replay import _sum_tree

MILLION = 1_000_000

put = jax.jit(_sum_tree.put)
sample = jax.jit(_sum_tree.sample)


def double(uniform):
  """Splits float64 uniforms into pairs of float32."""
  high = np.float32(uniform)
  return _sum_tree.Double(high, np.float32(uniform - high))


def values(state, number):
  return np.asarray(state.rows).reshape(-1)[:number]


def reference(value, uniform):
  """First slots above 0 that reach the share, with at least 53 bits."""
  upto = np.cumsum(value.astype(np.longdouble))
  upto[value == 0] = -1
  # Slots of priority 0 must not stop the search, so they repeat the last sum.
  upto = np.maximum.accumulate(upto)
  wanted = np.asarray(uniform, np.longdouble) * upto[-1]
  return np.searchsorted(upto, np.maximum(wanted, 0), side="left")


@pytest.mark.slow
def test_a_million_slots_are_found_as_with_float64():
  rng = np.random.default_rng(0)
  value = np.exp(rng.normal(size=MILLION, scale=2)).astype(np.float32)
  value[rng.random(MILLION) < 0.3] = 0
  state = _sum_tree.init(value)
  # Changes leave no errors behind: sums are not changed, but taken again.
  for _ in range(3):
    slot = rng.choice(MILLION, 512, replace=False)
    change = (1000 * rng.random(512)).astype(np.float32)
    state = put(state, slot, change)
    value[slot] = change
  np.testing.assert_array_equal(values(state, MILLION), value)
  uniform = rng.random(4096)
  want = reference(value, uniform)
  got = np.asarray(sample(state, double(uniform)))
  # The sums have 48 bits and the pairs that are drawn as many: of 4096 draws,
  # about 1e-4 fall so close to an edge that this makes a difference.
  np.testing.assert_array_equal(got, want)
  assert got.dtype == np.int32
  np.testing.assert_array_equal(_sum_tree.get(state, got), value[want])
  # One float32 for each sum and draw finds other slots.
  upto = np.cumsum(value)
  naive = np.searchsorted(upto, np.float32(uniform) * upto[-1])
  assert np.mean(naive != want) > 0.5


def test_draws_have_the_bits_of_two_floats():
  draws = jax.jit(_sum_tree.draw, static_argnums=1)(jax.random.key(0), 50_000)
  uniform = np.sum(np.asarray(draws, np.float64), axis=0)
  assert uniform.min() >= 0
  assert uniform.max() < 1
  # Both the leading and the trailing part are spread evenly; the standard
  # deviation of a count is 67.
  for part in (uniform, uniform * 2**23 % 1):
    counts = np.histogram(part, 10, (0, 1))[0]
    np.testing.assert_allclose(counts, 5000, atol=350)


def test_slots_come_in_proportion_and_never_with_priority_0():
  value = np.array([0, 0, 1, 0, 2, 0, 5, 0, 0, 0], np.float32)
  state = _sum_tree.init(value)
  draws = _sum_tree.draw(jax.random.key(0), 16_000)
  counts = np.bincount(sample(state, draws), minlength=10)
  # The standard deviation of a count is at most 63.
  np.testing.assert_allclose(counts, value * 2000, atol=300)
  np.testing.assert_array_equal(counts[value == 0], 0)
  ends = np.array([0, 1e-30, 1 / 8, 3 / 8, 1], np.float32)
  np.testing.assert_array_equal(sample(state, ends), [2, 2, 2, 4, 6])


def test_the_first_of_several_values_counts():
  state = _sum_tree.init(np.full(10, 0.5, np.float32))
  assert state.highest == 1
  slot = np.array([7, 3, 7, 3, 9])
  state = put(state, slot, np.array([4, 2, 8, 1, 0], np.float32))
  want = np.full(10, 0.5)
  want[[7, 3, 9]] = [4, 2, 0]
  np.testing.assert_array_equal(values(state, 10), want)
  # Also one that was not written: a loop would have written it for a moment.
  assert state.highest == 8


NUMBER = 37


@hypothesis.given(strategies.data())
@hypothesis.settings(deadline=None, derandomize=True, max_examples=60)
def test_any_changes_as_in_a_slow_model(data):
  # Multiples of 1/8 have exact sums, so that draws may fall on edges.
  value = strategies.integers(0, 80).map(lambda i: i / 8)
  model = np.array(
    data.draw(strategies.lists(value, min_size=NUMBER, max_size=NUMBER))
  )
  state = _sum_tree.init(model.astype(np.float32))
  slots = strategies.lists(
    strategies.integers(0, NUMBER - 1), min_size=5, max_size=5
  )
  for _ in range(data.draw(strategies.integers(0, 3))):
    slot = data.draw(slots)
    change = data.draw(strategies.lists(value, min_size=5, max_size=5))
    state = put(state, np.array(slot), np.array(change, np.float32))
    for i, new in reversed(list(zip(slot, change))):
      model[i] = new
  np.testing.assert_array_equal(values(state, NUMBER), model)
  hypothesis.assume(model.any())
  share = strategies.integers(0, 64).map(lambda i: i / 64)
  uniform = np.array(data.draw(strategies.lists(share, min_size=5, max_size=5)))
  got = sample(state, uniform.astype(np.float32))
  for u, slot in zip(uniform, got):
    total, found = 0.0, None
    for i in range(NUMBER):
      total += model[i]
      if model[i] > 0 and total >= u * model.sum():
        found = i
        break
    assert slot == found


def test_vmap_over_priorities():
  rng = np.random.default_rng(1)
  value = rng.random((3, 20)).astype(np.float32)
  uniform = rng.random((3, 8)).astype(np.float32)

  @jax.jit
  @jax.vmap
  def run(value, slot, uniform):
    state = _sum_tree.init(value)
    state = _sum_tree.put(state, slot[None], jnp.zeros(1))
    return _sum_tree.sample(state, uniform)

  got = run(value, np.arange(3), uniform)
  for i in range(3):
    value[i, i] = 0
    np.testing.assert_array_equal(got[i], reference(value[i], uniform[i]))


def test_bad_values():
  for bad in (np.zeros(0, np.float32), np.zeros((2, 2)), np.zeros(3, int)):
    with pytest.raises(
      ValueError, match="value: got .*, expected a floating vector"
    ):
      _sum_tree.init(bad)
