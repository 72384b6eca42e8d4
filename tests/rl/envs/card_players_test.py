"""Returns of players of the card games that need more than a glance.

The expected returns are those of the original POPGym, means over 200 to 500
episodes, unless they can be worked out.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import envs
from tests.rl.envs import episodes


# The other levels are in the replays of the original's episodes as well.
def _slow(*values):
  return pytest.param(*values, marks=pytest.mark.slow)


_DIFFICULTIES = ("Easy", _slow("Medium"), _slow("Hard"))


@functools.partial(jax.jit, static_argnums=(0, 2, 3))
def _play(env, key, num_episodes, make_player):
  """Plays one episode in each of many environments.

  A player is a memory and a function of memory, observation and key that
  returns the memory and an action. It sees nothing but observations.

  Returns returns, lengths, and whether the time limit ended the episode.
  """

  def episode(key):
    key_reset, key_steps = jax.random.split(key)
    first, state = env.reset(key_reset)
    memory, act = make_player(env)

    def see(memory, observation, state, key):
      del state
      return act(memory, observation, key)

    longest = min(env.num_steps, env.max_steps)
    steps = (jax.random.split(key_steps, longest),)
    *earned, _, truncated = episodes.play(env, first, state, memory, see, steps)
    return *earned, truncated

  return jax.vmap(episode)(jax.random.split(key, num_episodes))


def _random(env):
  def act(memory, observation, key):
    del observation
    return memory, env.action_space().sample(key)

  return (), act


def _remember_all(env):
  """Autoencode: writes the cards down and reads them backwards."""
  last = env.num_cards - 1

  def act(memory, observation, key):
    del key
    seen, t = memory
    _, suit = observation
    seen = jnp.where(t <= last, seen.at[t].set(suit), seen)
    return (seen, t + 1), seen[jnp.clip(2 * last - t, 0, last)]

  return (jnp.zeros((env.num_cards,), jnp.int32), jnp.int32(0)), act


def _count(env):
  """CountRecall: keeps a tally."""

  def act(counts, observation, key):
    del key
    value, query = observation
    counts = counts.at[value].add(1)
    return counts, counts[query]

  return jnp.zeros((env.card_types,), jnp.int32), act


def _look(env):
  """HigherLower: goes by the card on show alone."""
  del env

  def act(memory, observation, key):
    del key
    return memory, (observation > 6).astype(jnp.int32)

  return (), act


def _count_cards(env):
  """HigherLower: goes by the cards that are left."""
  ranks = jnp.arange(13)

  def act(left, observation, key):
    del key
    left = left.at[observation].add(-1)
    higher = jnp.where(ranks > observation, left, 0).sum()
    lower = jnp.where(ranks < observation, left, 0).sum()
    return left, (lower > higher).astype(jnp.int32)

  return jnp.full((13,), env.num_cards // 13), act


def _match(env):
  """Concentration: turns pairs that are known, otherwise what is not known."""
  unknown = env.card_types
  positions = jnp.arange(env.num_cards)

  def act(memory, observation, key):
    del key
    known, matched, held, last = memory
    known = jnp.where(observation < unknown, observation, known)
    fits = (held >= 0) & (held != last) & (known[held] == known[last])
    matched |= fits & ((positions == held) | (positions == last))
    held = jnp.where(held >= 0, -1, last)
    free = (known < unknown) & ~matched
    # Whether a card is known to fit: to the held one, or to any other.
    equal = (known[:, None] == known) & free[:, None] & free
    equal &= positions[:, None] != positions
    useful = jnp.where(held >= 0, equal[held], equal.any(axis=1))
    action = jnp.argmax(
      jnp.where(useful.any(), useful, known == unknown)
    ).astype(jnp.int32)
    return (known, matched, held, action), action

  memory = (
    jnp.full((env.num_cards,), unknown, jnp.int32),
    jnp.zeros((env.num_cards,), bool),
    jnp.int32(-1),
    jnp.int32(-1),
  )
  return memory, act


@pytest.mark.parametrize("difficulty", _DIFFICULTIES)
@pytest.mark.parametrize(
  ("game", "player"), [("Autoencode", _remember_all), ("CountRecall", _count)]
)
def test_perfect_memory_earns_one(game, player, difficulty):
  env, _ = envs.make(game + difficulty)
  returns, lengths, truncated = _play(env, jax.random.key(0), 8, player)
  # A sum of up to 207 float32 rewards.
  np.testing.assert_allclose(returns, 1, atol=1e-5)
  np.testing.assert_array_equal(lengths, env.num_steps)
  assert not truncated.any()


@pytest.mark.parametrize(
  ("env_id", "expected", "slack"),
  [
    # One suit in four, one count in 27 or 17, one guess in two.
    ("AutoencodeEasy", -1 / 2, 0),
    _slow("AutoencodeMedium", -1 / 2, 0),
    _slow("AutoencodeHard", -1 / 2, 0),
    _slow("CountRecallEasy", 2 / 27 - 1, 0),
    _slow("CountRecallMedium", 2 / 27 - 1, 0),
    _slow("CountRecallHard", 2 / 17 - 1, 0),
    ("HigherLowerEasy", 0, 0),
    _slow("HigherLowerMedium", 0, 0),
    _slow("HigherLowerHard", 0, 0),
    # Measured with a standard error of 0.005 and rounded.
    ("ConcentrationEasy", -0.20, 0.02),
    _slow("ConcentrationMedium", -0.18, 0.02),
    _slow("ConcentrationHard", -0.84, 0.02),
  ],
)
def test_random_play(env_id, expected, slack):
  env, _ = envs.make(env_id)
  returns, _, _ = _play(env, jax.random.key(1), 256, _random)
  error = float(returns.std()) / 16
  assert error < 0.01
  np.testing.assert_allclose(returns.mean(), expected, atol=4 * error + slack)


# Of 52 cards, 4 |12 - 2r| more lie on the better side of rank r than on the
# other, and more decks change nothing.
_LOOKING = sum(4 * abs(12 - 2 * rank) for rank in range(13)) / 13 / 52


@pytest.mark.parametrize("difficulty", _DIFFICULTIES)
def test_looking_at_the_card_on_show_earns_half(difficulty):
  env, _ = envs.make(f"HigherLower{difficulty}")
  returns, _, _ = _play(env, jax.random.key(2), 512, _look)
  # Four standard errors of a standard deviation of 0.10.
  np.testing.assert_allclose(returns.mean(), _LOOKING, atol=0.018)


@pytest.mark.parametrize(
  ("difficulty", "expected"),
  [("Easy", 0.53), _slow("Medium", 0.52), _slow("Hard", 0.51)],
)
def test_counting_cards_helps_a_little(difficulty, expected):
  env, _ = envs.make(f"HigherLower{difficulty}")
  returns, lengths, truncated = _play(env, jax.random.key(3), 512, _count_cards)
  np.testing.assert_array_equal(lengths, env.num_cards - 1)
  assert not truncated.any()
  error = float(returns.std()) / np.sqrt(512)
  # The expected value has an error of its own, 0.005 at most, and is rounded.
  np.testing.assert_allclose(returns.mean(), expected, atol=3 * error + 0.015)
  assert returns.mean() > _LOOKING + 3 * error


@pytest.mark.parametrize(
  ("difficulty", "expected"),
  [("Easy", 0.81), _slow("Medium", 0.81), _slow("Hard", 0.70)],
)
def test_perfect_memory_finds_pairs(difficulty, expected):
  env, _ = envs.make(f"Concentration{difficulty}")
  returns, lengths, truncated = _play(env, jax.random.key(3), 128, _match)
  # Four standard errors, of a standard deviation of up to 0.038, which leaves
  # half as much for the expected value and its rounding.
  np.testing.assert_allclose(returns.mean(), expected, atol=0.02)
  assert not truncated.any()
  # All n/2 pairs, and two steps for every failure.
  failures = (lengths - env.num_cards) / 2
  np.testing.assert_allclose(returns, 1 - failures / env.num_cards, atol=1e-5)
