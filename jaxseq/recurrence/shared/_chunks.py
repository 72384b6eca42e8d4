"""Folding a function over chunks of time, with memory for the chunk borders."""

from collections.abc import Callable
import functools

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.types import PyTree


def over_steps(
  element: Callable[..., tuple[jax.Array, PyTree]],
  x: PyTree,
  state: PyTree,
  reset: jax.Array | None,
  axis: int = 1,
) -> tuple[jax.Array, PyTree]:
  """Folds `element(x, state, reset) -> (y, state)` over that axis."""

  def body(state, x_and_reset):
    y, state = element(x_and_reset[0], state, x_and_reset[1])
    return state, y

  xs = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, axis, 0), x)
  state, y = lax.scan(body, state, (xs, None if reset is None else reset.T))
  return jnp.moveaxis(y, 0, axis), state


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def over_chunks(
  function: Callable[..., tuple[PyTree, PyTree]],
  size: int,
  carry: PyTree,
  xs: PyTree,
  flags: PyTree,
  weights: PyTree = None,
) -> tuple[PyTree, PyTree]:
  """Folds `function(carry, xs, flags) -> (carry, ys)` over chunks of time."""
  return _forward(function, size, carry, xs, flags, weights)[0]


def _forward(function, size, carry, xs, flags, weights):
  shared = () if weights is None else (weights,)
  some = jax.tree.leaves(xs)[0]
  time = some.shape[1]
  count, rest = _count(time, size)
  shapes = jax.eval_shape(
    function, carry, *_slice((xs, flags), 0, min(size, time)), *shared
  )[1]

  # Like the inputs: inside `jax.shard_map` the type of an array says whether
  # its values differ between devices.
  def zeros(y):
    return jnp.zeros_like(some, y.dtype, shape=(y.shape[0], time) + y.shape[2:])

  ys = jax.tree.map(zeros, shapes)

  def chunk(carry, ys, start, length):
    slices = _slice((xs, flags), start, length)
    carry, new = function(carry, *slices, *shared)
    return carry, _write(ys, new, start)

  def whole(carry_ys, index):
    return chunk(*carry_ys, index * size, size), carry_ys[0]

  borders = None
  if count:
    (carry, ys), borders = lax.scan(whole, (carry, ys), jnp.arange(count))
  last = carry
  if rest:
    carry, ys = chunk(carry, ys, count * size, rest)
  return (carry, ys), (xs, flags, weights, borders, last)


def _backward(function, size, residuals, cotangents):
  xs, flags, weights, borders, last = residuals
  shared = () if weights is None else (weights,)
  d_carry, d_ys = cotangents
  time = jax.tree.leaves(xs)[0].shape[1]
  count, rest = _count(time, size)

  def chunk(sums, start, length, carry):
    d_carry, d_xs, d_shared = sums
    xs_c, flags_c = _slice((xs, flags), start, length)
    _, pull = jax.vjp(
      lambda c, x, *w: function(c, x, flags_c, *w), carry, xs_c, *shared
    )
    d_carry, new, *more = pull((d_carry, _slice(d_ys, start, length)))
    d_shared = jax.tree.map(jnp.add, d_shared, tuple(more))
    return d_carry, _write(d_xs, new, start), d_shared

  def whole(sums, x):
    index, border = x
    return chunk(sums, index * size, size, border), None

  sums = d_carry, *jax.tree.map(jnp.zeros_like, (xs, shared))
  if rest:
    sums = chunk(sums, count * size, rest, last)
  if count:
    sums, _ = lax.scan(whole, sums, (jnp.arange(count), borders), reverse=True)
  d_carry, d_xs, d_shared = sums
  return d_carry, d_xs, None, (d_shared[0] if shared else None)


over_chunks.defvjp(_forward, _backward)


def _count(time, size):
  """Number of whole chunks, and the remainder; a single chunk needs no loop."""
  return (0, time) if time <= size else divmod(time, size)


def _slice(tree, start, length):
  return jax.tree.map(
    lambda x: lax.dynamic_slice_in_dim(x, start, length, axis=1), tree
  )


def _write(tree, new, start):
  return jax.tree.map(
    lambda x, y: lax.dynamic_update_slice_in_dim(x, y, start, axis=1), tree, new
  )
