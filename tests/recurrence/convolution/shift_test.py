"""The token shift, over time and step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence


def test_equals_the_elements_before():
  x = np.arange(12.0, dtype=np.float32).reshape(1, 6, 2)
  last = np.array([[-1, -2]], np.float32)
  reset = np.zeros((1, 6), bool)
  reset[0, 4] = True
  before, after = recurrence.token_shift(x, last, reset)
  expected = np.concatenate([last[:, None], x[:, :-1]], axis=1)
  expected[0, 4] = 0
  np.testing.assert_array_equal(before, expected)
  np.testing.assert_array_equal(after, x[:, -1])
  for t in range(6):
    shifted, last = recurrence.token_shift_step(x[:, t], last, reset[:, t])
    np.testing.assert_array_equal(shifted, before[:, t])
  np.testing.assert_array_equal(last, after)


def test_dtypes_and_checks():
  x, last = jnp.ones((2, 3, 4), jnp.bfloat16), jnp.zeros((2, 4))
  before, after = recurrence.token_shift(x, last)
  assert (before.dtype, after.dtype) == (jnp.bfloat16, jnp.float32)
  with pytest.raises(ValueError, match="last"):
    recurrence.token_shift(x, last[:, :3])
  with pytest.raises(ValueError, match="floating"):
    recurrence.token_shift_step(jnp.ones((2, 4), jnp.int32), last)


def test_gradients_stop_at_resets():
  x, last = jnp.ones((1, 3, 2)), jnp.full((1, 2), jnp.nan)
  reset = jnp.array([[True, False, True]])
  slope = jax.grad(
    lambda x, last: jnp.sum(recurrence.token_shift(x, last, reset)[0]), (0, 1)
  )(x, last)
  np.testing.assert_array_equal(slope[0][0, :, 0], [1, 0, 0])
  assert not slope[1].any()
