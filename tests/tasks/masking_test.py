"""Hiding of tokens: which, how many, and as what."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.tasks import masking


def test_shares_and_what_is_never_hidden():
  rng = np.random.default_rng(0)
  # 0 to 2 and 8 are special, of which 8 is the mask; 3 to 7 are letters.
  tokens = jnp.asarray(rng.integers(3, 8, (400, 100)))
  tokens = tokens.at[:, 0].set(0).at[:, 90:].set(1)
  allowed = (tokens > 2) & (jnp.arange(100) < 80)
  letters = jnp.arange(3, 8)
  inputs, scored = masking.mask(jax.random.key(0), tokens, allowed, 8, letters)
  assert not scored[~allowed].any()
  np.testing.assert_array_equal(inputs[~scored], tokens[~scored])
  # Six standard deviations of binomial shares of 31,600 and of 4,740.
  assert abs(scored[allowed].mean() - 0.15) < 0.012
  shown, true = np.asarray(inputs[scored]), np.asarray(tokens[scored])
  near = pytest.approx
  assert np.mean(shown == 8) == near(0.8, abs=0.035)
  # A fifth of what is drawn is what stood there.
  assert np.mean(shown == true) == near(0.1 + 0.1 / 5, abs=0.029)
  other = shown[(shown != 8) & (shown != true)]
  assert set(other) <= set(range(3, 8))
  hidden = masking.mask(
    jax.random.key(0), tokens, allowed, 8, letters, hidden=1.0, random=0.0
  )
  np.testing.assert_array_equal(hidden.scored, scored)
  np.testing.assert_array_equal(hidden.inputs == 8, scored)
  with pytest.raises(ValueError, match="random: got 0.3, expected"):
    masking.mask(
      jax.random.key(0), tokens, allowed, 8, letters, hidden=0.8, random=0.3
    )


def test_rows_without_masks_are_scaled_as_those_of_training():
  x = jnp.ones((2, 5, 2))
  tokens = jnp.array([[8, 3, 4, 8, 0], [3, 4, 5, 6, 7]])
  y = masking.drop_masks(x, tokens, 8, jnp.array([4, 5]))
  # 0.12 of the tokens are masks in training, and 2 of 4 and 0 of 5 here.
  expected = np.array([[0, 1.76, 1.76, 0, 1.76], [0.88] * 5])
  np.testing.assert_allclose(y[..., 0], expected, rtol=1e-6)
