"""Segments of time that kernels take side by side, where there are few rows.

What all elements of a segment do to a state is found first, its factor and its
addend; then the states that enter the segments; then all others. As the
recurrence is linear in its state, that is exact.
"""

import jax

from jaxseq.recurrence.linear import _linear_methods


def entering(
  factor: jax.Array, addend: jax.Array, init: jax.Array, *, reverse: bool
) -> jax.Array:
  """The state that enters each segment."""
  after, _ = _linear_methods.scan(
    factor, addend, init, None, reverse, "associative"
  )
  return _linear_methods.previous(after, init, reverse)
