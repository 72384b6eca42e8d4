"""Environments under gymnax's own wrappers."""

import copy

import gymnax
from gymnax import wrappers
from gymnax.environments import spaces as gymnax_spaces
import jax
import numpy as np
import pytest

from jaxseq.rl import envs
from jaxseq.rl.envs import for_gymnax

# Observations and actions of each kind that there is.
_NAMES = (
  "RepeatPreviousEasy",
  "PositionOnlyCartPoleEasy",
  "NoisyPositionOnlyPendulumEasy",
  "MineSweeperEasy",
  "HigherLowerEasy",
)


@pytest.fixture(params=_NAMES)
def made(request):
  envs.register_with_gymnax()
  return gymnax.make(request.param)


def test_spaces_are_gymnax_spaces(made):
  env, params = made
  key = jax.random.key(0)
  observation, state = env.reset(key, params)
  assert bool(env.observation_space(params).contains(observation))
  for space in (
    env.observation_space(params),
    env.action_space(params),
    env.state_space(params),
  ):
    assert isinstance(space, gymnax_spaces.Space)
  action = env.action_space(params).sample(key)
  stepped = env.step(key, state, action, params)
  again = env.get_obs(stepped[1], params)
  jax.tree.map(np.testing.assert_array_equal, stepped[0], again)
  again = env.observe(key, stepped[1], action, params)
  jax.tree.map(np.testing.assert_array_equal, stepped[0], again)
  over = env.is_terminal(stepped[1], params)
  assert env.discount(stepped[1], params) == 1 - int(over)


def test_one_environment_of_gymnasium(made):
  env, params = made
  wrapped = wrappers.GymnaxToGymWrapper(env, params, seed=0)
  observation, _ = wrapped.reset(seed=1)
  assert wrapped.observation_space.contains(
    jax.tree.map(np.asarray, observation)
  )
  for _ in range(3):
    observation, reward, *_ = wrapped.step(wrapped.action_space.sample())
    assert np.isfinite(reward)


def test_vectors_of_environments_of_gymnasium(made):
  env, params = made
  wrapped = wrappers.GymnaxToVectorGymWrapper(
    env, num_envs=3, params=params, seed=0
  )
  observations, _ = wrapped.reset(seed=1)
  assert {len(x) for x in jax.tree.leaves(observations)} == {3}
  _, rewards, *_ = wrapped.step(wrapped.action_space.sample())
  assert np.shape(rewards) == (3,)
  # The environment itself is as it was.
  assert env.reset(jax.random.key(0), params)[1].time.shape == ()


def test_copies_and_equal_environments(made):
  env, _ = made
  again = for_gymnax.ForGymnax(env.env)
  assert copy.deepcopy(env) == env == again
  assert hash(env) == hash(again)


def test_the_number_of_actions_needs_one_choice():
  env, _ = envs.make("MineSweeperEasy")
  with pytest.raises(
    ValueError, match="num_actions of MineSweeper: got MultiDiscrete"
  ):
    _ = env.num_actions


def test_gradients_through_the_dynamics_are_refused(made):
  env, _ = made
  assert not env.supports_transition_gradients
  assert not env.transition_gradients_enabled
  with pytest.raises(ValueError, match=f"{env.name} .* transition gradients"):
    env.with_transition_gradients()
  with pytest.raises(AttributeError):
    env.supports_transition_gradients = True


def test_flat_observations_by_name():
  envs.register_with_gymnax()
  env, params = gymnax.make("RepeatPreviousEasy-Flat")
  space = env.observation_space(params)
  assert isinstance(space, gymnax_spaces.Box)
  observation, _ = env.reset(jax.random.key(0), params)
  # Four suits, four actions, and the flag of a first step.
  assert observation.shape == space.shape == (9,)
  assert env.observation_space().shape == (9,)
