import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl.replay import sequences

CAPACITY = 7


def item(numbers):
  """Sequences that tell their numbers in every part."""
  numbers = jnp.asarray(numbers)
  return {
    "memory": (jnp.stack([numbers, -numbers], axis=-1).astype(jnp.float32),),
    "action": numbers[:, None].astype(jnp.int32) * jnp.ones(3, jnp.int32),
    "flag": numbers[:, None] % 2 == jnp.zeros(2, jnp.int32),
  }


def empty():
  one = jax.tree.map(lambda x: x[0], item(jnp.arange(1)))
  return sequences.init(one, CAPACITY)


@jax.jit
def add(replay, numbers):
  return sequences.add(replay, item(numbers))


@functools.partial(jax.jit, static_argnums=(2, 3))
def sample(replay, key, batch_size, importance_exponent):
  return sequences.sample(
    replay, key, batch_size, importance_exponent=importance_exponent
  )


def set_priority(replay, places, priority, exponent=1.0):
  return replay._replace(
    priorities=sequences.set_priority(
      replay.priorities, jnp.array(places), jnp.array(priority), exponent
    )
  )


def priority(replay):
  return np.asarray(replay.priorities.rows).ravel()[:CAPACITY]


def held(replay):
  return replay.items["action"][:, 0].tolist()


def test_the_ring_wraps_around_and_keeps_every_part():
  replay = empty()
  expected = [0] * CAPACITY
  for start in range(0, 30, 3):
    replay = add(replay, jnp.arange(start, start + 3))
    for number in range(start, start + 3):
      expected[number % CAPACITY] = number
    assert held(replay) == expected
  assert replay.count == 30
  places = jnp.array([[0, 6], [3, 3]])
  taken = sequences.take(replay, places)
  numbers = np.array(expected)[places]
  np.testing.assert_array_equal(
    taken["memory"][0], np.stack([numbers, -numbers], axis=-1)
  )
  np.testing.assert_array_equal(
    taken["action"], np.repeat(numbers[..., None], 3, axis=-1)
  )
  np.testing.assert_array_equal(
    taken["flag"], np.repeat(numbers[..., None] % 2 == 0, 2, axis=-1)
  )
  for leaf, ring in zip(
    jax.tree.leaves(item(jnp.arange(1))), jax.tree.leaves(replay.items)
  ):
    assert ring.dtype == leaf.dtype
    assert ring.shape == (CAPACITY, *leaf.shape[1:])


def test_all_places_at_once_and_no_more():
  replay = add(add(empty(), jnp.arange(3)), jnp.arange(10, 17))
  assert sorted(held(replay)) == list(range(10, 17))
  with pytest.raises(ValueError, match="number of items: got 8, expected"):
    add(replay, jnp.arange(8))
  with pytest.raises(ValueError, match="capacity: got 0, expected an integer"):
    sequences.init(item(jnp.arange(1)), 0)


def test_sampling_is_uniform_over_what_is_there():
  replay = add(empty(), jnp.arange(5))
  # Priorities must not matter.
  replay = set_priority(replay, [1, 2], [0.0, 50.0], 0.0)
  places, weight = sample(replay, jax.random.key(0), 10_000, 0.6)
  np.testing.assert_array_equal(weight, 1)
  counts = np.bincount(places, minlength=CAPACITY)
  # The standard deviation of a count is 40.
  np.testing.assert_allclose(counts[:5], 2000, atol=200)
  np.testing.assert_array_equal(counts[5:], 0)


def test_sampling_by_priority():
  replay = add(empty(), jnp.arange(4))
  given = [1.0, 4.0, 0.0, 9.0]
  replay = set_priority(replay, [0, 1, 2, 3], given, 0.5)
  places, weight = sample(replay, jax.random.key(0), 12_000, 1.0)
  counts = np.bincount(places, minlength=CAPACITY)
  # Proportional to the root of the priority; the root of the least one is
  # 0.001. The standard deviation of a count is below 55.
  np.testing.assert_allclose(counts[:4], [2000, 4000, 2, 6000], atol=250)
  np.testing.assert_array_equal(counts[4:], 0)
  rarest = places.tolist().index(
    min(set(places.tolist()), key=given.__getitem__)
  )
  drawn = np.sqrt(np.asarray(given) + 1e-6)[places]
  np.testing.assert_allclose(weight, drawn[rarest] / drawn, rtol=1e-5)
  assert weight.max() == 1


def test_sequences_come_with_the_highest_priority():
  replay = add(empty(), jnp.arange(2))
  np.testing.assert_array_equal(priority(replay), [1, 1, 0, 0, 0, 0, 0])
  replay = set_priority(replay, [0, 1], [0.5, 0.25])
  replay = add(replay, jnp.arange(2, 4))
  np.testing.assert_allclose(
    priority(replay), [0.5, 0.25, 0.5, 0.5, 0, 0, 0], rtol=1e-5
  )
  assert priority(replay)[2] == priority(replay)[0]


def test_one_sequence_is_always_found():
  replay = add(empty(), jnp.arange(1))
  replay = set_priority(replay, [0], [0.0])
  places, weight = sample(replay, jax.random.key(1), 100, 1.0)
  np.testing.assert_array_equal(places, 0)
  np.testing.assert_array_equal(weight, 1)


@pytest.mark.slow
def test_vmap_over_seeds():
  first = add(empty(), jnp.arange(5))
  second = add(add(empty(), jnp.arange(3)), jnp.arange(20, 27))
  both = jax.tree.map(lambda *x: jnp.stack(x), first, second)
  numbers = jnp.array([[7, 8, 9], [30, 31, 32]])
  both = jax.vmap(add)(both, numbers)
  keys = jax.random.split(jax.random.key(0), 2)
  places, _ = jax.vmap(lambda r, k: sample(r, k, 20, 0.5))(both, keys)
  for i, alone in enumerate((first, second)):
    alone = add(alone, numbers[i])
    assert held(alone) == both.items["action"][i, :, 0].tolist()
    np.testing.assert_array_equal(places[i], sample(alone, keys[i], 20, 0.5)[0])
