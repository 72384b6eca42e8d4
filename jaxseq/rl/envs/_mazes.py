"""Mazes carved by hunt-and-kill, one passage at a time.

A maze of m x m rooms is a grid of 2m+1 rows and columns: rooms at the odd
places, walls or passages between them. Hunt-and-kill walks at random from
room to room, each time into a room not yet part of the maze, until no such
neighbor is left; then it hunts for a room of the maze to walk on from, by
trying rooms at random. The number of tries is limited to one for each place of
the grid, so that very rarely, in one of 10^5 mazes of 3 x 3, rooms stay walled
up; POPGym's generator (mazelib's HuntAndKill) does the same.

Here failing tries are not simulated one by one. The number of failures before a
success is geometrically distributed, and the success is uniform among
the rooms of the maze with a neighbor to walk into. So every unit of work carves
a passage, and m^2-1 of them make a maze.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.rl.envs import _bitboard
from jaxseq.rl.envs import base
from jaxseq.rl.envs import randomness

# The grid has to fit into a bitboard.
MAX_ROOMS = (_bitboard.MAX_WIDTH - 1) // 2
# Number of random words that `carve` uses.
WORDS = 2


class Maze(NamedTuple):
  """A maze of m x m rooms that is being carved.

  `row` and `column` are the room of the walk. A row of links is below the row
  of rooms of the same index; the last one stays empty. `left` is 0 when the
  maze is done, even if the tries ran out before all rooms were reached.
  """

  rooms: jax.Array  # (m,) int32 bitboard, free places of the grid's odd rows
  links: jax.Array  # (m,) int32 bitboard, free places of the even rows
  row: jax.Array  # () int32, of the room, index in `rooms`
  column: jax.Array  # () int32, its column in the grid
  tries: jax.Array  # () int32, remaining tries to find a room to walk on from
  left: jax.Array  # () int32, rooms not yet part of the maze


def begin(size: int, word: jax.Array) -> Maze:
  """Returns a maze of size x size rooms, with one random room carved."""
  room = randomness.below(word, size**2)
  row, column = room // size, 2 * (room % size) + 1
  return Maze(
    rooms=_bitboard.cell(size, row, column),
    links=jnp.zeros((size,), jnp.int32),
    row=row,
    column=column,
    tries=jnp.int32((2 * size + 1) ** 2),
    left=jnp.int32(size**2 - 1),
  )


def is_done(maze: Maze) -> jax.Array:
  """Returns whether there is nothing left to carve, () bool."""
  return maze.left == 0


def carve(words: jax.Array, maze: Maze) -> Maze:
  """Carves into one more room, by (WORDS,) uint32, if one is left."""
  size = maze.rooms.shape[-1]
  all_rooms = jnp.int32(sum(1 << (2 * i + 1) for i in range(size)))
  solid = ~maze.rooms & all_rooms
  none = jnp.zeros((1,), jnp.int32)
  above = jnp.concatenate([none, solid[:-1]])
  below = jnp.concatenate([solid[1:], none])
  # Rooms of the maze with a neighbor to walk into.
  exits = maze.rooms & (solid << 2 | solid >> 2 | above | below)
  rows = np.arange(size, dtype=np.int32)
  stuck = _bitboard.is_empty(
    exits & _bitboard.cell(size, maze.row, maze.column)
  )

  counts = jax.lax.population_count(exits)
  above_or_here = jnp.where(rows[:, None] >= rows, counts, 0)
  totals = jnp.sum(above_or_here, axis=-1, dtype=jnp.int32)
  num_exits = totals[-1]
  rank = randomness.below(words[0], num_exits)
  found_row = jnp.sum(totals <= rank, dtype=jnp.int32)
  is_found = rows == found_row
  rank -= jnp.sum(jnp.where(rows < found_row, counts, 0), dtype=jnp.int32)
  in_row = jnp.sum(jnp.where(is_found, exits, 0), dtype=jnp.int32)
  until = np.array([(4 << 2 * i) - 1 for i in range(size)], np.int32)
  is_left = jax.lax.population_count(in_row & until) <= rank
  found_column = 1 + 2 * jnp.sum(is_left, dtype=jnp.int32)
  tries = jnp.where(stuck, _num_tries(words[1], num_exits, size**2), 0)
  row = jnp.where(stuck, found_row, maze.row)
  column = jnp.where(stuck, found_column, maze.column)

  cell = _bitboard.cell(size, row, column)
  ways = [above, below, solid << 2, solid >> 2]
  is_open = [
    (~_bitboard.is_empty(way & cell)).astype(jnp.int32) for way in ways
  ]
  # The part of the word that the choice of room did not use is uniform, too.
  rest = words[0] * num_exits.astype(jnp.uint32)
  rank = randomness.below(rest, sum(is_open))
  up, down, left, right = (
    is_way & (rank == sum(is_open[:i], 0)) for i, is_way in enumerate(is_open)
  )
  tries = maze.tries - tries
  can = (maze.left > 0) & (tries >= 0)
  next_row = row + down - up
  next_column = column + 2 * (right - left)
  room = _bitboard.cell(size, next_row, next_column)
  passage = _bitboard.cell(size, row, column + right - left)
  # Up or down; horizontal passages are in the rows of rooms.
  link = _bitboard.cell(size, row - up, column)
  aside = (left | right) == 1
  carved = Maze(
    rooms=maze.rooms | room | jnp.where(aside, passage, 0),
    links=maze.links | jnp.where(aside, 0, link),
    row=next_row,
    column=next_column,
    tries=tries,
    left=maze.left - 1,
  )
  return base.select(can, carved, maze._replace(left=jnp.int32(0)))


def free_places(maze: Maze) -> jax.Array:
  """Returns the free places of the grid, a (2m+1,) int32 bitboard."""
  size = maze.rooms.shape[-1]
  rows = jnp.stack([maze.rooms, maze.links], axis=-1).reshape(2 * size)
  return jnp.concatenate([jnp.zeros((1,), jnp.int32), rows])


def _num_tries(word: jax.Array, num_good: jax.Array, num: int) -> jax.Array:
  """Samples the number of tries to hit one of `num_good` among `num`."""
  # In (0, 1], so that the logarithm is finite.
  unit = 1 - randomness.uniform(word)
  miss = 1 - jnp.maximum(num_good, 1).astype(jnp.float32) / num
  return 1 + jnp.floor(jnp.log(unit) / jnp.log(miss)).astype(jnp.int32)
