"""Functions of a state over pieces of time, for what is large in between."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxseq._types import PyTree


def in_pieces(
  run: Callable[..., tuple[PyTree, PyTree]],
  state: PyTree,
  arrays: tuple[jax.Array | None, ...],
  axis: int,
  size: int | None,
) -> tuple[PyTree, PyTree]:
  """Runs a function of a state over time, piece by piece.

  What it computes between is in memory for one piece at a time; the gradient
  keeps the states between pieces and computes the rest again.

  Args:
    run: `run(state, *arrays) -> (state, y)` for any length; for pieces with the
      state carried it gives what it gives for all at once.
    state: before the first element, of the dtypes that it has afterwards.
    arrays: with time as that axis, the first not None; None stays None.
    axis: which axis of the arrays, and of y, is time.
    size: elements of a piece; None for all at once.

  Returns:
    The state after the last element, and y.
  """
  time = arrays[0].shape[axis]
  if size is None or time <= size:
    return run(state, *arrays)
  count = time // size

  def cut(leaf):
    leaf = jax.lax.slice_in_dim(leaf, 0, count * size, axis=axis)
    shape = *leaf.shape[:axis], count, size, *leaf.shape[axis + 1 :]
    return jnp.moveaxis(leaf.reshape(shape), axis, 0)

  def join(leaf):
    leaf = jnp.moveaxis(leaf, 0, axis)
    shape = *leaf.shape[:axis], count * size, *leaf.shape[axis + 2 :]
    return leaf.reshape(shape)

  body = jax.checkpoint(lambda state, piece: run(state, *piece))
  state, y = jax.lax.scan(body, state, jax.tree.map(cut, arrays))
  y = jax.tree.map(join, y)
  if time == count * size:
    return state, y
  rest = jax.tree.map(
    lambda leaf: jax.lax.slice_in_dim(leaf, count * size, time, axis=axis),
    arrays,
  )
  state, last = run(state, *rest)
  both = [
    jnp.concatenate(z, axis=axis) for z in zip(*map(jax.tree.leaves, (y, last)))
  ]
  return state, jax.tree.unflatten(jax.tree.structure(y), both)
