"""Padding of what kernels take."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.kernels import _calls


@pytest.mark.parametrize("size", [8, 9])
def test_padded(size):
  x = jnp.ones((2, size, 3))
  expected = np.ones((2, 8 * -(-size // 8), 3))
  expected[:, size:] = 5
  np.testing.assert_array_equal(_calls.padded(x, 1, 8, 5), expected)
