"""Returns of players of boards, arms and mazes.

The expected returns are those of the original POPGym, means over 200 to 500
episodes, unless they can be worked out.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import envs
from jaxseq.rl.envs import _bitboard
from jaxseq.rl.envs import labyrinth
from tests.rl.envs import episodes

_DIFFICULTIES = ("Easy", "Medium", "Hard")


@functools.partial(jax.jit, static_argnums=(0, 2, 3, 4))
def _play(env, key, num_episodes, num_steps, make_player):
  """Plays the start of one episode in each of many environments.

  A player is a function of memory, observation, state, time and key that
  returns the memory and an action.

  Returns what is earned, the length, and whether the episode has terminated
  and been truncated.
  """

  def episode(key):
    key_reset, key_player, key_steps = jax.random.split(key, 3)
    first, state = env.reset(key_reset)
    memory, act = make_player(env, state, key_player)

    steps = jax.random.split(key_steps, num_steps), jnp.arange(num_steps)
    return episodes.play(env, first, state, memory, act, steps)

  return jax.vmap(episode)(jax.random.split(key, num_episodes))


def _random(env, state, key):
  del state, key

  def act(memory, observation, state, t, key):
    del observation, state, t
    return memory, env.action_space().sample(key)

  return (), act


def _in_order(order, width):
  """Takes the cells of a board in the order of their numbers."""

  def act(memory, observation, state, t, key):
    del observation, state, key
    cell = memory[t]
    return memory, jnp.stack([cell // width, cell % width])

  return order.astype(jnp.int32), act


def _no_repeats(env, state, key):
  del state
  height, width = env.action_space().sizes
  return _in_order(jax.random.permutation(key, height * width), width)


def _clear_cells_first(env, state, key):
  del key
  mines = _bitboard.to_grid(state.mines, env.width).reshape(-1)
  return _in_order(jnp.argsort(mines), env.width)


def _ships_first(env, state, key):
  del key
  ships = _bitboard.to_grid(state.ships, env.board_size).reshape(-1)
  return _in_order(jnp.argsort(-ships), env.board_size)


def _best_arm(env, state, key):
  del env, key

  def act(memory, observation, state, t, key):
    del observation, state, t, key
    return memory, memory

  return jnp.argmax(state.payouts).astype(jnp.int32), act


def _thompson(env, state, key):
  """Thompson sampling: pulls the best of arms drawn from the posterior."""
  del state, key
  arms = jnp.arange(env.num_arms)

  def act(memory, observation, state, t, key):
    del state
    counts, last = memory
    pulled = (arms == last) & (t > 0)
    counts += pulled * jnp.stack([observation, 1 - observation])[:, None]
    # Beta draws as ratios of gamma draws, these by Wilson and Hilferty's
    # cube of a normal draw, which is close for shapes of 1 and more.
    shape = counts + 1.0
    noise = jax.random.normal(key, shape.shape) / (3 * jnp.sqrt(shape))
    won, lost = shape * jnp.maximum(1 - 1 / (9 * shape) + noise, 0) ** 3
    choice = jnp.argmax(won / (won + lost + 1e-9)).astype(jnp.int32)
    return (counts, choice), choice

  return (jnp.zeros((2, env.num_arms), jnp.int32), jnp.int32(0)), act


def _nearest(env, state, key):
  """Walks to the goal or, without one, to the nearest cell not yet seen."""
  del state, key

  def around(board):
    none = jnp.zeros((1,), jnp.int32)
    above = jnp.concatenate([board[1:], none])
    below = jnp.concatenate([none, board[:-1]])
    return board << 1 | board >> 1 | above | below

  def act(memory, observation, state, t, key):
    del observation, t, key
    here = _bitboard.cell(env.height + 1, *state.position)
    targets = _bitboard.cell(env.height + 1, *state.goal)
    if isinstance(env, labyrinth.LabyrinthExplore):
      targets = state.free & ~state.explored

    def is_far(near):
      grown = around(near) & state.free & ~near
      return _bitboard.is_empty(near & around(here)) & ~_bitboard.is_empty(
        grown
      )

    # All cells as near to a target as a neighbor of the agent.
    near = jax.lax.while_loop(
      is_far, lambda near: near | around(near) & state.free, targets
    )
    row, column = state.position
    steps = [(0, -1), (0, 1), (-1, 0), (1, 0)]
    is_nearer = jnp.stack(
      [(near[row + r] >> jnp.maximum(column + c, 0)) & 1 for r, c in steps]
    )
    return memory, jnp.argmax(is_nearer).astype(jnp.int32)

  return (), act


def _levels(**games):
  """Parameters (game, difficulty, expected): Easy ones, and slow ones."""
  return [
    pytest.param(
      game, level, value, marks=[] if level == "Easy" else pytest.mark.slow
    )
    for game, values in games.items()
    for level, value in zip(_DIFFICULTIES, values)
  ]


@pytest.mark.slow
@pytest.mark.parametrize(
  ("game", "level", "expected"),
  _levels(
    Battleship=(-0.46, -0.41, -0.40),
    MineSweeper=(-0.22, -0.40, -0.43),
    MultiarmedBandit=(0.00, 0.01, 0.01),
  ),
)
def test_random_play(game, level, expected):
  env, params = envs.make(game + level)
  num_steps = params.max_steps_in_episode
  returns, lengths, terminated, truncated = _play(
    env, jax.random.key(0), 1024, num_steps, _random
  )
  # Returns have standard deviations up to 0.25: those of MineSweeper are
  # -0.5 for a mine and about as much for the cells before it.
  np.testing.assert_allclose(returns.mean(), expected, atol=0.03)
  assert (terminated | truncated).all()
  if game != "Battleship":
    assert not (terminated & truncated).any()
  if game == "MultiarmedBandit":
    np.testing.assert_array_equal(lengths, num_steps)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("game", "level", "expected"),
  _levels(Battleship=(0.07, 0.08, 0.07), MineSweeper=(-0.23, -0.38, -0.42)),
)
def test_no_cell_twice_in_random_order(game, level, expected):
  env, params = envs.make(game + level)
  returns, lengths, terminated, _ = _play(
    env, jax.random.key(1), 1024, params.max_steps_in_episode, _no_repeats
  )
  np.testing.assert_allclose(returns.mean(), expected, atol=0.03)
  assert terminated.all()
  if game == "Battleship":
    # The last of 12 cells among s^2, by symmetry, has the mean rank
    # 12 (s^2 + 1) / 13. Its standard deviation is below s^2 / 13.
    cells = env.board_size**2
    np.testing.assert_allclose(
      lengths.mean(), 12 * (cells + 1) / 13, atol=5 * cells / 13 / 32
    )


@pytest.mark.parametrize(
  "level", ["Easy", pytest.param("Hard", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
  ("game", "player"),
  [("Battleship", _ships_first), ("MineSweeper", _clear_cells_first)],
)
def test_who_knows_the_board_earns_one(game, player, level):
  env, params = envs.make(game + level)
  num_steps = 12 if game == "Battleship" else params.max_steps_in_episode
  returns, lengths, terminated, truncated = _play(
    env, jax.random.key(2), 64, num_steps, player
  )
  # A sum of up to 54 float32 rewards.
  np.testing.assert_allclose(returns, 1, atol=2e-6)
  np.testing.assert_array_equal(lengths, num_steps)
  assert terminated.all()
  assert not truncated.any()


@pytest.mark.slow
@pytest.mark.parametrize(
  ("game", "level", "expected"),
  _levels(MultiarmedBandit=((0.83, 0.66), (0.91, 0.75), (0.94, 0.78))),
)
def test_bandit_players(game, level, expected):
  env, params = envs.make(game + level)
  best, sampled = expected
  for player, expected in ((_best_arm, best), (_thompson, sampled)):
    returns, _, _, truncated = _play(
      env, jax.random.key(3), 256, params.max_steps_in_episode, player
    )
    # Both means are of a few hundred returns of standard deviation 0.15.
    np.testing.assert_allclose(returns.mean(), expected, atol=0.035)
    assert truncated.all()
    if player is _best_arm:
      # The best of k uniform draws has the mean k / (k + 1).
      k = env.num_arms
      np.testing.assert_allclose(returns.mean(), (k - 1) / (k + 1), atol=0.035)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("game", "level", "expected"),
  _levels(
    LabyrinthEscape=(-0.44, -0.85, -1.00),
    LabyrinthExplore=(-0.35, -0.60, -0.75),
  ),
)
def test_random_walks_in_labyrinths(game, level, expected):
  env, _ = envs.make(game + level)
  returns, lengths, terminated, truncated = _play(
    env, jax.random.key(4), 256, 1023, _random
  )
  # Returns of Escape have standard deviations up to 0.75, so that the
  # standard errors of the two means are about 0.05 each.
  np.testing.assert_allclose(returns.mean(), expected, atol=0.15)
  assert (terminated | truncated).all()
  np.testing.assert_array_equal(lengths[truncated], 1023)
  if game == "LabyrinthEscape":
    np.testing.assert_allclose(returns, terminated - lengths / 1024, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("game", "level", "expected"),
  _levels(
    LabyrinthEscape=(0.979, 0.964, 0.948),
    LabyrinthExplore=(0.969, 0.926, 0.868),
  ),
)
def test_who_knows_the_maze_takes_the_nearest_way(game, level, expected):
  env, _ = envs.make(game + level)
  num_steps = {"Easy": 110, "Medium": 240, "Hard": 400}[level]
  returns, _, terminated, _ = _play(
    env, jax.random.key(5), 64, num_steps, _nearest
  )
  assert terminated.all()
  # The same player in 25 to 3000 mazes of the original. Returns have standard
  # deviations up to 0.022, so that the two errors are below 0.003 and 0.005.
  np.testing.assert_allclose(returns.mean(), expected, atol=0.015)
