"""Undefined cotangents, contained in their own episode.

In the products of a gradient 0 * nan is nan, as in those of results. So
infinite or undefined cotangents of a function's results are replaced by zeros,
once, and the gradients that depend on them become nan afterwards.
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import _varying
from jaxseq.types import PyTree

# Function of flags and of the result parts that have undefined cotangents,
# which returns the argument parts that depend on them.
Reach = Callable[..., tuple[jax.Array, ...]]


def contained(
  run: Callable[..., tuple[PyTree, ...]],
  reach: Reach,
  shapes: tuple[tuple[int, ...], ...],
  flags: Any,
  *arguments: PyTree,
) -> tuple[PyTree, ...]:
  """Returns `run(*arguments)`, whose gradient contains undefined cotangents."""
  # `run` returns one result for each of `shapes`: the leaves of a result have
  # parts along their first axes, which have that shape, whatever their rank.
  # `reach(flags, *undefined)` maps flags of such shapes to flags of the
  # arguments' parts.
  pair = flags, arguments
  flags, arguments = _varying.vary_as_all(pair, pair)
  # Zeros whose cotangents mark undefined cotangents of the results.
  like = jax.tree.leaves(arguments)[0]
  marks = tuple(jnp.zeros_like(like, "float32", shape=s) for s in shapes)
  arguments, marks = _entering(reach, arguments, marks, flags)
  return _leaving(run(*arguments), marks)


def of_episodes(
  run: Callable[..., tuple[PyTree, PyTree]],
  x: PyTree,
  init: PyTree,
  reset: jax.Array | None,
) -> tuple[PyTree, PyTree]:
  """`contained` outputs and last state `run(x, init)` of a recurrence."""
  # Arrays of x and of the outputs are (rows, time, ...) or (rows, 1, time, n),
  # and states have as many rows. With a reset of None nothing is contained.
  if reset is None:
    return run(x, init)
  shapes = reset.shape, reset.shape[:1]
  return contained(run, _in_episodes, shapes, reset, x, init)


def _in_episodes(reset, outputs, last):
  """Elements at or before an undefined cotangent of their episode."""
  # The next event: an undefined cotangent, even, or the episode's end, odd.
  ends = jnp.concatenate([reset[:, 1:], ~last[:, None]], axis=1)
  outputs = outputs.at[:, -1].set(outputs[:, -1] | last)
  place = 2 * jnp.arange(reset.shape[1])
  place = jnp.where(outputs, place, place + 1)
  place = jnp.where(outputs | ends, place, jnp.iinfo(place.dtype).max)
  ruined = lax.cummin(place, axis=1, reverse=True) % 2 == 0
  return ruined, ruined[:, 0] & ~reset[:, 0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _entering(reach, arguments, marks, flags):
  """The arguments and marks, whose cotangents are joined here."""
  del reach, flags
  return arguments, marks


def _entering_forward(reach, arguments, marks, flags):
  del reach
  return (arguments, marks), flags


def _entering_backward(reach, flags, cotangents):
  of_arguments, marks = cotangents
  ruined = reach(flags, *(mark > 0 for mark in marks))
  # Otherwise XLA on CPUs would recompute them for each of many numbers.
  ruined = lax.optimization_barrier(ruined)

  def mark(flags, leaf):
    parts = _in_parts(leaf, flags.shape)
    flags = flags.reshape(*flags.shape, *[1] * (parts.ndim - flags.ndim))
    return jnp.where(flags, jnp.nan, parts).reshape(leaf.shape)

  of_arguments = tuple(
    jax.tree.map(functools.partial(mark, flags), tree)
    for flags, tree in zip(ruined, of_arguments)
  )
  return of_arguments, jax.tree.map(jnp.zeros_like, marks), None


_entering.defvjp(_entering_forward, _entering_backward)


@jax.custom_vjp
def _leaving(results, marks):
  """The results, whose undefined cotangents become those of the marks."""
  del marks
  return results


def _leaving_forward(results, marks):
  return results, marks


def _leaving_backward(marks, cotangents):
  # Computed once, and not for each of its two readers.
  cotangents = lax.optimization_barrier(cotangents)
  undefined = []
  for mark, tree in zip(marks, cotangents):
    flags = [_undefined(leaf, mark.shape) for leaf in jax.tree.leaves(tree)]
    total = functools.reduce(jnp.logical_or, flags)
    undefined.append(total.astype(mark.dtype))
  clean = jax.tree.map(
    lambda leaf: jnp.where(jnp.isfinite(leaf), leaf, 0).astype(leaf.dtype),
    cotangents,
  )
  return clean, tuple(undefined)


_leaving.defvjp(_leaving_forward, _leaving_backward)


def _in_parts(leaf, shape):
  """Reshapes a leaf to axes of that shape and one more."""
  return leaf.reshape(*shape, -1)


def _undefined(leaf, shape):
  """Flags of parts with infinite or undefined numbers."""
  # At this scale, no sum of finite numbers becomes infinite.
  parts = _in_parts(leaf, shape).astype(jnp.promote_types(leaf.dtype, "f4"))
  sums = _contractions.sum_over(parts, -1, 2.0**-24)
  return ~jnp.isfinite(sums[..., 0])
