"""Memories of sparse codes: golden values, and what codes have in common."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.sparse_codes import memories


@pytest.mark.usefixtures("x64")
def test_codes_are_those_of_the_reference(golden):
  expected = golden("sparse_codes/code_selection")
  modules, units, width = expected["weights"].shape
  config = memories.Config(
    width,
    modules,
    units,
    float(expected["a"]),
    float(expected["b"]),
    float(expected["lam"]),
    float(expected["shift"]),
  )
  memory = memories.init(config)
  for k in range(6):
    one = {
      name.partition("/")[2]: value
      for name, value in expected.items()
      if name.startswith(f"k{k}/")
    }
    overlap = memories.overlaps(memory, one["input"])
    np.testing.assert_allclose(overlap, one["overlap"], atol=1e-14)
    likely = memories.probabilities(config, overlap)
    np.testing.assert_allclose(likely, one["probability"], rtol=1e-10)
    memory, stored = memories.store_one(
      config, memory, one["input"], one["uniform"]
    )
    np.testing.assert_array_equal(stored.code, one["winner"])
    np.testing.assert_allclose(
      stored.familiarity, one["familiarity"], atol=1e-14
    )
    np.testing.assert_array_equal(memory.sum((1, 2)), one["weights_sum"])
  np.testing.assert_array_equal(memory, expected["weights"])


def test_similar_items_share_units_and_unrelated_ones_by_chance():
  config = memories.Config(width=400, modules=64, units=8)
  rng = np.random.default_rng(0)
  first = np.zeros((10, 400), np.float32)
  for row in first:
    row[rng.choice(400, 20, replace=False)] = 1
  similar = first.copy()
  for row in similar:
    row[rng.choice(np.flatnonzero(row), 10, replace=False)] = 0
    row[rng.choice(np.flatnonzero(row == 0), 10, replace=False)] = 1
  # Batch rows: the items come again, or similar ones come.
  items = np.stack(
    [np.concatenate([first, first]), np.concatenate([first, similar])]
  )
  empty = memories.init(config, (2,))
  memory, stored = memories.store(config, empty, items, jax.random.key(0))

  def shared(a, b):
    return (a[:, None] == b[None]).mean(-1)

  again = shared(stored.code[0, :10], stored.code[0, 10:])
  near = shared(stored.code[1, :10], stored.code[1, 10:])
  # A draw of the surest unit still has a chance of 1e-4 for each of the others.
  assert np.diag(again).min() > 0.98
  assert stored.familiarity[0, 10:].min() == 1
  # 90 pairs of 64 modules each: the standard error is about 0.005, and drawn
  # items have one place of twenty in common.
  others = again[~np.eye(10, dtype=bool)].mean()
  assert abs(others - 1 / config.units) < 0.05
  assert others + 0.15 < np.diag(near).mean() < 0.95
  # A part is enough for the whole.
  part = first * (np.cumsum(first, axis=-1) <= 14)
  codes = jax.vmap(memories.recall, (None, 0))(memory[0], part)
  read = jax.vmap(memories.contents, (None, 0))(memory[0], codes)
  assert np.all(read[first > 0] > 0.5)
  assert read[first == 0].mean() < 0.2


def test_items_come_one_after_the_other_and_empty_ones_change_nothing():
  config = memories.Config(width=6, modules=3, units=2)
  empty = memories.init(config)
  items = jnp.eye(3, 6)
  key = jax.random.key(1)
  memory, stored = memories.store(config, empty, items, key)
  draws = jax.random.uniform(key, (3, 3))
  expected = empty
  for item, draw, code in zip(items, draws, stored.code):
    expected, one = memories.store_one(config, expected, item, draw)
    np.testing.assert_array_equal(one.code, code)
  np.testing.assert_array_equal(memory, expected)
  nothing = jnp.zeros(6)
  assert memories.familiarity(memory, nothing) == 0
  same, _ = memories.store_one(config, memory, nothing, draws[0])
  np.testing.assert_array_equal(same, memory)


def test_errors_name_the_argument():
  with pytest.raises(ValueError, match="units: got 0"):
    memories.Config(4, units=0)
  config = memories.Config(4)
  with pytest.raises(ValueError, match=r"items: got shape \(2, 3\)"):
    memories.store(
      config, memories.init(config), jnp.ones((2, 3)), jax.random.key(0)
    )
  with pytest.raises(ValueError, match=r"x: got shape \(3,\), .*, 4\)"):
    memories.familiarity(memories.init(config), jnp.ones(3))
