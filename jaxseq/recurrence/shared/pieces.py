"""Functions of a state over pieces of time, for what is large in between."""

from collections.abc import Callable
import functools
import math

import jax
import jax.numpy as jnp

from jaxseq._types import PyTree
from jaxseq.recurrence.shared import _chunks


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


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def in_sections(
  run: Callable[..., tuple[PyTree, PyTree]],
  size: int,
  weights: PyTree,
  state: PyTree,
  x: jax.Array,
  reset: jax.Array | None,
) -> tuple[PyTree, PyTree]:
  """Runs a function of a state over time, in pieces if no gradient is asked.

  What it computes between is in memory for one section then. With a gradient
  it runs once over all, as if it stood alone, and nothing is computed again.

  Args:
    run: `run(weights, state, x, reset) -> (state, y)`, as of `in_pieces`, for
      any batch axes; it closes over no traced arrays.
    size: elements of a section.
    weights: what is the same for all sections, floating.
    state: before the first element.
    x: (*batch, time, features).
    reset: (*batch, time) bool or None.

  Returns:
    The state after the last element, and y.
  """
  *batch, time, _ = x.shape
  rows, lead = math.prod(batch), len(batch)

  def flat(leaf):
    return leaf.reshape(rows, *leaf.shape[lead:])

  def section(state, x, reset, weights):
    return run(weights, state, x, reset)

  if time <= size:
    return run(weights, state, x, reset)
  state, x, reset = jax.tree.map(flat, (state, x, reset))
  wide = jnp.promote_types(x.dtype, jnp.float32)
  if any(leaf.dtype != wide for leaf in jax.tree.leaves(state)):
    # In the dtypes that it has after a section, which a loop carries.
    first = x[:, :size], None if reset is None else reset[:, :size]
    after, _ = jax.eval_shape(section, state, *first, weights)
    state = jax.tree.map(lambda a, b: a.astype(b.dtype), state, after)
  results = _chunks.over_chunks(section, size, state, x, reset, weights)
  return jax.tree.map(
    lambda leaf: leaf.reshape(*batch, *leaf.shape[1:]), results
  )


def _in_sections_forward(run, size, weights, state, x, reset):
  del size
  return jax.vjp(lambda *floats: run(*floats, reset), weights, state, x)


def _in_sections_backward(run, size, pull, cotangents):
  del run, size
  return *pull(cotangents), None


in_sections.defvjp(_in_sections_forward, _in_sections_backward)
