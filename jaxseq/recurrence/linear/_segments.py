"""Segments of time that kernels take side by side, where there are few rows."""

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
