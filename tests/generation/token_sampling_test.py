import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import generation


def test_samples_follow_the_distribution():
  logits = jnp.log(jnp.array([0.5, 0.3, 0.15, 0.05]))
  many = jnp.broadcast_to(logits, (20_000, 4))

  def shares(**options):
    drawn = generation.sample(jax.random.key(0), many, **options)
    return np.bincount(drawn, minlength=4) / len(drawn)

  # Five standard deviations of a share of 20,000 draws are 0.018.
  near = {"atol": 0.018, "rtol": 0}
  np.testing.assert_allclose(shares(), [0.5, 0.3, 0.15, 0.05], **near)
  np.testing.assert_allclose(
    shares(top_k=2), [0.5 / 0.8, 0.3 / 0.8, 0, 0], **near
  )
  np.testing.assert_allclose(
    shares(top_p=0.9), [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0], **near
  )
  squares = np.array([0.5, 0.3, 0.15, 0.05]) ** 2
  np.testing.assert_allclose(
    shares(temperature=0.5), squares / squares.sum(), **near
  )
  np.testing.assert_array_equal(shares(temperature=0.0), [1, 0, 0, 0])


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (
      {"temperature": -1.0},
      "temperature: got -1.0, expected a finite number of at least 0",
    ),
    ({"top_k": 8}, "top_k: got 8, expected an integer from 1 to 7"),
    (
      {"top_p": 0.0},
      "top_p: got 0.0, expected a number above 0 and of at most 1",
    ),
  ],
)
def test_bad_options(options, message):
  with pytest.raises(ValueError, match=message):
    generation.sample(jax.random.key(0), jnp.zeros((2, 7)), **options)
