"""Lazily dealt card games play as if all cards were shuffled at the start."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import envs


@functools.partial(jax.jit, static_argnums=(0, 2))
def _observe(env, key, num_steps):
  """Observations (num_steps + 1, ...) with action 0, before any reset."""
  key_reset, key_steps = jax.random.split(key)
  first, state = env.reset(key_reset)

  def body(state, key):
    _, state, *_, info = env.step(key, state, jnp.int32(0))
    return state, info["final_observation"]

  _, seen = jax.lax.scan(body, state, jax.random.split(key_steps, num_steps))
  return jnp.concatenate([first[None], seen])


def _observe_many(env, seed, num_episodes, num_steps):
  keys = jax.random.split(jax.random.key(seed), num_episodes)
  observe = jax.vmap(lambda key: _observe(env, key, num_steps))
  return np.asarray(observe(keys))


@pytest.mark.parametrize(
  ("env_id", "types"),
  [
    ("HigherLowerMedium", 13),
    pytest.param("CountRecallEasy", 2, marks=pytest.mark.slow),
    pytest.param("CountRecallMedium", 4, marks=pytest.mark.slow),
    ("CountRecallHard", 13),
    ("AutoencodeMedium", 4),
  ],
)
def test_every_episode_deals_whole_decks(env_id, types):
  env, _ = envs.make(env_id)
  seen = _observe_many(env, 0, 4, env.num_cards - 1)
  streams = seen.reshape(*seen.shape[:2], -1)
  if env_id.startswith("Autoencode"):
    watching = np.arange(env.num_cards) < env.num_cards - 1
    np.testing.assert_array_equal(streams[..., 0], [watching] * 4)
    streams = streams[..., 1:]
  dealt = np.moveaxis(streams, -1, 1).reshape(-1, env.num_cards)
  for cards in dealt:
    np.testing.assert_array_equal(
      np.bincount(cards), [env.num_cards // types] * types
    )
  # No two episodes and, in CountRecall, no two decks are alike.
  assert len({cards.tobytes() for cards in dealt}) == len(dealt)


def test_values_and_queries_are_independent():
  env, _ = envs.make("CountRecallMedium")
  num_episodes = 4000
  seen = _observe_many(env, 1, num_episodes, 2)
  # At the same step, and a query with the value of the step before.
  for values, queries in (
    (seen[:, 0, 0], seen[:, 0, 1]),
    (seen[:, 2, 0], seen[:, 2, 1]),
    (seen[:, 1, 0], seen[:, 2, 1]),
  ):
    pairs = np.zeros((4, 4))
    np.add.at(pairs, (values, queries), 1)
    expected = num_episodes / 16
    # 15 degrees of freedom, at 1 - 1e-4.
    assert np.sum((pairs - expected) ** 2 / expected) < 44.3


def test_counts_of_the_wrong_decks_are_refused():
  env, _ = envs.make("CountRecallEasy")
  with pytest.raises(ValueError, match=r"^order: got shape \(52,\), expected"):
    env.reset_with_deck(np.zeros(52, np.int32))
  with pytest.raises(ValueError, match=r"^order: got float32\[52\], expected"):
    env.reset_with_deck(np.zeros((2, 52), np.float32))


def _turn(env, state, key, positions):
  """Turns cards of Concentration: what each step gives, and the last state."""

  def body(state, step):
    key, position = step
    _, state, reward, terminated, truncated, info = env.step(
      key, state, position
    )
    seen = info["final_observation"]
    return state, (seen, reward, terminated, truncated, state.values)

  keys = jax.random.split(key, len(positions))
  return jax.lax.scan(body, state, (keys, positions))[1]


@pytest.mark.parametrize(
  "env_id",
  [
    "ConcentrationEasy",
    pytest.param("ConcentrationHard", marks=pytest.mark.slow),
  ],
)
def test_cards_laid_when_turned_equal_a_layout_known_before(env_id):
  env, _ = envs.make(env_id)
  num_cards = env.num_cards
  turn = jax.jit(functools.partial(_turn, env))
  for seed in range(4):
    key_rest, key_more, key = jax.random.split(jax.random.key(seed), 3)
    # Every position is turned, and many are turned again; one step less than
    # the limit, so that no reset hides the cards.
    more = jax.random.randint(key_more, (num_cards - 1,), 0, num_cards)
    positions = jnp.concatenate([jnp.arange(num_cards, dtype=jnp.int32), more])
    positions = jax.random.permutation(key_rest, positions)
    lazy = turn(env.reset(key)[1], key, positions)
    layout = np.asarray(lazy[-1][-1])
    np.testing.assert_array_equal(
      np.bincount(layout),
      [num_cards // env.card_types] * env.card_types,
    )
    known = turn(env.reset_with_deck(layout)[1], key, positions)
    jax.tree.map(np.testing.assert_array_equal, lazy, known)


@pytest.mark.slow
def test_cards_laid_when_turned_are_shuffled():
  env, _ = envs.make("ConcentrationHard")
  num_deals = 6000
  order = np.random.default_rng(0).permutation(52).astype(np.int32)

  @jax.jit
  @jax.vmap
  def deal(key):
    return _turn(env, env.reset(key)[1], key, jnp.asarray(order))[-1][-1]

  layouts = np.asarray(deal(jax.random.split(jax.random.key(3), num_deals)))
  expected = num_deals * 4 * (np.full((13, 13), 4) - np.eye(13)) / (52 * 51)
  # Positions turned one after the other, at the start, in between and at the
  # end, the first one and the last, and neighbors on the table.
  for one, two in (
    (order[0], order[1]),
    (order[25], order[26]),
    (order[50], order[51]),
    (order[0], order[51]),
    (0, 1),
  ):
    pairs = np.zeros((13, 13))
    np.add.at(pairs, (layouts[:, one], layouts[:, two]), 1)
    # 168 degrees of freedom, at 1 - 1e-4.
    assert np.sum((pairs - expected) ** 2 / expected) < 244.9


def test_rules_of_concentration():
  env, _ = envs.make("ConcentrationHard")
  # Pairs lie at positions 0 and 13, 1 and 14, ...
  _, state = env.reset_with_deck(np.arange(52) % 13)
  step = jax.jit(env.step)
  hidden = env.card_types
  # Position, reward in units of 1/104 and which cards are then face up.
  for position, expected, face_up in (
    (0, 0, {0}),
    (0, -2, {0}),  # the same card is no pair
    (0, 0, {0}),
    (1, -2, {0, 1}),
    (0, 0, {0}),  # both lie face down again
    (13, 4, {0, 13}),
    (13, -1, {0, 13}),  # has been matched
    (2, 0, {0, 2, 13}),
    (0, -2, {0, 2, 13}),  # takes the other out of the hand
    (15, 0, {0, 13, 15}),
    (2, 4, {0, 2, 13, 15}),
    (26, 0, {0, 2, 13, 15, 26}),
  ):
    seen, state, reward, terminated, truncated, _ = step(
      jax.random.key(0), state, jnp.int32(position)
    )
    np.testing.assert_allclose(reward, expected / 104, rtol=1e-6)
    assert set(np.flatnonzero(np.asarray(seen) != hidden)) == face_up
    assert not terminated
    assert not truncated
