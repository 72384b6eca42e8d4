"""Segments of time that kernels take side by side, where there are few rows.

What all elements of a segment do to a state is found first, its factor and its
addend; then the states that enter the segments; then all others. As the
recurrence is linear in its state, that is exact.
"""

import jax
import jax.numpy as jnp

from jaxseq.recurrence import linear


def entering(
  factor: jax.Array, addend: jax.Array, init: jax.Array, *, reverse: bool
) -> jax.Array:
  """The state that enters each segment.

  Args:
    factor: [B, segments, n], real or complex.
    addend: [B, segments, n].
    init: [B, n] state before the first segment.
    reverse: whether the last segment comes first.

  Returns:
    [B, segments, n].
  """
  after, _ = linear.linear_scan(
    factor, addend, init, reverse=reverse, method="associative"
  )
  return before(after, init, reverse=reverse)


def before(after: jax.Array, init: jax.Array, *, reverse: bool) -> jax.Array:
  """The state before each segment, from that after each.

  Args:
    after: [B, segments, n].
    init: as in `entering`.
    reverse: as in `entering`.

  Returns:
    [B, segments, n].
  """
  if reverse:
    return jnp.concatenate([after[:, 1:], init[:, None]], axis=1)
  return jnp.concatenate([init[:, None], after[:, :-1]], axis=1)
