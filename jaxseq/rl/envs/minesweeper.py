"""MineSweeper: open all cells without mines, seeing one count at a time."""

import dataclasses

from flax import struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.rl.envs import _bitboard
from jaxseq.rl.envs import action_masks
from jaxseq.rl.envs import base
from jaxseq.rl.envs import randomness
from jaxseq.rl.envs import spaces
from jaxseq.types import PyTree

# The largest count: nine mines fill the cell and the cells around it.
_MAX_COUNT = 9
# Mines laid in one iteration of a loop; POPGym's boards have up to ten.
_UNROLL = 16


@struct.dataclass
class EnvState(base.EnvState):
  """State of MineSweeper.

  Attributes, beside those of `base.EnvState`:
    mines: (height,) int32 bitboard, the cells with a mine.
    opened: (height,) int32 bitboard, the clear cells opened.
    num_opened: () int32, number of clear cells opened.
    exploded: () int32, 1 once a mine has been opened.
    count: () int32, the number last seen.
  """

  mines: jax.Array
  opened: jax.Array
  num_opened: jax.Array
  exploded: jax.Array
  count: jax.Array


@dataclasses.dataclass(frozen=True)
class MineSweeper(base.Environment):
  """Opens the cells of a board on which mines are hidden.

  Opening a cell (row, column) shows the number of mines in it and the eight
  cells around it. With m clear cells, one opened for the first time earns 1/m,
  one opened before -0.5/(m-2), and a mine -0.5-1/m. The first observation is
  0. The episode terminates with a mine, or when all m clear cells are open; it
  is truncated after m steps if it does not terminate with the last one.

  The rules are those of POPGym (Morad et al., arXiv:2303.01859).

  Attributes:
    height: number of rows.
    width: number of columns.
    num_mines: number of mines; all positions are equally probable.
    cells: whether an action is one choice among all cells, row by row, instead
      of a row and a column.
    masked: whether observations come with a mask of the cells that have not
      been opened, see `action_masks`; then an action is one choice, too.
  """

  height: int = 4
  width: int = 4
  num_mines: int = 2
  cells: bool = False
  masked: bool = False

  def __post_init__(self):
    for name in ("height", "width"):
      validate.integer(name, getattr(self, name), 1, _bitboard.MAX_WIDTH)
    # Three cells have to be clear.
    most = self.height * self.width - 3
    validate.integer("num_mines", self.num_mines, 1, most)

  @property
  def reset_words(self) -> int:
    """Random words of a reset, one for each mine."""
    return self.num_mines

  @property
  def num_clear(self) -> int:
    """Number of cells without a mine."""
    return self.height * self.width - self.num_mines

  @property
  def max_steps(self) -> int:
    """The time limit, one step for each clear cell."""
    return self.num_clear

  def start(self, words: jax.Array, params: PyTree) -> EnvState:
    """Lays the mines."""
    mines = self._lay_mines(words)
    return EnvState(
      time=jnp.int32(0),
      mines=mines,
      opened=jnp.zeros_like(mines),
      num_opened=jnp.int32(0),
      exploded=jnp.int32(0),
      count=jnp.int32(0),
    )

  def advance(
    self, words: jax.Array, state: EnvState, action: jax.Array, params: PyTree
  ) -> tuple[EnvState, jax.Array]:
    """Plays one step; see the base class."""
    row, column = _bitboard.place(action, self.width)
    cell = _bitboard.cell(self.height, row, column)
    is_mine = ~_bitboard.is_empty(state.mines & cell)
    is_new = _bitboard.is_empty((state.mines | state.opened) & cell)
    open_reward = jnp.float32(1 / self.num_clear)
    again = jnp.float32(-0.5 / (self.num_clear - 2))
    boom = jnp.float32(-0.5 - 1 / self.num_clear)
    reward = jnp.where(is_mine, boom, jnp.where(is_new, open_reward, again))
    rows = np.arange(self.height, dtype=np.int32)
    # Bits left of the board are shifted out.
    three = (jnp.int32(7) << column) >> 1
    around = jnp.where(jnp.abs(rows - row) <= 1, three, 0)
    state = state.replace(
      time=state.time + 1,
      opened=state.opened | (cell & ~state.mines),
      num_opened=state.num_opened + is_new.astype(jnp.int32),
      exploded=is_mine.astype(jnp.int32),
      count=_bitboard.count(state.mines & around),
    )
    return state, reward

  def observe(self, state: EnvState, params: PyTree) -> PyTree:
    """Returns the number of mines around the cell last opened, () int32."""
    mask = _bitboard.free(state.opened, self.width) if self.masked else None
    return action_masks.join(state.count, mask)

  def is_terminated(self, state: EnvState, params: PyTree) -> jax.Array:
    """Returns whether the game is lost or won, () bool."""
    return (state.exploded != 0) | (state.num_opened == self.num_clear)

  def is_truncated(self, state: EnvState, params: PyTree) -> jax.Array:
    """Returns whether the limit is reached before the game ends, () bool."""
    at_limit = state.time >= params.max_steps_in_episode
    return at_limit & ~self.is_terminated(state, params)

  def action_space(self, params: PyTree = None) -> spaces.Space:
    """A row and a column, or a cell."""
    if self.cells or self.masked:
      return spaces.Discrete(self.height * self.width)
    return spaces.MultiDiscrete((self.height, self.width))

  def observation_space(self, params: PyTree = None) -> spaces.Space:
    """The possible numbers of mines in three by three cells, and a mask."""
    counts = spaces.Discrete(min(self.num_mines, _MAX_COUNT) + 1)
    if self.masked:
      return action_masks.with_mask(counts, self.height * self.width)
    return counts

  def _lay_mines(self, words: jax.Array) -> jax.Array:
    """Draws `num_mines` distinct cells; all sets are equally probable."""
    # Floyd's algorithm (Bentley and Floyd, "A sample of brilliance", CACM 30,
    # 1987): a random cell of 0..j for each j, or j itself if that is taken.
    order = np.arange(self.num_mines, dtype=np.int32)
    last = jnp.asarray(self.num_clear + order)

    def settle(i, cells):
      is_taken = jnp.any((cells == cells[i]) & (order < i))
      return jnp.where((order == i) & is_taken, last, cells)

    cells = randomness.below(words, last + 1)
    unroll = min(self.num_mines, _UNROLL)
    cells = jax.lax.fori_loop(0, self.num_mines, settle, cells, unroll=unroll)
    rows = np.arange(self.height, dtype=np.int32)[:, None]
    bits = jnp.where(rows == cells // self.width, 1 << cells % self.width, 0)
    return jnp.sum(bits, axis=-1, dtype=jnp.int32)
