"""Replays of episodes that the original POPGym has recorded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import envs
from jaxseq.rl.envs import cartpole
from tests.rl.envs import recordings

_DIFFICULTIES = ("Easy", pytest.param("Medium", marks=pytest.mark.slow), "Hard")
# The arrays that hold the cards of each game.
_CARD_GAMES = {
  "RepeatPrevious": ("cards",),
  "RepeatFirst": ("cards",),
  "Autoencode": ("cards",),
  "CountRecall": ("value_cards", "query_cards"),
  "HigherLower": ("ranks",),
  "Concentration": ("cards",),
}


def _card_episodes(golden, game, difficulty):
  """Recorded episodes with their `order`, and `played`, of one length."""
  episodes = recordings.episodes(golden(f"icrl/popgym_{game}"), difficulty)
  longest = max(len(episode["actions"]) for episode in episodes)
  for episode in episodes:
    order = [episode[name] for name in _CARD_GAMES[game]]
    episode["order"] = order[0] if len(order) == 1 else np.stack(order)
    # What is played after the end is in the next episode.
    after = longest - len(episode["actions"])
    episode["played"] = np.pad(episode["actions"], (0, after))
  return episodes


def _replay(env, params, order, actions):
  """Plays one deck: what is seen, earned and flagged, and the restart."""
  first, state = env.reset_with_deck(order)

  def body(state, step):
    key, action = step
    observation, state, reward, terminated, truncated, info = env.step(
      key, state, action, params
    )
    return state, (
      info["final_observation"],
      reward,
      terminated,
      truncated,
      observation,
    )

  keys = jax.random.split(jax.random.key(0), actions.shape[0])
  _, (seen, rewards, terminated, truncated, observation) = jax.lax.scan(
    body, state, (keys, actions)
  )
  return {
    "obs": jnp.concatenate([first[None], seen]),
    "rewards": rewards,
    "terminated": terminated,
    "truncated": truncated,
    "first": first,
    "after": observation,
  }


def _assert_replayed(replayed, episode):
  for name in ("obs", "terminated", "truncated"):
    expected = episode[name]
    np.testing.assert_array_equal(replayed[name][: len(expected)], expected)
  # The same numbers, once rounded to float32.
  num_steps = len(episode["rewards"])
  np.testing.assert_allclose(
    replayed["rewards"][:num_steps], episode["rewards"], rtol=1e-7, atol=0
  )
  # The same deck is dealt again.
  np.testing.assert_array_equal(
    replayed["after"][num_steps - 1], replayed["first"]
  )


@pytest.mark.parametrize("difficulty", _DIFFICULTIES)
@pytest.mark.parametrize("game", _CARD_GAMES)
def test_card_game_under_jit(golden, game, difficulty):
  env, params = envs.make(game + difficulty)
  replay = jax.jit(_replay, static_argnums=0)
  episodes = _card_episodes(golden, game, difficulty)
  assert len(episodes) == (2 if game == "HigherLower" else 3)
  for episode in episodes:
    replayed = replay(env, params, episode["order"], episode["played"])
    _assert_replayed(replayed, episode)


@pytest.mark.parametrize(
  "difficulty",
  [
    "Easy",
    *(pytest.param(x, marks=pytest.mark.slow) for x in ("Medium", "Hard")),
  ],
)
@pytest.mark.parametrize("game", _CARD_GAMES)
def test_card_game_under_vmap(golden, game, difficulty):
  env, params = envs.make(game + difficulty)
  episodes = _card_episodes(golden, game, difficulty)
  replay = jax.vmap(lambda *deck: _replay(env, params, *deck))
  replayed = jax.jit(replay)(
    np.stack([episode["order"] for episode in episodes]),
    np.stack([episode["played"] for episode in episodes]),
  )
  for i, episode in enumerate(episodes):
    _assert_replayed({k: v[i] for k, v in replayed.items()}, episode)


def _cartpole_states(episode):
  x, x_dot, theta, theta_dot = jnp.asarray(episode["states"], jnp.float32).T
  time = jnp.arange(x.shape[0], dtype=jnp.int32)
  return cartpole.EnvState(
    time=time, x=x, x_dot=x_dot, theta=theta, theta_dot=theta_dot
  )


def _assert_cartpole_step(step, episode, t):
  observation, state, reward, terminated, truncated = step
  np.testing.assert_array_equal(terminated, episode["terminated"][t])
  np.testing.assert_array_equal(truncated, episode["truncated"][t])
  np.testing.assert_allclose(reward, episode["rewards"][t], rtol=1e-6)
  # One step in float32, from states of order 1.
  np.testing.assert_allclose(observation, episode["obs"][t + 1], atol=1e-5)
  x, x_dot, theta, theta_dot = np.moveaxis(episode["states"][t + 1], -1, 0)
  for name, expected in (
    ("x", x),
    ("x_dot", x_dot),
    ("theta", theta),
    ("theta_dot", theta_dot),
  ):
    np.testing.assert_allclose(getattr(state, name), expected, atol=1e-5)


def _cartpole_step(env, params, state, action):
  """One step, with the state that it leads to and not the one after reset."""
  key = jax.random.key(0)
  _, _, reward, terminated, truncated, info = env.step(
    key, state, action, params
  )
  _, state, *_ = env.step_env(key, state, action, params)
  return info["final_observation"], state, reward, terminated, truncated


@pytest.mark.parametrize("difficulty", _DIFFICULTIES)
def test_cartpole(golden, difficulty):
  env, params = envs.make("PositionOnlyCartPole" + difficulty)
  episodes = recordings.episodes(
    golden("icrl/popgym_PositionOnlyCartPole"), difficulty
  )
  assert len(episodes) == 2
  step = jax.jit(_cartpole_step, static_argnums=0)
  steps = jax.jit(
    jax.vmap(_cartpole_step, in_axes=(None, None, 0, 0)), static_argnums=0
  )
  for episode in episodes:
    states = _cartpole_states(episode)
    num_steps = len(episode["actions"])
    before = jax.tree.map(lambda leaf: leaf[:-1], states)
    stepped = steps(env, params, before, episode["actions"])
    _assert_cartpole_step(stepped, episode, np.arange(num_steps))
    for t in (0, num_steps // 2, num_steps - 1):
      state = jax.tree.map(lambda leaf, t=t: leaf[t], states)
      stepped = step(env, params, state, episode["actions"][t])
      _assert_cartpole_step(stepped, episode, t)
    np.testing.assert_allclose(
      env.observe(jax.tree.map(lambda leaf: leaf[0], states), params),
      episode["obs"][0],
      atol=1e-6,
    )
