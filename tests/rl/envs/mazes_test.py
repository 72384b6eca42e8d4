import collections

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.rl.envs import _bitboard
from jaxseq.rl.envs import _mazes


def carved_mazes(size, num_mazes, tries=None):
  """Carves mazes, with a limit on the tries if one is given."""

  def make(key):
    pieces = size**2 - 1
    words = jax.random.bits(key, (1 + pieces * _mazes.WORDS,), jnp.uint32)
    maze = _mazes.begin(size, words[0])
    if tries is not None:
      maze = maze._replace(tries=jnp.int32(tries))
    return jax.lax.scan(
      lambda maze, words: (_mazes.carve(words, maze), None),
      maze,
      words[1:].reshape(pieces, _mazes.WORDS),
    )[0]

  keys = jax.random.split(jax.random.key(0), num_mazes)
  made = jax.jit(jax.vmap(make))(keys)
  free = jax.vmap(_mazes.free_places)(made)
  return made, np.asarray(_bitboard.to_grid(free, 2 * size + 1))


def _rooms_around(room, size):
  for row, column in ((-1, 0), (1, 0), (0, -1), (0, 1)):
    row, column = room[0] + row, room[1] + column
    if 0 <= row < size and 0 <= column < size:
      yield row, column


def _probabilities(size):
  """The probability of every maze, from the rules of hunt-and-kill.

  A maze is a frozenset of passages, each a pair of rooms. Tries that lead
  nowhere leave the maze as it is, so that they need not be followed.
  """
  rooms = [(row, column) for row in range(size) for column in range(size)]
  reached = {(frozenset(), room): 1 / len(rooms) for room in rooms}
  for _ in range(len(rooms) - 1):
    following = collections.defaultdict(float)
    for (passages, current), probability in reached.items():
      inside = {room for passage in passages for room in passage} | {current}
      exits = {
        room: ways
        for room in inside
        if (ways := [w for w in _rooms_around(room, size) if w not in inside])
      }
      starts = [current] if current in exits else list(exits)
      for start in starts:
        for way in exits[start]:
          maze = passages | {frozenset((start, way))}
          share = probability / len(starts) / len(exits[start])
          following[maze, way] += share
    reached = following
  total = collections.defaultdict(float)
  for (passages, _), probability in reached.items():
    total[passages] += probability
  return total


def _passages(grid):
  """The passages of a maze, and a check that there is nothing else free."""
  size = grid.shape[0] // 2
  rooms = [(row, column) for row in range(size) for column in range(size)]
  passages = frozenset(
    frozenset((room, way))
    for room in rooms
    for way in _rooms_around(room, size)
    if grid[1 + room[0] + way[0], 1 + room[1] + way[1]]
  )
  assert grid.sum() == len(passages) + grid[1::2, 1::2].sum()
  return passages


def test_mazes_have_the_probabilities_of_hunt_and_kill():
  num_mazes = 40_000
  _, grids = carved_mazes(3, num_mazes)
  kinds, counts = np.unique(grids, axis=0, return_counts=True)
  seen = {_passages(grid): n for grid, n in zip(kinds, counts)}
  expected = {
    maze: num_mazes * p for maze, p in _probabilities(3).items() if p > 0
  }
  np.testing.assert_allclose(sum(expected.values()), num_mazes)
  # Some of the 192 spanning trees cannot come about. About one maze in 10^5
  # is not finished.
  assert len(expected) < 192
  assert sum(seen.get(maze, 0) for maze in expected) > num_mazes - 10
  frequent = [maze for maze in expected if expected[maze] >= 5]
  assert len(frequent) > 150
  chi2 = sum(
    (seen.get(maze, 0) - expected[maze]) ** 2 / expected[maze]
    for maze in frequent
  )
  # Five standard deviations of chi-squared with this many degrees of freedom.
  assert chi2 < len(frequent) + 5 * np.sqrt(2 * len(frequent))


def test_large_mazes_are_trees_of_all_rooms():
  made, grids = carved_mazes(9, 64)
  assert (made.left == 0).all()
  # As many passages as a tree has, and every room in reach.
  np.testing.assert_array_equal(grids.sum(axis=(1, 2)), 2 * 81 - 1)
  seen = np.zeros_like(grids)
  seen[:, 1, 1] = 1
  for _ in range(grids[0].size):
    grown = seen.copy()
    grown[:, 1:] |= seen[:, :-1]
    grown[:, :-1] |= seen[:, 1:]
    grown[:, :, 1:] |= seen[:, :, :-1]
    grown[:, :, :-1] |= seen[:, :, 1:]
    grown &= grids
    if (grown == seen).all():
      break
    seen = grown
  np.testing.assert_array_equal(seen, grids)


def test_the_number_of_tries_is_limited():
  num_mazes = 20_000
  made, grids = carved_mazes(3, num_mazes, tries=1)
  assert (made.left == 0).all()
  rooms = grids[:, 1::2, 1::2].sum(axis=(1, 2))
  # Still trees, of the rooms that were reached.
  np.testing.assert_array_equal(grids.sum(axis=(1, 2)), 2 * rooms - 1)
  without, _ = carved_mazes(3, num_mazes, tries=0)
  first_walk = np.asarray(jax.vmap(_bitboard.count)(without.rooms & 0b101010))
  # A walk that ends after n of the 9 rooms goes on with the one try if that
  # meets a room with an exit; the same keys give the same first walks.
  assert (rooms >= first_walk).all()
  assert (rooms[first_walk == 9] == 9).all()
  # After 8 rooms, the ninth is next to 2 (in a corner), 3 or 4 of them.
  goes_on = (rooms > first_walk)[first_walk == 8].mean()
  assert 2 / 9 - 0.03 < goes_on < 4 / 9


def test_a_maze_that_is_done_stays_as_it_is():
  made, _ = carved_mazes(3, 4)
  words = jax.random.bits(jax.random.key(1), (4, _mazes.WORDS), jnp.uint32)
  carved = jax.jit(jax.vmap(_mazes.carve))(words, made)
  jax.tree.map(np.testing.assert_array_equal, made, carved)
