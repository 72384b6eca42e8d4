"""Systems of one channel with time split over devices; see `shared`."""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp

from jaxseq.recurrence.shared import _prefix
from jaxseq.recurrence.shared import _summaries
from jaxseq.recurrence.systems import _siso_systems

Run = Callable[..., tuple[jax.Array, jax.Array]]


def siso_scan(
  run: Run, A, B, C, u, init, *, reset, axis: str
) -> tuple[jax.Array, jax.Array]:
  """Result of `siso_scan`; a summary is a state, and with resets one flag."""
  # The convolutions inside the chunk run beside the exchange; the response to
  # the entering state is added at the end.
  begin, power = init, _siso_systems.power(A, u.shape[-2])
  A, B, C, u, init, reset = _prefix.vary(axis, A, B, C, u, init, reset)
  wide = u.astype(jnp.promote_types(u.dtype, jnp.float32))
  beside, state = run(A, B, C, wide, reset=reset)
  if init is not None:
    state = state.astype(jnp.result_type(state, init))
  through = None if reset is None else ~jnp.any(reset, axis=-1)

  def advance(power, chunk, state, hops):
    carried = _siso_systems.apply(_siso_systems.power(power, hops), state)
    carried = carried.astype(chunk.state.dtype)
    return _summaries.entered(chunk.through, carried) + chunk.state

  def combine(power, left, right, hops):
    through = _summaries.all_through(left, right)
    return _summaries.Decayed(
      through, None, advance(power, right, left.state, hops)
    )

  summary = _summaries.Decayed(through, None, state)
  own_power = _siso_systems.power(A, u.shape[-2])
  operators = (functools.partial(combine, x) for x in (own_power, power))

  def completed(state):
    seen = _siso_systems.response(A, C, state, u.shape[-2])
    seen = _summaries.entered(_summaries.before_resets(reset), seen)
    return beside + seen, advance(own_power, summary, state, 1)

  inits = init, begin
  y, last = _summaries.scan(completed, summary, inits, *operators, axis=axis)
  return y.astype(u.dtype), last
