import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.rl import return_scale

_GAMMA = 0.9


def _plain(reward, ended):
  """Discounted returns step by step, in float64."""
  returns, held = np.zeros(reward.shape), np.zeros(len(reward))
  for t in range(reward.shape[1]):
    held = reward[:, t] + _GAMMA * held
    returns[:, t] = held
    held = np.where(ended[:, t], 0, held)
  return returns


def _steps(time=60, num_envs=5, scale=1.0):
  rng = np.random.default_rng(0)
  reward = scale * rng.normal(1, 2, size=(num_envs, time))
  return reward.astype(np.float32), rng.random((num_envs, time)) < 0.2


def test_rollouts_merge_to_the_mean_square_of_all_returns():
  reward, ended = _steps()
  statistics = return_scale.initial(len(reward))
  merge = jax.jit(return_scale.merge, static_argnums=3)
  for start, stop in ((0, 1), (1, 20), (20, 60)):
    part = slice(start, stop)
    statistics = merge(statistics, reward[:, part], ended[:, part], _GAMMA)
  returns = _plain(reward.astype(float), ended)
  assert statistics.count == returns.size
  # Sums of 300 numbers in float32.
  expected = np.square(returns).mean()
  np.testing.assert_allclose(statistics.mean_square, expected, rtol=1e-5)
  np.testing.assert_allclose(
    return_scale.scale(statistics), expected**-0.5, rtol=1e-5
  )
  last = np.where(ended[:, -1], 0, _GAMMA * returns[:, -1])
  np.testing.assert_allclose(statistics.returns, last, rtol=1e-5, atol=1e-5)


def test_rewards_are_left_alone_until_there_is_one():
  statistics = return_scale.initial(3)
  assert return_scale.scale(statistics) == 1
  zeros = jnp.zeros((3, 4))
  statistics = return_scale.merge(statistics, zeros, zeros > 0, _GAMMA)
  assert return_scale.scale(statistics) == 1


def test_rewards_that_are_not_finite_are_not_counted():
  reward, ended = _steps()
  before = return_scale.merge(
    return_scale.initial(len(reward)), reward, ended, _GAMMA
  )
  after = return_scale.merge(before, reward + np.float32("inf"), ended, _GAMMA)
  assert after.count == before.count
  assert after.mean_square == before.mean_square
  np.testing.assert_array_equal(after.returns, 0)


def test_the_same_return_in_all_episodes_has_a_scale():
  # The standard deviation of these returns is 0.
  reward = np.full((2, 8), 5, np.float32)
  statistics = return_scale.merge(
    return_scale.initial(2), reward, np.ones((2, 8), bool), _GAMMA
  )
  np.testing.assert_allclose(return_scale.scale(statistics), 0.2, rtol=1e-6)
