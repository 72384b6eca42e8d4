"""How boards and mazes are made for the next episode."""

import collections
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import envs
from jaxseq.rl.envs import _bitboard
from jaxseq.rl.envs import _mazes


def _chi_squared(seen, expected):
  """Returns the statistic and five standard deviations above its mean."""
  statistic = sum(
    (seen.get(kind, 0) - count) ** 2 / count for kind, count in expected.items()
  )
  return statistic, len(expected) + 5 * np.sqrt(2 * len(expected))


def _segments(size, length):
  """The cells of every straight segment, as sets."""
  for line, first in itertools.product(range(size), range(size - length + 1)):
    cells = range(first, first + length)
    yield frozenset((line, cell) for cell in cells)
    yield frozenset((cell, line) for cell in cells)


@pytest.mark.slow
def test_ships_are_uniform_on_free_segments():
  env, params = envs.make("BattleshipEasy", board_size=6)
  num_boards = 40_000

  def play(key):
    """Returns the next board when it has two ships."""
    _, state = env.reset(key, params)

    def body(state, key):
      _, state, *_ = env.step(key, state, jnp.zeros(2, jnp.int32), params)
      return state, state.fleet

    fleets = jax.lax.scan(body, state, jax.random.split(key, 30))[1]
    return fleets.board[jnp.argmax(fleets.placed == 2)]

  keys = jax.random.split(jax.random.key(0), num_boards)
  two = jax.jit(jax.vmap(play))(keys)
  expected = collections.defaultdict(float)
  first_ships = list(_segments(6, 2))
  for first in first_ships:
    free = [ship for ship in _segments(6, 3) if not ship & first]
    for second in free:
      share = num_boards / len(first_ships) / len(free)
      expected[first | second] += share
  seen = collections.Counter(
    frozenset(zip(*np.nonzero(grid)))
    for grid in np.asarray(_bitboard.to_grid(two, 6))
  )
  assert sum(seen.get(board, 0) for board in expected) == num_boards
  statistic, limit = _chi_squared(seen, expected)
  assert statistic < limit


@pytest.mark.parametrize(
  "steps",
  [
    1,
    pytest.param(3, marks=pytest.mark.slow),
    pytest.param(40, marks=pytest.mark.slow),
  ],
)
def test_ships_are_complete_however_short_the_episode(steps):
  env, params = envs.make("BattleshipHard")
  params = params.replace(max_steps_in_episode=steps)

  def play(key):
    _, state = env.reset(key, params)

    def body(state, key):
      action = env.action_space().sample(key)
      _, state, *_ = env.step(key, state, action, params)
      return state, state.ships

    return jax.lax.scan(body, state, jax.random.split(key, 40))[1]

  ships = jax.jit(jax.vmap(play))(jax.random.split(jax.random.key(0), 8))
  assert (jax.jit(jax.vmap(jax.vmap(_bitboard.count)))(ships) == 12).all()
  # Ships after each step; with one step an episode the first are not seen.
  fleets = 40 // steps + (steps > 1)
  assert len(np.unique(ships.reshape(-1, 12), axis=0)) == 8 * fleets


def test_all_sets_of_mines_are_equally_likely():
  env, params = envs.make("MineSweeperEasy", height=3, num_mines=3)
  keys = jax.random.split(jax.random.key(0), 22_000)
  _, state = jax.jit(jax.vmap(lambda key: env.reset(key, params)))(keys)
  seen = collections.Counter(map(bytes, np.asarray(state.mines)))
  # 12 cells, of which 3 have a mine.
  assert len(seen) == 220
  statistic, limit = _chi_squared(seen, dict.fromkeys(seen, 100))
  assert statistic < limit


@pytest.mark.slow
@pytest.mark.parametrize("steps", [2, 1023])
def test_the_next_maze_is_whole_and_its_openings_face_each_other(steps):
  env, params = envs.make("LabyrinthEscapeEasy", size=3)
  params = params.replace(max_steps_in_episode=steps)

  def play(key):
    _, state = env.reset(key, params)

    def body(state, key):
      # The way out is found by chance.
      action = env.action_space().sample(key)
      *_, state, _, terminated, truncated, _ = env.step(
        key, state, action, params
      )
      return state, (state, terminated | truncated)

    return jax.lax.scan(body, state, jax.random.split(key, 200))[1]

  states, done = jax.jit(jax.vmap(play))(
    jax.random.split(jax.random.key(0), 64)
  )
  fresh = jax.tree.map(lambda leaf: leaf[done], states)
  assert len(fresh.time) > 30
  grids = np.asarray(_bitboard.to_grid(fresh.free, 7))
  # 9 rooms, 8 passages, 2 openings; some mazes in 10^5 are not finished.
  np.testing.assert_array_equal(grids.sum(axis=(1, 2)), 19)
  start, goal = np.stack(fresh.start, -1), np.stack(fresh.goal, -1)
  faces = np.sort(np.stack([start, goal], 1), axis=1)
  across = (faces[:, 0] == 0) & (faces[:, 1] == 6)
  np.testing.assert_array_equal(across.sum(axis=-1), 1)
  if len(start) > 1000:
    # All four sides, and all pairs of rooms on them.
    assert len(np.unique(np.concatenate([start, goal], 1), axis=0)) == 36
  # The next one has begun, with a room of its own.
  np.testing.assert_array_equal(fresh.next_maze.left, 8)
  assert not _mazes.is_done(jax.tree.map(lambda leaf: leaf[0], fresh.next_maze))


@pytest.mark.parametrize(
  ("env_id", "options", "name"),
  [
    ("BattleshipEasy", {"board_size": 5}, "board_size"),
    ("BattleshipEasy", {"board_size": 32}, "board_size"),
    ("MineSweeperEasy", {"width": 32}, "width"),
    ("MineSweeperEasy", {"height": 0}, "height"),
    ("MineSweeperEasy", {"num_mines": 14}, "num_mines"),
    ("MineSweeperEasy", {"num_mines": 0}, "num_mines"),
    ("MultiarmedBanditEasy", {"num_arms": 0}, "num_arms"),
    ("LabyrinthEscapeEasy", {"size": 2}, "size"),
    ("LabyrinthExploreEasy", {"size": 16}, "size"),
    ("LabyrinthExploreEasy", {"episode_length": 1}, "episode_length"),
  ],
)
def test_an_option_out_of_range_is_refused(env_id, options, name):
  with pytest.raises(ValueError, match=f"^{name}: got .* expected"):
    envs.make(env_id, **options)
