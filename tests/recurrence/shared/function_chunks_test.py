"""A running sum in pieces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence


@pytest.mark.parametrize("size", [None, 1, 3, 4, 7])
def test_a_sum_in_chunks(size):
  x = np.arange(14.0, dtype="f").reshape(2, 7)

  def run(total, x, nothing):
    assert nothing is None
    sums = total[:, None] + jnp.cumsum(x, axis=1)
    return sums[:, -1], (sums, 2 * x)

  def whole(x):
    start = jnp.ones(2)
    return recurrence.in_chunks(run, start, (x, None), 1, size)

  total, (sums, twice) = whole(x)
  # Integers: no rounding.
  np.testing.assert_array_equal(sums, 1 + np.cumsum(x, axis=1))
  np.testing.assert_array_equal(total, 1 + x.sum(axis=1))
  np.testing.assert_array_equal(twice, 2 * x)
  slope = jax.grad(lambda x: whole(x)[1][0].sum())(x)
  np.testing.assert_array_equal(slope[0], np.arange(7, 0, -1))
