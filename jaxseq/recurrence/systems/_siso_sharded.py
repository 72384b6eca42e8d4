"""Systems of one channel with time split over devices; see `shared`."""

import functools

import jax.numpy as jnp

from jaxseq.recurrence.shared import _summaries
from jaxseq.recurrence.systems import _siso_systems


def part(run, power, x, init, reset) -> _summaries.Part:
  """A device's part; a summary is a state, and with resets one flag."""
  # The convolutions inside the chunk run beside the exchange; the response to
  # the entering state is added at the end.
  length = x.u.shape[-2]
  wide = x.u.astype(jnp.promote_types(x.u.dtype, jnp.float32))
  outputs, state = run(x._replace(u=wide), None, reset)
  if init is not None:
    state = state.astype(jnp.result_type(state, init))
  through = None if reset is None else ~jnp.any(reset, axis=-1)
  summary = _summaries.Decayed(through, None, state)
  own_power = _siso_systems.power(x.A, length)

  def completed(state):
    seen = _siso_systems.response(x.A, x.C, state, length)
    seen = _summaries.entered(_summaries.before_resets(reset), seen)
    return outputs + seen, _advance(own_power, summary, state, 1)

  # `power` is that of the transition that is the same on all devices.
  local, given = (functools.partial(_combine, p) for p in (own_power, power))
  return _summaries.Part(summary, completed, local, lambda x: given)


def _advance(power, chunk, state, hops):
  """The state after chunks; one has that power of the transition."""
  carried = _siso_systems.apply(_siso_systems.power(power, hops), state)
  carried = carried.astype(chunk.state.dtype)
  return _summaries.entered(chunk.through, carried) + chunk.state


def _combine(power, left, right, hops):
  """Composes neighboring chunks."""
  through = _summaries.all_through(left, right)
  state = _advance(power, right, left.state, hops)
  return _summaries.Decayed(through, None, state)
