"""The state of a game, shown."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import envs
from jaxseq.rl import markov_states
from jaxseq.rl import wrappers
from jaxseq.rl.envs import spaces

# One with cards, one with boards in bits, one with continuous numbers.
_NAMES = ("RepeatPreviousEasy", "BattleshipEasy", "PositionOnlyCartPoleEasy")


@pytest.mark.parametrize("name", _NAMES)
def test_the_state_is_shown_and_the_game_stays_as_it_is(name):
  game, _ = envs.make(name)
  env = markov_states.MarkovState(game)
  assert hash(env) == hash(markov_states.MarkovState(game))
  params = env.default_params.replace(max_steps_in_episode=3)
  space = env.observation_space(params)
  key = jax.random.key(0)
  (one, state), (other, _) = env.reset(key, params), game.reset(key, params)
  np.testing.assert_array_equal(one["observation"], other)
  ended = []
  for key in jax.random.split(jax.random.key(1), 6):
    action = env.action_space(params).sample(key)
    stepped = env.step(key, state, action, params)
    plain = game.step(key, state, action, params)
    for i in (0, "final_observation"):
      shown, expected = (
        each[i] if i == 0 else each[5][i] for each in (stepped, plain)
      )
      np.testing.assert_array_equal(shown["observation"], expected)
      assert bool(space.contains(shown))
    state = stepped[1]
    # Two sums of float32 in one program may be fused differently.
    np.testing.assert_allclose(
      stepped[0]["state"], markov_states.vector(state), rtol=1e-6
    )
    np.testing.assert_array_equal(stepped[2], plain[2])
    ended.append(bool(stepped[3] | stepped[4]))
    # Before the reset, the state of the end and not the fresh one.
    same = np.array_equal(
      stepped[5]["final_observation"]["state"], stepped[0]["state"]
    )
    assert same != ended[-1]
  assert any(ended)


def test_the_state_in_place_of_the_observation_goes_to_agents_by_name():
  envs.register(
    "RepeatPreviousShown",
    lambda: markov_states.MarkovState(
      envs.make("RepeatPreviousEasy")[0], shown="instead"
    ),
  )
  env, params = envs.make("RepeatPreviousShown")
  size = spaces.flat_size(env.observation_space(params))
  observation, state = wrappers.FlattenHistory(env).reset(jax.random.key(0))
  # Behind the state are four actions and the flag of a first step.
  assert observation.shape == (size + 5,)
  np.testing.assert_array_equal(observation[:size], markov_states.vector(state))


def test_words_become_bits_and_keys_are_left_out():
  state = {
    "a": jnp.uint32(5),
    "b": jnp.array([True, False]),
    "c": jax.random.key(0),
  }
  bits = [1, 0, 1] + [0] * 29
  np.testing.assert_array_equal(markov_states.vector(state), [*bits, 1, 0])


def test_only_games_without_wrappers_are_taken():
  game, _ = envs.make("RepeatPreviousEasy")
  with pytest.raises(ValueError, match="env: got .*without wrappers"):
    markov_states.MarkovState(wrappers.FlattenHistory(game))
