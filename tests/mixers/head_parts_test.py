"""Parts of mixers with heads: resets of each, and lengths."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers import head_parts


def test_flags_of_elements_are_those_of_every_head():
  reset = np.random.default_rng(0).random((2, 5)) < 0.5
  split = head_parts.resets(jnp.asarray(reset), (2, 3, 4, 5))
  assert split.shape == (2, 3, 4, 5)
  for row in range(2):
    assert (split[row] == reset[row]).all()
  one = head_parts.resets(jnp.asarray(reset[:, 0]), (2, 3, 4), time=False)
  assert one.shape == (2, 3, 4)
  assert (one[:, 1, 2] == reset[:, 0]).all()
  assert head_parts.resets(None, (2, 3, 5)) is None


def test_lengths_norms_and_gates_of_heads():
  x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 6)))
  parts = head_parts.split(x, 3)
  np.testing.assert_array_equal(parts[:, 1], x[:, 2:4])
  unit = head_parts.unit(parts, 0.0, scale=2.0)
  # float32 rounding, here and below.
  lengths = np.linalg.norm(unit, axis=-1)
  np.testing.assert_allclose(lengths, 2, rtol=1e-6)
  normed = head_parts.layer_normed(parts, jnp.ones(6), None, 1e-12)
  assert normed.shape == (2, 6)
  np.testing.assert_allclose(np.abs(normed), 1, rtol=1e-4)
  squares = head_parts.normed(parts, jnp.ones(2), 0.0) ** 2
  np.testing.assert_allclose(squares.mean(-1), 1, rtol=1e-6)
  np.testing.assert_array_equal(head_parts.gated(parts, 0 * parts), 0)


def test_heads_that_do_not_divide_the_width_are_refused():
  with pytest.raises(ValueError, match="heads: got 4, expected a divisor of 6"):
    head_parts.split(jnp.zeros((2, 6)), 4)
