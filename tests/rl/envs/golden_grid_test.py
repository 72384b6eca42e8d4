"""Replays of boards, arms and mazes that the original POPGym has recorded."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import envs
from jaxseq.rl.envs import _bitboard
from jaxseq.rl.envs import _mazes
from jaxseq.rl.envs import labyrinth
from tests.rl.envs import recordings

_DIFFICULTIES = (
  "Easy",
  pytest.param("Medium", marks=pytest.mark.slow),
  pytest.param("Hard", marks=pytest.mark.slow),
)
_KEY = jax.random.key(0)


def _start(env, **hidden):
  """Starts an episode in which other things are hidden."""
  first, state = env.reset(_KEY)
  return first, state.replace(**hidden)


def _enter(env, grid):
  """Starts an episode in a known maze."""

  def first(value):
    index = jnp.argmax((grid == value).reshape(-1)).astype(jnp.int32)
    return labyrinth.Place(index // env.height, index % env.height)

  free = _bitboard.from_grid(grid != labyrinth.WALL)
  places = first(labyrinth.START), first(labyrinth.GOAL)
  state = env._enter(free, *places, _mazes.begin(env.size, jnp.uint32(0)))
  return env.observe(state, env.default_params), state


# For each game: what is hidden, and how an episode starts with it.
_GAMES = {
  "Battleship": (
    "board",
    lambda env, board: _start(env, ships=_bitboard.from_grid(board)),
  ),
  "MineSweeper": (
    "mine_grid",
    lambda env, mines: _start(env, mines=_bitboard.from_grid(mines)),
  ),
  "LabyrinthEscape": ("grid", _enter),
  "LabyrinthExplore": ("grid", _enter),
}
_SEEN = ("obs", "rewards", "terminated", "truncated")


def _episodes(golden, game, difficulty):
  """Recorded episodes, with the actions drawn out to one length."""
  episodes = recordings.episodes(golden(f"icrl/popgym_{game}"), difficulty)
  longest = max(len(episode["actions"]) for episode in episodes)
  for episode in episodes:
    actions = np.asarray(episode["actions"], np.int32)
    # What is played after the end is in the next episode.
    after = [(0, longest - len(actions))] + [(0, 0)] * (actions.ndim - 1)
    episode["actions"] = np.pad(actions, after)
  return episodes


def _replay(env, params, reset, hidden, actions):
  """Plays one episode: what is seen, earned and flagged, and the states."""
  first, state = reset(env, hidden)

  def body(state, step):
    key, action = step
    _, state, reward, terminated, truncated, info = env.step(
      key, state, action, params
    )
    seen = info["final_observation"]
    return state, (seen, reward, terminated, truncated, state)

  keys = jax.random.split(_KEY, actions.shape[0])
  _, (seen, *outcome, states) = jax.lax.scan(body, state, (keys, actions))
  seen = jnp.concatenate([first[None], seen])
  return dict(zip(_SEEN, (seen, *outcome))), states


def _assert_replayed(replayed, episode):
  for name in ("obs", "terminated", "truncated"):
    expected = episode[name]
    np.testing.assert_array_equal(replayed[name][: len(expected)], expected)
  # The same numbers, once rounded to float32.
  expected = episode["rewards"]
  np.testing.assert_allclose(
    replayed["rewards"][: len(expected)], expected, rtol=1e-7, atol=0
  )
  assert (episode["terminated"] | episode["truncated"])[-1]


@pytest.mark.parametrize("difficulty", _DIFFICULTIES)
@pytest.mark.parametrize(
  "game",
  [
    # Both labyrinths have the same mazes.
    pytest.param(
      game, marks=pytest.mark.slow if game == "LabyrinthExplore" else ()
    )
    for game in _GAMES
  ],
)
def test_board(golden, game, difficulty):
  env, params = envs.make(game + difficulty)
  name, reset = _GAMES[game]
  episodes = _episodes(golden, game, difficulty)
  assert len(episodes) == (4 if game == "MineSweeper" else 3)
  replay = functools.partial(_replay, env, params, reset)
  together, states = jax.jit(jax.vmap(replay))(
    np.stack([episode[name] for episode in episodes]),
    np.stack([episode["actions"] for episode in episodes]),
  )
  for i, episode in enumerate(episodes):
    _assert_replayed({k: v[i] for k, v in together.items()}, episode)
    if "states" in episode:
      # The state after the last step is that of the next episode.
      places = episode["states"][1:-1]
      for j, places_of in enumerate(states.position):
        np.testing.assert_array_equal(places_of[i][: len(places)], places[:, j])


@pytest.mark.parametrize(
  "game",
  [
    pytest.param(
      game, marks=pytest.mark.slow if game.startswith("Labyrinth") else ()
    )
    for game in _GAMES
  ],
)
def test_board_without_vmap(golden, game):
  """The episode that ends last."""
  env, params = envs.make(game + "Easy")
  name, reset = _GAMES[game]
  episodes = _episodes(golden, game, "Easy")
  episode = max(episodes, key=lambda episode: len(episode["rewards"]))
  replay = jax.jit(functools.partial(_replay, env, params, reset))
  alone, _ = replay(episode[name], episode["actions"])
  _assert_replayed(alone, episode)


@pytest.mark.parametrize("difficulty", _DIFFICULTIES)
def test_bandit(golden, difficulty):
  env, params = envs.make("MultiarmedBandit" + difficulty)
  episodes = _episodes(golden, "MultiarmedBandit", difficulty)
  assert len(episodes) == 2

  @jax.jit
  @jax.vmap
  def replay(payouts, words, actions):
    first, state = _start(env, payouts=payouts.astype(jnp.float32))

    def body(state, step):
      word, action = step
      state, reward = env.advance(word[None], state, action, params)
      seen = env.observe(state, params)
      terminated = env.is_terminated(state, params)
      truncated = env.is_truncated(state, params)
      return state, (seen, reward, terminated, truncated)

    _, (seen, *outcome) = jax.lax.scan(body, state, (words, actions))
    return dict(zip(_SEEN, (jnp.concatenate([first[None], seen]), *outcome)))

  uniforms = np.stack([episode["uniforms"] for episode in episodes])
  # Payouts are multiples of 2**-24, so 32 bits of a draw decide as all do.
  replayed = replay(
    np.stack([episode["payouts"] for episode in episodes]),
    (uniforms * 2**32).astype(np.uint32),
    np.stack([episode["actions"] for episode in episodes]),
  )
  for i, episode in enumerate(episodes):
    _assert_replayed({k: v[i] for k, v in replayed.items()}, episode)
