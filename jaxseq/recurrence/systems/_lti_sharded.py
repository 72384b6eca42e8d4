"""Time-invariant systems with time split over devices; see `shared`."""

from collections.abc import Callable
import functools

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.recurrence.shared import _prefix
from jaxseq.recurrence.shared import _summaries

Run = Callable[..., tuple[jax.Array, jax.Array]]


def lti_scan(
  run: Run, Lambda_bar, B_bar, C, u, init, *, D, reset, reverse, axis: str
) -> tuple[jax.Array, jax.Array]:
  """Runs `lti_scan`; a summary is a state, and with resets one flag."""
  begin, power = init, lax.integer_pow(Lambda_bar, u.shape[-2])
  Lambda_bar, B_bar, C, u, init, D, reset = _prefix.vary(
    axis, Lambda_bar, B_bar, C, u, init, D, reset
  )
  # Only the states: one output row of zeros.
  nothing = jnp.zeros_like(C[:1])
  _, state = run(Lambda_bar, B_bar, nothing, u, init=None, reset=reset)
  through = None if reset is None else ~jnp.any(reset, axis=-1)

  def combine(power, left, right, hops):
    carried = lax.integer_pow(power, hops) * left.state
    carried = _summaries.entered(right.through, carried)
    through = _summaries.all_through(left, right)
    return _summaries.Decayed(through, None, carried + right.state)

  where = {"axis": axis, "reverse": reverse}
  own_power = lax.integer_pow(Lambda_bar, u.shape[-2])
  summary = _summaries.Decayed(through, None, state)
  operators = (functools.partial(combine, x) for x in (own_power, power))
  run = functools.partial(run, Lambda_bar, B_bar, C, u, D=D, reset=reset)
  return _summaries.scan(run, summary, (init, begin), *operators, **where)
