"""Episodes within a chunk that is computed by matrix products."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.recurrence.shared import _contractions


class Masks(NamedTuple):
  """Visibility among elements in the presence of resets."""

  pairs: jax.Array  # [B|1, 1, C, C], element t sees element j
  enter: jax.Array | None  # [B, 1, C, 1], t sees the state before the chunk
  leave: jax.Array | None  # [B, 1, C, 1], the state after the chunk sees j
  through: jax.Array | None  # [B, 1, 1, 1], one state sees the other
  begins: jax.Array | None  # [B, 1, C, 1], t is the first of its episode


def masks(reset: jax.Array | None, C: int) -> Masks:
  """Pairs within one episode, the earlier element first."""
  pairs = jnp.tril(jnp.ones((C, C), bool))[None, None]
  if reset is None:
    return Masks(pairs, None, None, None, None)
  begins = reset[:, None, :, None]
  episode = jnp.cumsum(begins, axis=-2, dtype=jnp.int32)
  last = episode[..., -1:, :]
  pairs = pairs & (episode == episode.swapaxes(-1, -2))
  return Masks(pairs, episode == 0, episode == last, last == 0, begins)


def set_aside(
  queries: tuple[jax.Array, ...],
  elements: tuple[jax.Array, ...],
  decay: jax.Array | None,
  state: jax.Array,
  masks: Masks,
) -> tuple:
  """Queries, elements, decay and state without undefined numbers, and flags."""
  # In a matrix product 0 * nan is nan: numbers of one episode would reach all.
  # So elements with infinite or undefined entries are replaced by zeros, and
  # the outputs and the state that depend on them, bad_rows [B, heads, C, 1] and
  # bad_state [B, heads, 1, 1], become nan afterwards. Queries affect only their
  # own outputs, elements the state; the last of these has all heads.

  def bad(leaf, test=lambda leaf: ~jnp.isfinite(leaf)):
    # A product counts faster than a reduction.
    return _contractions.sum_over(test(leaf).astype(leaf.dtype), -1) > 0

  bad_query = bad(queries[0])
  for leaf in queries[1:]:
    bad_query |= bad(leaf)
  bad_element = bad(elements[0])
  for leaf in elements[1:]:
    bad_element |= bad(leaf)
  if decay is not None:  # exp(-inf) = 0 is a valid decay.
    bad_element |= bad(decay, lambda a: jnp.isnan(a) | (a == jnp.inf))
  bad_before = bad(state).any(axis=-2, keepdims=True)
  # [B, C, C] and [B, C, heads]: one product for all heads.
  dtype = elements[-1].dtype
  pairs = masks.pairs[:, 0].astype(dtype)
  rows = bad_element[..., 0].swapaxes(1, 2).astype(dtype)
  seen = _contractions.dot(pairs, rows, -1, -2).swapaxes(1, 2)
  bad_rows = (seen[..., None] > 0) | bad_query | (bad_before & masks.enter)
  bad_state = (bad_element & masks.leave).any(axis=-2, keepdims=True)
  bad_state |= bad_before & masks.through

  def clean(leaf):
    finite = jnp.isfinite(leaf)
    return jnp.where(finite, leaf, jnp.zeros((), leaf.dtype))

  if decay is not None:
    decay = jnp.where(jnp.isnan(decay) | (decay == jnp.inf), 0, decay)
  queries, elements = (tuple(map(clean, x)) for x in (queries, elements))
  return queries, elements, decay, clean(state), bad_rows, bad_state


def guarded(
  run: Callable[..., tuple[jax.Array, jax.Array]],
  queries: tuple[jax.Array, ...],
  elements: tuple[jax.Array, ...],
  decay: jax.Array | None,
  state: jax.Array,
  masks: Masks,
) -> tuple[jax.Array, jax.Array]:
  """Results for defined inputs; NaN if a result depends on an undefined one."""
  *arguments, bad_rows, bad_state = set_aside(
    queries, elements, decay, state, masks
  )
  o, state = run(*arguments)
  return jnp.where(bad_rows, jnp.nan, o), jnp.where(bad_state, jnp.nan, state)
