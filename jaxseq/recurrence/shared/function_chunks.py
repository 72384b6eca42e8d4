"""Functions of a state over chunks of time, to bound intermediate memory."""

from collections.abc import Callable
import functools
import math

import jax
import jax.numpy as jnp

from jaxseq.recurrence.shared import _chunks
from jaxseq.types import PyTree


def in_chunks(
  run: Callable[..., tuple[PyTree, PyTree]],
  state: PyTree,
  arrays: tuple[jax.Array | None, ...],
  axis: int,
  size: int | None,
) -> tuple[PyTree, PyTree]:
  """Runs a function of a state over time, chunk by chunk.

  Its intermediate arrays are in memory for one chunk at a time; the gradient
  keeps the states between chunks and recomputes the rest.

  Args:
    run: `run(state, *arrays) -> (state, y)` for any length; over chunks with
      the state carried, it returns the same as over all of time.
    state: state before the first element, with the dtypes of the states after
      it.
    arrays: arrays with that time axis, the first not None; None stays None.
    axis: which axis of the arrays, and of y, is time.
    size: elements of a chunk; None for all of time.

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
  leaves = [
    jnp.concatenate(z, axis=axis) for z in zip(*map(jax.tree.leaves, (y, last)))
  ]
  return state, jax.tree.unflatten(jax.tree.structure(y), leaves)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def forward_in_chunks(
  run: Callable[..., tuple[PyTree, PyTree]],
  size: int,
  weights: PyTree,
  state: PyTree,
  x: jax.Array,
  reset: jax.Array | None,
) -> tuple[PyTree, PyTree]:
  """Runs a function of a state over time, in chunks if there is no gradient.

  Its intermediate arrays are then in memory for one chunk. With a gradient it
  runs once over all of time, and nothing is recomputed.

  Args:
    run: `run(weights, state, x, reset) -> (state, y)`, as in `in_chunks`, for
      any batch axes; it closes over no traced arrays.
    size: elements of a chunk.
    weights: floating arrays that all chunks share.
    state: state before the first element.
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
    # With the dtypes of the state after a chunk, which a loop carries.
    first = x[:, :size], None if reset is None else reset[:, :size]
    after, _ = jax.eval_shape(section, state, *first, weights)
    state = jax.tree.map(lambda a, b: a.astype(b.dtype), state, after)
  results = _chunks.over_chunks(section, size, state, x, reset, weights)
  return jax.tree.map(
    lambda leaf: leaf.reshape(*batch, *leaf.shape[1:]), results
  )


def _forward_in_chunks_fwd(run, size, weights, state, x, reset):
  del size
  return jax.vjp(lambda *floats: run(*floats, reset), weights, state, x)


def _forward_in_chunks_bwd(run, size, pull, cotangents):
  del run, size
  return *pull(cotangents), None


forward_in_chunks.defvjp(_forward_in_chunks_fwd, _forward_in_chunks_bwd)
