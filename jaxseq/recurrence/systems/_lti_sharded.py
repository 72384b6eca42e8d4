"""Time-invariant systems with time split over devices; see `shared`."""

import functools

from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.shared import _summaries


def part(run, x, init, reset, **options) -> _summaries.Part:
  """A device's part; a summary is a state, and with resets one flag."""
  del options, init
  length = x.u.shape[-2]
  # Only the states: one output row of zeros.
  _, state = run(x._replace(C=jnp.zeros_like(x.C[:1]), D=None), None, reset)
  through = None if reset is None else ~jnp.any(reset, axis=-1)

  def combine(x):
    return functools.partial(_combine, lax.integer_pow(x.Lambda_bar, length))

  summary = _summaries.Decayed(through, None, state)
  return _summaries.Part(
    summary, lambda state: run(x, state, reset), combine(x), combine
  )


def _combine(power, left, right, hops):
  """Composes neighboring chunks; one has that power of the decay."""
  carried = lax.integer_pow(power, hops) * left.state
  carried = _summaries.entered(right.through, carried)
  through = _summaries.all_through(left, right)
  return _summaries.Decayed(through, None, carried + right.state)
