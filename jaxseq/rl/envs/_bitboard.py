"""Sets of grid cells as bitboards, one integer per row.

A board is (height,) int32: bit c of entry r is set if the cell in row r
and column c belongs to the set. Unions, intersections and tests of whole
boards then cost a few operations per row, and under `vmap` they need no
gather and no scatter.
"""

import jax
import jax.numpy as jnp
import numpy as np

# The sign bit is not used.
MAX_WIDTH = 31


def from_grid(grid: jax.Array) -> jax.Array:
  """Returns the board, (height,) int32, of nonzero cells (height, width)."""
  columns = jnp.arange(grid.shape[-1], dtype=jnp.int32)
  bits = (jnp.asarray(grid) != 0).astype(jnp.int32) << columns
  return jnp.sum(bits, axis=-1, dtype=jnp.int32)


def to_grid(board: jax.Array, width: int) -> jax.Array:
  """Returns the board as (height, width) int32 of zeros and ones."""
  return (board[..., None] >> np.arange(width, dtype=np.int32)) & 1


def cell(height: int, row: jax.Array, column: jax.Array) -> jax.Array:
  """Returns the board of a single cell; empty if it is above or below."""
  rows = np.arange(height, dtype=np.int32)
  return jnp.where(rows == row, jnp.int32(1) << column, 0)


def place(action: jax.Array, width: int) -> tuple[jax.Array, jax.Array]:
  """Returns row and column of an action, given as these or as a cell index."""
  if jnp.ndim(action):
    return action[0], action[1]
  return jnp.divmod(jnp.asarray(action), width)


def free(board: jax.Array, width: int) -> jax.Array:
  """Returns which cells are not in the set, (height * width,) bool."""
  return to_grid(board, width).reshape(-1) == 0


def is_empty(board: jax.Array) -> jax.Array:
  """Returns whether the set is empty, () bool."""
  return ~jnp.any(board != 0)


def count(board: jax.Array) -> jax.Array:
  """Returns the number of cells of the board, () int32."""
  return jnp.sum(jax.lax.population_count(board), dtype=jnp.int32)
