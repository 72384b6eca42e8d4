"""MinAtar's games as images of bytes."""

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import envs

IDS = [name for name in envs.names() if name.endswith("-MinAtar")]


@pytest.mark.parametrize("env_id", IDS)
def test_a_step_keeps_the_form_of_the_state(env_id):
  env, params = envs.make(env_id)
  key = jax.random.key(0)
  first, state = jax.eval_shape(env.reset, key, params)
  action = jax.ShapeDtypeStruct((), jnp.int32)
  shown, after, reward, terminated, truncated, info = jax.eval_shape(
    env.step, key, state, action, params
  )

  def form(tree):
    return [(x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(tree)]

  assert form(after) == form(state)
  space = env.observation_space(params)
  for image in (first, shown, info["final_observation"]):
    assert (image.shape, image.dtype) == (space.shape, space.dtype)
  assert (reward.dtype, terminated.dtype) == (jnp.float32, jnp.bool_)
  assert truncated.shape == ()


def test_games_are_those_of_gymnax():
  env, params = envs.make("Breakout-MinAtar")
  theirs, _ = gymnax.make("Breakout-MinAtar")
  key, key_reset = jax.random.split(jax.random.key(4))
  image, state = env.reset(key_reset, params)
  observation, their_state = theirs.reset(key_reset, params)
  ends = 0
  for t in range(40):
    np.testing.assert_array_equal(image, 255 * np.asarray(observation))
    key, key_step = jax.random.split(key)
    image, state, reward, terminated, truncated, info = env.step(
      key_step, state, jnp.int32(t % 3), params
    )
    observation, their_state, *expected, final = theirs.step(
      key_step, their_state, t % 3, params
    )
    assert (reward, terminated, truncated) == tuple(expected)
    np.testing.assert_array_equal(
      info["final_observation"], 255 * np.asarray(final["final_observation"])
    )
    ends += int(terminated)
  assert ends > 0


@pytest.mark.parametrize(
  "env_id",
  [
    pytest.param(name, marks=() if "Breakout" in name else pytest.mark.slow)
    for name in IDS
  ],
)
def test_every_game_is_played(env_id):
  env, params = envs.make(env_id)

  def step(state, key):
    action = env.action_space(params).sample(key)
    image, state, *_ = env.step(key, state, action, params)
    return state, image

  first, state = env.reset(jax.random.key(0), params)
  keys = jax.random.split(jax.random.key(1), 30)
  _, images = jax.lax.scan(step, state, keys)
  # Something moves.
  assert (images != first).any()


def test_an_unknown_game():
  with pytest.raises(ValueError, match="Pong-MinAtar.*mean Pong-Atari.*names"):
    envs.make("Pong-MinAtar")
