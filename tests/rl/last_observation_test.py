import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import _last_observation
from jaxseq.rl import mixtures
from tests.rl import toy


def play(env, params, num_steps, seed=0):
  """Plays random actions; returns the observations before, and what came."""

  @jax.jit
  def run(key):
    key_reset, key_play = jax.random.split(key)

    def step(carry, key):
      observation, state = carry
      key_action, key_step = jax.random.split(key)
      action = env.action_space(params).sample(key_action)
      following, state, *rest = env.step(key_step, state, action, params)
      return (following, state), (observation, action, *rest)

    return jax.lax.scan(
      step,
      env.reset(key_reset, params),
      jax.random.split(key_play, num_steps),
    )[1]

  return jax.device_get(run(jax.random.key(seed)))


def test_a_cut_episode_shows_its_last_observation():
  # Episodes of five steps; the observation is sin(time), the previous action as
  # a one-hot, and the first-step flag.
  env, params = toy.paid()
  shown, action, reward, terminated, truncated, info = play(
    _last_observation.LastObservation(env), params, 18
  )
  time = np.arange(18) % 6
  np.testing.assert_allclose(shown[:, 0], np.sin(time), rtol=1e-6)
  np.testing.assert_array_equal(shown[:, -1], time == 0)
  before = np.eye(2)[np.roll(action, 1)] * (time > 0)[:, None]
  np.testing.assert_array_equal(shown[:, 1:3], before)
  np.testing.assert_array_equal(truncated, time == 5)
  np.testing.assert_array_equal(reward, time != 5)
  assert not terminated.any()
  # What is said of the episode does not count the step that did nothing.
  np.testing.assert_array_equal(info["returned_episode_return"][truncated], 5)
  np.testing.assert_array_equal(info["returned_episode_length"][truncated], 5)
  np.testing.assert_array_equal(
    info["final_observation"][truncated], shown[truncated]
  )


def test_terminations_are_as_they_were():
  # Within five steps, some episodes end by themselves.
  env, params = toy.paid(longest=9)
  shown, _, reward, terminated, truncated, info = play(
    _last_observation.LastObservation(env), params, 300
  )
  assert terminated.sum() > 20
  assert truncated.sum() > 10
  done = terminated | truncated
  np.testing.assert_array_equal(shown[1:, -1] == 1, done[:-1])
  np.testing.assert_array_equal(reward, ~truncated)
  ends = np.flatnonzero(done)
  lengths = np.diff(ends, prepend=-1) - truncated[ends]
  np.testing.assert_array_equal(info["returned_episode_length"][ends], lengths)
  # Five steps are the limit, and an end at the limit is an end.
  assert (lengths[truncated[ends]] == 5).all()
  assert (lengths[terminated[ends]] <= 5).all()
  assert (lengths[terminated[ends]] == 5).any()


@pytest.mark.parametrize("cuts_at_once", [1, 2])
def test_the_shortest_episodes(cuts_at_once):
  env, params = toy.paid(limit=cuts_at_once)
  _, _, reward, _, truncated, info = play(
    _last_observation.LastObservation(env), params, 12
  )
  expected = np.arange(12) % (cuts_at_once + 1) == cuts_at_once
  np.testing.assert_array_equal(truncated, expected)
  np.testing.assert_array_equal(reward, ~expected)
  lengths = info["returned_episode_length"][truncated]
  np.testing.assert_array_equal(lengths, cuts_at_once)


def test_mixtures_are_wrapped_block_by_block():
  blocks = [toy.paid(limit=limit)[0] for limit in (2, 3)]
  mixture = mixtures.Mixture(tuple(blocks))
  env = mixtures.wrap(mixture, _last_observation.LastObservation)
  keys = jax.random.split(jax.random.key(0), 4)
  _, state = env.reset(keys)
  ends = []
  step = jax.jit(env.step)
  for _ in range(12):
    _, state, _, _, truncated, _ = step(keys, state, jnp.zeros(4, jnp.int32))
    ends.append(truncated)
  time = np.arange(12)
  expected = np.stack([time % 3 == 2] * 2 + [time % 4 == 3] * 2, axis=1)
  np.testing.assert_array_equal(ends, expected)
