"""Battleship: sink all ships, learning of every shot whether it hit."""

import dataclasses
from typing import ClassVar
from typing import NamedTuple

from flax import struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.rl.envs import _bitboard
from jaxseq.rl.envs import _preparation
from jaxseq.rl.envs import action_masks
from jaxseq.rl.envs import base
from jaxseq.rl.envs import randomness
from jaxseq.rl.envs import spaces
from jaxseq.types import PyTree

# On smaller boards the first three ships can block the last one.
_MIN_BOARD_SIZE = 6


class Fleet(NamedTuple):
  """Ships, while they are placed one after the other.

  Attributes:
    board: (board_size,) int32 bitboard, the cells of the ships placed.
    placed: () int32, number of ships placed.
  """

  board: jax.Array
  placed: jax.Array


@struct.dataclass
class EnvState(base.EnvState):
  """State of Battleship.

  Attributes, beside those of `base.EnvState`:
    ships: (board_size,) int32 bitboard, the cells of all ships.
    guesses: (board_size,) int32 bitboard, the cells shot at.
    hits: () int32, cells of ships that have been shot at.
    hit: () int32, whether the last shot was the first to hit its cell.
    fleet: the ships of the next episode.
  """

  ships: jax.Array
  guesses: jax.Array
  hits: jax.Array
  hit: jax.Array
  fleet: Fleet


@dataclasses.dataclass(frozen=True)
class Battleship(base.Environment):
  """Shoots at the cells of a board on which ships are hidden.

  Ships of 2, 3, 3 and 4 cells are placed in this order, each uniformly on a
  free straight segment; they may touch. A shot (row, column) that is the first
  to hit a cell of a ship shows 1 and earns 1/12, any other one shows 0 and
  earns -1/(s^2-12) on a board of s x s cells. The first observation is 0. The
  episode terminates when all 12 cells are hit and is truncated after s^2
  steps; both may happen at once.

  The rules are those of POPGym (Morad et al., arXiv:2303.01859).

  Attributes:
    board_size: number of rows and of columns.
    cells: whether an action is one choice among all cells, row by row, instead
      of a row and a column.
    masked: whether observations come with a mask of the cells that have not
      been shot at, see `action_masks`; then an action is one choice, too.
  """

  board_size: int = 8
  cells: bool = False
  masked: bool = False

  # Missed or hit.
  observations = spaces.Discrete(2)
  ship_sizes: ClassVar[tuple[int, ...]] = (2, 3, 3, 4)
  step_words: ClassVar[int] = 1
  reset_words: ClassVar[int] = _preparation.SEED_WORDS

  def __post_init__(self):
    size, largest = self.board_size, _bitboard.MAX_WIDTH
    validate.integer("board_size", size, _MIN_BOARD_SIZE, largest)

  @property
  def num_ship_cells(self) -> int:
    """Number of ship cells to hit."""
    return sum(self.ship_sizes)

  @property
  def max_steps(self) -> int:
    """The time limit, one step for each cell."""
    return self.board_size**2

  def start(self, words: jax.Array, params: PyTree) -> EnvState:
    """Places the ships."""
    return self._begin(words, self._no_fleet(), True)

  def restart(
    self, words: jax.Array, state: EnvState, params: PyTree
  ) -> EnvState:
    """Uses the ships that were placed during the last episode."""
    done = self.is_terminated(state, params) | self.is_truncated(state, params)
    return self._begin(words, state.fleet, done)

  def advance(
    self, words: jax.Array, state: EnvState, action: jax.Array, params: PyTree
  ) -> tuple[EnvState, jax.Array]:
    """Plays one step; see the base class."""
    row, column = _bitboard.place(action, self.board_size)
    shot = _bitboard.cell(self.board_size, row, column)
    hit = ~_bitboard.is_empty(state.ships & ~state.guesses & shot)
    hit_reward = jnp.float32(1 / self.num_ship_cells)
    missed = jnp.float32(-1 / (self.board_size**2 - self.num_ship_cells))
    reward = jnp.where(hit, hit_reward, missed)
    hit = hit.astype(jnp.int32)
    state = state.replace(
      time=state.time + 1,
      guesses=state.guesses | shot,
      hits=state.hits + hit,
      hit=hit,
      fleet=self._try_to_place(words, state.fleet),
    )
    return state, reward

  def observe(self, state: EnvState, params: PyTree) -> PyTree:
    """Returns whether the last shot hit, () int32, with a mask if `masked`."""
    mask = None
    if self.masked:
      mask = _bitboard.free(state.guesses, self.board_size)
    return action_masks.join(state.hit, mask)

  def is_terminated(self, state: EnvState, params: PyTree) -> jax.Array:
    """Returns whether all ships are sunk, () bool."""
    return state.hits == self.num_ship_cells

  def observation_space(self, params: PyTree = None) -> spaces.Space:
    """Missed or hit, with the mask if `masked`."""
    if self.masked:
      return action_masks.with_mask(self.observations, self.board_size**2)
    return self.observations

  def action_space(self, params: PyTree = None) -> spaces.Space:
    """A row and a column, or a cell."""
    if self.cells or self.masked:
      return spaces.Discrete(self.board_size**2)
    return spaces.MultiDiscrete((self.board_size, self.board_size))

  def _begin(self, words, fleet, is_wanted):
    """Starts an episode with a fleet, when it is complete."""
    work = self._try_to_place, self.step_words
    count = len(self.ship_sizes)
    ships = _preparation.finish(
      words, fleet, is_wanted, lambda fleet: fleet.placed == count, *work
    ).board
    return EnvState(
      time=jnp.int32(0),
      ships=ships,
      guesses=jnp.zeros_like(ships),
      hits=jnp.int32(0),
      hit=jnp.int32(0),
      fleet=self._no_fleet(),
    )

  def _no_fleet(self):
    board = jnp.zeros((self.board_size,), jnp.int32)
    return Fleet(board=board, placed=jnp.int32(0))

  def _try_to_place(self, words: jax.Array, fleet: Fleet) -> Fleet:
    """Places the next ship if a random segment of its size is free."""
    sizes = np.array(self.ship_sizes, np.int32)
    is_next = np.arange(len(sizes)) == fleet.placed
    size = jnp.sum(jnp.where(is_next, sizes, 0), dtype=jnp.int32)
    lines = self.board_size
    starts = lines - size + 1
    # Orientation, then line, then offset on the line.
    index = randomness.below(words[0], 2 * lines * starts)
    line, first = index // starts, index % starts
    rows = np.arange(lines, dtype=np.int32)
    across = jnp.where(rows == line, ((1 << size) - 1) << first, 0)
    is_inside = (rows >= first) & (rows < first + size)
    down = jnp.where(is_inside, 1 << (line - lines), 0)
    segment = jnp.where(line < lines, across, down)
    is_free = _bitboard.is_empty(fleet.board & segment)
    fits = (fleet.placed < len(sizes)) & is_free
    return Fleet(
      board=jnp.where(fits, fleet.board | segment, fleet.board),
      placed=fleet.placed + fits.astype(jnp.int32),
    )
