import jax.numpy as jnp
import numpy as np

from jaxseq.rl.losses import priorities


def test_importance_weights():
  priority = jnp.array([0.5, 2.0, 1.0])
  got = priorities.importance_weights(priority, 0.4)
  np.testing.assert_allclose(got, [1, 0.25**0.4, 0.5**0.4], rtol=1e-6)
  np.testing.assert_array_equal(priorities.importance_weights(priority, 0.0), 1)
  few = priorities.importance_weights(jnp.zeros(2), 1.0, epsilon=1e-5)
  assert np.isfinite(few).all()


def test_priorities_of_sequences():
  td_error = jnp.array([[1.0, -3.0, 0.0], [0.0, 0.0, 1.0]])
  mask_t = jnp.array([[True, True, False], [True, True, True]])
  np.testing.assert_allclose(
    priorities.sequence_priority(td_error, mask_t, max_share=0.9),
    [0.9 * 3 + 0.1 * 2, 0.9 * 1 + 0.1 / 3],
    rtol=1e-6,
  )
  np.testing.assert_allclose(
    priorities.sequence_priority(td_error, max_share=0.5),
    [0.5 * 3 + 0.5 * 4 / 3, 0.5 * 1 + 0.5 / 3],
    rtol=1e-6,
  )
  nothing = jnp.zeros_like(mask_t)
  np.testing.assert_array_equal(
    priorities.sequence_priority(jnp.zeros((2, 3)), nothing, max_share=0.9), 0
  )
