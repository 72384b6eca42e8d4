import dataclasses

from flax import struct
from gymnax.environments import environment
from gymnax.environments import spaces
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl.envs import base


@struct.dataclass
class _State:
  time: jax.Array
  words: jax.Array


@dataclasses.dataclass(frozen=True)
class _ShowsItsWords(base.Environment):
  """Observes the random words that each function is given."""

  step_words = 2
  reset_words = 2

  @property
  def default_params(self):
    return environment.EnvParams(max_steps_in_episode=2)

  def start(self, words, params):
    return _State(jnp.int32(0), words)

  def advance(self, words, state, action, params):
    return _State(state.time + 1, words), jnp.float32(0)

  def observe(self, state, params):
    return state.words

  def action_space(self, params=None):
    return spaces.Discrete(2)


def test_steps_and_resets_draw_words_of_their_own():
  env = _ShowsItsWords()

  def play(key):
    first, state = env.reset(key)

    def body(state, key):
      observation, state, *_, truncated, info = env.step(
        key, state, jnp.int32(0)
      )
      return state, (observation, info["final_observation"], truncated)

    keys = jax.random.split(key, 6)
    return first, jax.lax.scan(body, state, keys)[1]

  keys = jax.random.split(jax.random.key(0), 4)
  first, (observation, final, truncated) = jax.vmap(play)(keys)
  np.testing.assert_array_equal(truncated, [[False, True] * 3] * 4)
  fresh = np.asarray(observation)[np.asarray(truncated)]
  drawn = np.concatenate([np.ravel(first), np.ravel(final), np.ravel(fresh)])
  assert len(drawn) == 4 * 2 * (1 + 6 + 3)
  # Among 80 words of 32 bits two are the same once in a million runs.
  assert len(set(drawn.tolist())) == len(drawn)


def test_step_env_neither_cuts_nor_resets():
  env = _ShowsItsWords()
  _, state = env.reset(jax.random.key(0))
  for time in range(1, 5):
    _, state, _, terminated, info = env.step_env(
      jax.random.key(time), state, jnp.int32(0), env.default_params
    )
    assert state.time == time
    assert not terminated
    assert info == {}


def test_what_a_game_must_define():
  env = base.Environment()
  for undefined in (
    lambda: env.start(None, None),
    lambda: env.advance(None, None, None, None),
    lambda: env.observe(None, None),
  ):
    with pytest.raises(NotImplementedError):
      undefined()


class _Reads(_ShowsItsWords):
  """Reads the first word."""

  def start(self, words, params):
    return _State(jnp.int32(0), words[:2] + words[0])

  def advance(self, words, state, action, params):
    return _State(state.time + 1, words[:2] + words[0]), jnp.float32(0)


class _NoneToStart(_Reads):
  reset_words = 0


class _NoneToAdvance(_Reads):
  step_words = 0


@pytest.mark.parametrize(
  ("env", "name"),
  [(_NoneToStart(), "reset_words"), (_NoneToAdvance(), "step_words")],
)
def test_words_that_are_read_and_not_asked_for_get_a_sentence(env, name):
  def play(key):
    _, state = env.reset(key)
    return env.step(key, state, jnp.int32(0))

  message = f"{name} of _N.*: got 0, expected the number .* Set {name} = 1, or"
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(play, jax.random.key(0))
