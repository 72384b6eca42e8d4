"""Labyrinths, seen three by three cells at a time: escape, or explore."""

import dataclasses
from typing import ClassVar
from typing import NamedTuple

from flax import struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.rl.envs import _bitboard
from jaxseq.rl.envs import _mazes
from jaxseq.rl.envs import _preparation
from jaxseq.rl.envs import base
from jaxseq.rl.envs import randomness
from jaxseq.rl.envs import spaces
from jaxseq.types import PyTree

# Values of a cell. A fifth value, hidden, is in the space but never observed.
FREE, WALL, START, GOAL = range(4)
_NUM_CELL_VALUES = 5
# The moves, and the value of the last move on a first step.
LEFT, RIGHT, UP, DOWN, NO_MOVE = range(5)
_MIN_ROOMS = 3
# A goal outside all views.
_NOWHERE = -1


class Place(NamedTuple):
  """A cell of the grid.

  Attributes:
    row: () int32.
    column: () int32.
  """

  row: jax.Array
  column: jax.Array


@struct.dataclass
class EnvState(base.EnvState):
  """State of a labyrinth.

  Attributes, beside those of `base.EnvState`:
    free: (height + 1,) int32 bitboard, the cells that are not walls; a row of
      walls is added below the grid.
    start: the agent's initial cell.
    goal: the goal; row and column -1 in LabyrinthExplore.
    position: the agent's cell.
    move: () int32, its last move, 4 on the first step.
    next_maze: the maze of the next episode.
  """

  free: jax.Array
  start: Place
  goal: Place
  position: Place
  move: jax.Array
  next_maze: _mazes.Maze


@struct.dataclass
class ExploreState(EnvState):
  """State of LabyrinthExplore.

  Attributes:
    explored: (height + 1,) int32 bitboard, the cells visited.
    num_free: () int32, number of free cells without the start.
    num_new: () int32, number of them that have not been visited.
  """

  explored: jax.Array
  num_free: jax.Array
  num_new: jax.Array


@dataclasses.dataclass(frozen=True)
class Labyrinth(base.Environment):
  """The mazes, moves and views of both labyrinths.

  The maze (see `_mazes`) has an opening in each of two opposite outer walls,
  beside random rooms: the start and, if there is one, the goal. The moves
  are left, right, up and down; one into a wall or off the grid does nothing.

  An observation is ten integers. The first nine are the cells around the
  agent, row by row: 0 free, 1 wall, 2 start, 3 goal. On the top row of
  the grid the view starts with this row, on the leftmost column with this
  column, and a row or column of walls is added at the end. The tenth is the
  last move, 4 on the first step.

  The episode is truncated after `episode_length` - 1 steps, and a step costs
  1 / `episode_length`.

  Attributes:
    size: number of rows and of columns of rooms; the grid has 2 size + 1.
    episode_length: the time limit plus 1.
  """

  size: int = 5
  episode_length: int = 1024

  actions = spaces.Discrete(NO_MOVE)
  # Nine cells and the last move.
  observations = spaces.MultiDiscrete((_NUM_CELL_VALUES,) * 9 + (NO_MOVE + 1,))
  # Passages of the next maze that each step carves.
  carves_per_step: ClassVar[int] = 1
  reset_words: ClassVar[int] = _preparation.SEED_WORDS + 3

  def __post_init__(self):
    validate.integer("size", self.size, _MIN_ROOMS, _mazes.MAX_ROOMS)
    validate.integer("episode_length", self.episode_length, 2)

  @property
  def step_words(self) -> int:
    """Random words of a step, all for the next maze."""
    return self.carves_per_step * _mazes.WORDS

  @property
  def height(self) -> int:
    """Number of rows and of columns of the grid."""
    return 2 * self.size + 1

  @property
  def max_steps(self) -> int:
    """The time limit."""
    return self.episode_length - 1

  def start(self, words: jax.Array, params: PyTree) -> EnvState:
    """Carves a maze and enters it."""
    return self._next(words, _mazes.begin(self.size, words[-1]), True)

  def restart(
    self, words: jax.Array, state: EnvState, params: PyTree
  ) -> EnvState:
    """Uses the maze that was carved during the last episode."""
    done = self.is_terminated(state, params) | self.is_truncated(state, params)
    return self._next(words, state.next_maze, done)

  def observe(self, state: EnvState, params: PyTree) -> jax.Array:
    """Returns the cells around the agent and its last move, (10,) int32."""
    row, column = state.position
    top, first = jnp.maximum(row - 1, 0), jnp.maximum(column - 1, 0)
    rows = jax.lax.dynamic_slice(state.free, (top,), (3,))
    three = np.arange(3, dtype=np.int32)
    is_free = (rows[:, None] >> (first + three)) & 1
    # At the upper and the left border the third row or column is not visible.
    is_seen = (top + three <= row + 1)[:, None] & (first + three <= column + 1)
    view = jnp.where(is_seen & (is_free == 1), FREE, WALL)
    for place, value in ((state.start, START), (state.goal, GOAL)):
      is_here = (top + three == place.row)[:, None]
      is_here &= first + three == place.column
      view = jnp.where(is_seen & is_here, value, view)
    return jnp.concatenate([view.reshape(9), state.move[None]])

  def _next(self, words, maze, is_wanted):
    seed, (entrance, first_room, _) = jnp.split(
      words, [_preparation.SEED_WORDS]
    )
    maze = _preparation.finish(
      seed, maze, is_wanted, _mazes.is_done, _mazes.carve, _mazes.WORDS
    )
    # The outer walls, and the rooms beside the two openings.
    index = randomness.below(entrance, 4 * self.size**2)
    side, index = index // self.size**2, index % self.size**2
    end = self.height - 1
    near, far = (jnp.where(side % 2 == i, 0, end) for i in range(2))
    places = []
    for room, across in ((index // self.size, near), (index % self.size, far)):
      ways = across, 2 * room + 1
      places.append(Place(*base.select(side < 2, ways, ways[::-1])))
    next_maze = _mazes.begin(self.size, first_room)
    return self._enter(_mazes.free_places(maze), *places, next_maze)

  def _enter(self, free, start, goal, next_maze):
    """Starts an episode on a (height,) bitboard of free cells."""
    free = jnp.concatenate([free, jnp.zeros((1,), jnp.int32)])
    return EnvState(
      time=jnp.int32(0),
      free=free | self._cell(start) | self._cell(goal),
      start=start,
      goal=goal,
      position=start,
      move=jnp.int32(NO_MOVE),
      next_maze=next_maze,
    )

  def _cell(self, place):
    return _bitboard.cell(self.height + 1, *place)

  def _go(self, words, state, move):
    """Moves, and carves the next maze further."""
    row, column = state.position
    down = (move == DOWN).astype(jnp.int32) - (move == UP)
    right = (move == RIGHT).astype(jnp.int32) - (move == LEFT)
    # Beyond the grid there are only walls; a shift by -1 is not defined.
    target = Place(row + down, jnp.maximum(column + right, 0))
    can = ~_bitboard.is_empty(state.free & self._cell(target))
    maze = state.next_maze
    pieces = words.reshape(self.carves_per_step, _mazes.WORDS)
    maze = jax.lax.fori_loop(
      0, len(pieces), lambda i, maze: _mazes.carve(pieces[i], maze), maze
    )
    return state.replace(
      time=state.time + 1,
      position=base.select(can, target, state.position),
      move=jnp.asarray(move).astype(jnp.int32),
      next_maze=maze,
    )


@dataclasses.dataclass(frozen=True)
class LabyrinthEscape(Labyrinth):
  """Searches the exit of a maze.

  Every step costs 1/1024; the one that reaches the goal earns 1 on top, and
  the episode terminates. It is truncated after 1023 steps; both may happen at
  once. Moves and observations are those of `Labyrinth`.

  The rules are those of POPGym (Morad et al., arXiv:2303.01859).
  """

  # An escape can be much shorter than the number of passages of a maze.
  carves_per_step = 2

  def advance(
    self, words: jax.Array, state: EnvState, action: jax.Array, params: PyTree
  ) -> tuple[EnvState, jax.Array]:
    """Plays one step; see the base class."""
    state = self._go(words, state, action)
    cost = 1 / self.episode_length
    out, on = jnp.float32(1 - cost), jnp.float32(-cost)
    return state, jnp.where(self.is_terminated(state, params), out, on)

  def is_terminated(self, state: EnvState, params: PyTree) -> jax.Array:
    """Returns whether the agent is at the goal, () bool."""
    (row, column), goal = state.position, state.goal
    return (row == goal.row) & (column == goal.column)


@dataclasses.dataclass(frozen=True)
class LabyrinthExplore(Labyrinth):
  """Visits every cell of a maze.

  With F free cells besides the start, a step into one of them for the first
  time earns 1/F; any other step costs 1/1024. The episode terminates when all
  are visited and is truncated after 1023 steps; both may happen at once.
  Moves and observations are those of `Labyrinth`; there is no goal.

  The rules are those of POPGym (Morad et al., arXiv:2303.01859).
  """

  def advance(
    self, words: jax.Array, state: EnvState, action: jax.Array, params: PyTree
  ) -> tuple[EnvState, jax.Array]:
    """Plays one step; see the base class."""
    state = self._go(words, state, action)
    cell = self._cell(state.position)
    is_new = _bitboard.is_empty(state.explored & cell)
    bonus = jnp.float32(1) / state.num_free.astype(jnp.float32)
    reward = jnp.where(is_new, bonus, jnp.float32(-1 / self.episode_length))
    state = state.replace(
      explored=state.explored | cell,
      num_new=state.num_new - is_new.astype(jnp.int32),
    )
    return state, reward

  def is_terminated(self, state: ExploreState, params: PyTree) -> jax.Array:
    """Returns whether all free cells are visited, () bool."""
    return state.num_new == 0

  def _enter(self, free, start, goal, next_maze):
    nowhere = Place(jnp.int32(_NOWHERE), jnp.int32(_NOWHERE))
    first = super()._enter(free, start, nowhere, next_maze)
    num_free = _bitboard.count(first.free) - 1
    counts = {"num_free": num_free, "num_new": num_free}
    return ExploreState(**vars(first), explored=self._cell(start), **counts)
