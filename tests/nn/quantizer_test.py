"""Vectors by codes: which are used, and those that are started anew."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.nn import quantizer


def test_codes_of_which_nothing_is_nearest_are_started_anew():
  vectors = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
  # All codes but one lie where no vector is.
  residuals = jnp.asarray(vectors)[None].repeat(2, 0)
  books = jnp.full((2, 16, 2), 99.0)
  used = quantizer.used(jnp.zeros((2, 60), jnp.int32), 16)
  np.testing.assert_array_equal(used, jnp.arange(16) == jnp.zeros((2, 1)))
  revived = quantizer.revived(jax.random.key(0), books, residuals, ~used)
  np.testing.assert_array_equal(revived[:, 0], books[:, 0])
  rows = {tuple(row) for row in vectors.tolist()}
  assert all(tuple(row) in rows for row in revived[0, 1:].tolist())
  same = quantizer.revived(jax.random.key(0), books, residuals, used & ~used)
  np.testing.assert_array_equal(same, books)


def test_a_code_is_restarted_after_so_many_updates_without_use():
  residuals = jnp.arange(10.0).reshape(5, 2)
  trained = jnp.full((3, 2), 50.0)
  state = quantizer.Restarts(jnp.zeros((3, 2)), jnp.zeros(3, jnp.int32))
  codes = jnp.array([0, 0, 0, 0, 2])
  for update, idle in enumerate(([0, 1, 0], [0, 0, 0], [0, 1, 0])):
    key = jax.random.key(update)
    state = quantizer.restart(key, trained, state, codes, residuals, after=2)
    np.testing.assert_array_equal(state.idle, idle)
    moved = jnp.abs(state.shift).sum(axis=1) > 0
    np.testing.assert_array_equal(moved, [False, update > 0, False])
  book = trained + state.shift
  assert book[1].tolist() in residuals.tolist()
  never = quantizer.restart(key, trained, state, codes, residuals, after=0)
  np.testing.assert_array_equal(never.shift, state.shift)
