"""Gymnasium's environments under compiled code."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import _last_observation
from jaxseq.rl import envs
from jaxseq.rl import rollout
from jaxseq.rl.agents import ppo
from jaxseq.rl.envs import foreign
from jaxseq.rl.envs import spaces
from jaxseq.rl.envs.adapters import gymnasium_vectors
from tests.rl import toy


class Counts(gymnasium.Env):
  """Shows where it began and the last action; ends after an action of 0."""

  observation_space = gymnasium.spaces.Dict(
    {
      "began": gymnasium.spaces.Box(0, 1, (1,), np.float64),
      "last": gymnasium.spaces.MultiDiscrete([3, 2]),
    }
  )
  action_space = gymnasium.spaces.Discrete(3)

  def _see(self, action):
    last = np.array([action, action > 0], np.int64)
    return {"began": np.array([self._began]), "last": last}

  def reset(self, *, seed=None, options=None):
    super().reset(seed=seed)
    self._began = self.np_random.random()
    return self._see(0), {}

  def step(self, action):
    return self._see(action), float(action), action == 0, False, {}


gymnasium.register("JaxseqCounts-v0", entry_point=Counts, max_episode_steps=3)


class Board(gymnasium.Env):
  """Shows the last action, whose choices are in two axes."""

  observation_space = gymnasium.spaces.MultiDiscrete([[2, 3], [4, 5]])
  action_space = gymnasium.spaces.MultiDiscrete([[2, 3], [4, 5]])

  def reset(self, *, seed=None, options=None):
    return np.zeros((2, 2), np.int64), {}

  def step(self, action):
    inside = self.action_space.contains(action.astype(np.int64))
    return action, float(inside), False, False, {}


gymnasium.register("JaxseqBoard-v0", entry_point=Board, max_episode_steps=3)


@pytest.fixture
def played():
  """Four steps of three environments, in one compiled loop."""
  env, params = envs.make("gymnasium/JaxseqCounts-v0")
  actions = jnp.array([[1, 1, 0], [2, 2, 1], [1, 0, 2], [2, 2, 1]])

  @jax.jit
  def play(keys):
    first, state = jax.vmap(env.reset)(keys)

    def step(state, action):
      observation, state, *rest, info = jax.vmap(env.step)(keys, state, action)
      return state, (observation, *rest, info["final_observation"])

    return first, jax.lax.scan(step, state, actions)[1]

  return env, params, actions, *play(jax.random.split(jax.random.key(0), 3))


def test_episodes_end_are_cut_and_begin_anew(played):
  env, params, actions, first, after = played
  observation, reward, terminated, truncated, final = after
  assert params.max_steps_in_episode == 3
  np.testing.assert_array_equal(reward, actions)
  expected = np.zeros((4, 3), bool)
  expected[0, 2] = expected[2, 1] = True
  np.testing.assert_array_equal(terminated, expected)
  cut = np.zeros((4, 3), bool)
  cut[2, :2] = cut[3, 2] = True
  np.testing.assert_array_equal(truncated, cut)
  # What a step has led to, and the first of the next episode.
  np.testing.assert_array_equal(final["last"][..., 0], actions)
  np.testing.assert_array_equal(final["last"][..., 1], actions > 0)
  done = terminated | truncated
  np.testing.assert_array_equal(
    observation["last"][..., 0], np.where(done, 0, actions)
  )
  began = np.concatenate([first["began"][None], observation["began"]])[..., 0]
  np.testing.assert_array_equal(began[1:] != began[:-1], done)
  np.testing.assert_array_equal(final["began"][..., 0], began[:-1])
  # Environments of a batch differ.
  assert len(set(first["began"].ravel().tolist())) == 3
  space = env.observation_space(params)
  assert isinstance(space.spaces["last"], spaces.MultiDiscrete)
  one = jax.tree.map(lambda x: x[0, 0], observation)
  assert bool(space.contains(one))


def test_the_numbers_are_gymnasiums_own():
  env, _ = envs.make("gymnasium/CartPole-v1")
  key = jax.random.key(3)
  seed = int(jax.random.bits(key, (), jnp.uint32)) % 2**31
  plain = gymnasium.make("CartPole-v1")
  expected, _ = plain.reset(seed=seed)
  observation, state = env.reset(key)
  np.testing.assert_array_equal(observation, expected)
  for action in (1, 0, 0, 1):
    observation, state, reward, terminated, truncated, _ = env.step(
      key, state, jnp.int32(action)
    )
    expected = plain.step(action)
    np.testing.assert_array_equal(observation, expected[0])
    assert (reward, terminated, truncated) == expected[1:4]


def test_vectors_that_are_gone_are_made_anew(caplog):
  env, _ = envs.make("gymnasium/JaxseqCounts-v0")
  _, state = env.reset(jax.random.key(0))
  env._hosted._vectors.clear()
  observation, *_ = env.step(jax.random.key(0), state, jnp.int32(2))
  assert observation["last"][0] == 2
  assert "no longer exist; fresh ones replace them" in caplog.text


def test_a_last_observation_is_seen_without_a_step_of_the_game():
  env, params = envs.make("gymnasium/JaxseqCounts-v0")
  env = _last_observation.LastObservation(env)
  keys = jax.random.split(jax.random.key(0), 2)
  # The first player ends a game; all others last for the limit, three steps.
  actions = jnp.array([[1, 0, 2, 1, 2, 1, 2, 1], [1, 2, 1, 2, 1, 2, 1, 2]]).T

  def step(state, action):
    observation, state, *outcome, _ = jax.vmap(
      env.step, in_axes=(0, 0, 0, None)
    )(keys, state, action, params)
    return state, (observation["last"][..., 0], *outcome)

  _, state = jax.vmap(env.reset, in_axes=(0, None))(keys, params)
  _, (seen, reward, terminated, truncated) = jax.lax.scan(step, state, actions)
  waits = np.zeros((8, 2), bool)
  waits[5, 0] = waits[3, 1] = waits[7, 1] = True
  np.testing.assert_array_equal(truncated, waits)
  np.testing.assert_array_equal(terminated, np.asarray(actions) == 0)
  np.testing.assert_array_equal(seen, np.where(waits, 0, actions))
  np.testing.assert_array_equal(reward, np.where(waits, 0, actions))


def test_choices_in_two_axes_reach_the_game_as_they_are():
  env, _ = envs.make("gymnasium/JaxseqBoard-v0")
  _, state = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 2))
  actions = jnp.array([[1, 2, 3, 4], [0, 1, 2, 3]])
  keys = jax.random.split(jax.random.key(0), 2)
  observation, _, reward, *_ = jax.vmap(env.step)(keys, state, actions)
  np.testing.assert_array_equal(reward, 1)
  np.testing.assert_array_equal(observation, actions)


def test_few_vectors_stay_open():
  env, _ = envs.make("gymnasium/JaxseqCounts-v0")
  for i in range(gymnasium_vectors._MOST + 2):
    env.reset(jax.random.key(i))
  assert len(env._hosted._vectors) == gymnasium_vectors._MOST


@pytest.mark.slow
def test_ppo_learns_from_them():
  config = ppo.Config(
    env_id="gymnasium/JaxseqCounts-v0",
    network=toy.network(num_layers=0),
    num_envs=4,
    rollout_length=8,
    num_minibatches=1,
    num_epochs=1,
    total_steps=64,
  )
  runners = jax.vmap(lambda key: ppo.init(config, key))(
    jax.random.split(jax.random.key(0), 2)
  )
  runners, metrics = jax.vmap(lambda runner: ppo.train(config, runner, 2))(
    runners
  )
  # Episodes last three steps at most.
  assert (np.asarray(metrics["episodes"]) >= 4 * 8 // 3 - 4).all()
  assert np.isfinite(metrics["loss"]).all()


def test_a_time_limit_is_an_option_and_no_parameter():
  env_id, limit = "gymnasium/JaxseqCounts-v0", ("max_steps_in_episode", 2)
  told = "max_steps_in_episode: got 2, expected 3, .* max_episode_steps"
  with pytest.raises(ValueError, match=told):
    rollout.environment(env_id, params=(limit,))
  options = (("max_episode_steps", 2),)
  _, params = rollout.environment(env_id, options, (limit,))
  assert params.max_steps_in_episode == 2
  # That of a meta-episode is no concern of Gymnasium's.
  rollout.environment("Trials", (("game", env_id),), (limit,))


@pytest.mark.parametrize(
  "space",
  [
    gymnasium.spaces.Discrete(3, start=-1),
    gymnasium.spaces.MultiDiscrete([2, 2], start=[0, 1]),
  ],
)
def test_choices_that_do_not_begin_with_0_are_refused(space):
  with pytest.raises(ValueError, match=r"space: got .*, expected choices that"):
    foreign.convert(gymnasium.spaces.Tuple([space]))


def test_what_gymnasium_does_not_know_gets_one_sentence():
  with pytest.raises(ValueError, match="env_id: got 'gymnasium/NoSuch-v0'"):
    envs.make("gymnasium/NoSuch-v0")
  with pytest.raises(ValueError, match="library: got 'gymnasum', .*gymnasium"):
    envs.make("gymnasum/CartPole-v1")
