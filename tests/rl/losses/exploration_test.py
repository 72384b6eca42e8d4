import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.rl.losses import exploration


def test_shares_of_random_and_of_best_actions():
  q = jnp.array([[0.0, 2.0, 1.0, -1.0]]).repeat(8000, axis=0)
  actions = exploration.epsilon_greedy(jax.random.key(0), q, 0.4)
  assert actions.dtype == jnp.int32
  # A standard error is below 0.0055.
  np.testing.assert_allclose(
    np.bincount(actions, minlength=4) / 8000, [0.1, 0.7, 0.1, 0.1], atol=0.025
  )


def test_each_element_has_its_epsilon():
  q = jnp.tile(jnp.array([0.0, 1.0, 0.5]), (2, 500, 1))
  epsilon = jnp.array([[0.0], [1.0]])
  actions = exploration.epsilon_greedy(jax.random.key(1), q, epsilon)
  assert actions.shape == (2, 500)
  assert (actions[0] == 1).all()
  assert set(actions[1].tolist()) == {0, 1, 2}
