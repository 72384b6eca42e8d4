"""Memories: the reservoir, herding, shares of classes, bytes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.continual import exemplars


def _memory(size, **options):
  return exemplars.empty(size, jnp.zeros((1, 1), jnp.float32), 10, **options)


def test_a_reservoir_is_filled_and_then_keeps_all_alike():
  """The shares are those of a loop over elements, one by one."""
  numbers = jnp.arange(40.0)[:, None]
  offer = jax.jit(
    jax.vmap(
      lambda memory, x, key: exemplars.offer(memory, x, x[:, 0] % 10, key),
      (0, None, 0),
    )
  )
  runs, size = 2000, 8
  memory = jax.vmap(lambda _: _memory(size))(jnp.arange(runs))
  for step, x in enumerate(jnp.split(numbers, 8)):
    keys = jax.random.split(jax.random.key(step), runs)
    memory = offer(memory, x, keys)
    if step == 0:
      np.testing.assert_array_equal(memory.inputs[:, :5, 0], [range(5)] * runs)
      assert not memory.inputs[:, 5:].any()
  stored = np.asarray(memory.inputs[..., 0], int)
  np.testing.assert_array_equal(memory.targets, stored % 10)
  assert (memory.seen == 40).all()
  assert all(len(set(row)) == size for row in stored)
  share = np.bincount(stored.ravel(), minlength=40) / runs
  # A standard deviation is .009.
  np.testing.assert_allclose(share, size / 40, atol=0.04)


@pytest.mark.slow
def test_what_is_drawn_from_an_empty_memory_counts_nothing():
  memory = _memory(3, logits=True)
  assert not exemplars.recall(memory, jax.random.key(0), 4).weight.any()
  x = jnp.full((1, 1), 2.0)
  logits = jnp.arange(10.0)[None]
  memory = exemplars.offer(memory, x, jnp.array([7]), jax.random.key(1), logits)
  drawn = exemplars.recall(memory, jax.random.key(0), 4)
  np.testing.assert_array_equal(drawn.targets, [7] * 4)
  np.testing.assert_array_equal(drawn.logits, jnp.tile(logits, (4, 1)))
  np.testing.assert_array_equal(drawn.weight, [1] * 4)


def _herded(features, count):
  """The released loop."""
  rest = features / (np.linalg.norm(features, axis=1, keepdims=True) + 1e-8)
  mean, chosen, numbers = rest.mean(0), [], list(range(len(rest)))
  order = []
  for k in range(1, count + 1):
    total = np.sum(chosen, axis=0) if chosen else 0
    best = np.argmin(np.sqrt(((mean - (rest + total) / k) ** 2).sum(1)))
    chosen.append(rest[best])
    order.append(numbers.pop(best))
    rest = np.delete(rest, best, axis=0)
  return order


@pytest.mark.usefixtures("x64")
def test_herding():
  rng = np.random.default_rng(0)
  features, mask = rng.normal(size=(9, 4)), np.arange(9) % 3 != 1
  ranks = exemplars.herd(jnp.asarray(features), jnp.asarray(mask), 4)
  order = np.flatnonzero(mask)[_herded(features[mask], 4)]
  np.testing.assert_array_equal(ranks[order], range(4))
  assert (np.sort(ranks)[4:] == 9).all()


def test_classes_share_the_places():
  memory, x = _memory(6), jnp.arange(10.0)[:, None]
  labels = jnp.arange(10) % 2
  ranks = jnp.arange(10)[::-1] // 2
  memory = exemplars.balanced(memory, x, labels, ranks, 2)
  np.testing.assert_array_equal(memory.inputs[:, 0], [8, 6, 4, 9, 7, 5])
  np.testing.assert_array_equal(memory.targets, [0, 0, 0, 1, 1, 1])
  # One example of class 2 only: its other places stay free.
  memory = exemplars.balanced(
    memory, x[:2] + 50, jnp.array([2, 3]), jnp.array([0, 9]), 3
  )
  np.testing.assert_array_equal(memory.inputs[:, 0], [8, 6, 9, 7, 50, 0])
  assert memory.seen == 5
  np.testing.assert_array_equal(memory.filled, [1, 1, 1, 1, 1, 0])


def test_bytes():
  memory = exemplars.empty(5, jnp.zeros((1, 8, 8), jnp.uint8), 10, logits=True)
  assert exemplars.num_bytes(memory) == 5 * (64 + 1 + 40) + 4
  x = np.linspace(-1, 3, 7, dtype=np.float32)
  np.testing.assert_allclose(
    exemplars.decode(exemplars.encode(x, -1, 3), -1, 3), x, atol=4 / 509
  )
