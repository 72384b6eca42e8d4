import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.rl.envs import _bitboard


def test_grids_and_boards_are_the_same_sets():
  grid = np.random.default_rng(0).integers(0, 2, (5, 31))
  board = _bitboard.from_grid(grid)
  assert board.shape == (5,)
  assert board.dtype == jnp.int32
  np.testing.assert_array_equal(_bitboard.to_grid(board, 31), grid)
  assert _bitboard.count(board) == grid.sum()
  assert not _bitboard.is_empty(board)
  assert _bitboard.is_empty(jnp.zeros((5,), jnp.int32))


def test_cells():
  rows, columns = np.mgrid[-1:4, 0:31].reshape(2, -1).astype(np.int32)
  boards = jax.vmap(lambda row, column: _bitboard.cell(3, row, column))(
    rows, columns
  )
  grids = np.asarray(_bitboard.to_grid(boards, 31))
  for grid, row, column in zip(grids, rows, columns):
    expected = np.zeros((3, 31))
    if 0 <= row < 3:
      expected[row, column] = 1
    np.testing.assert_array_equal(grid, expected)
