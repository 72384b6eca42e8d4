"""Futures of event sequences, sampled from a network event by event.

    futures = sample_futures(network, variables, events, key, until=50.0)

Gaps are sampled from intensities by thinning (Ogata, IEEE Trans. Inf. Theory
27(1), 1981): proposals come at a rate that the intensity never exceeds, and one
at time t is accepted with probability intensity(t) / rate.
"""

from collections.abc import Callable
from collections.abc import Mapping
import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.nn import masks
from jaxseq.tasks.events import event_rates
from jaxseq.tasks.events import event_sequences
from jaxseq.tasks.events import metrics as event_metrics
from jaxseq.tasks.events import network as event_network
from jaxseq.types import PyTree

Array = jax.Array


class Draw(NamedTuple):
  """The next event of each row.

  Attributes:
    gap: (n,), time until it; inf if there is no event before the limit.
    mark: (n,) int32.
    exceeded: (n,), number of proposals at which the intensity was above its
      bound: the gaps are exact only if that is 0.
  """

  gap: Array
  mark: Array
  exceeded: Array


def thin(
  rates: event_rates.Rates,
  bound: Callable[[Array], Array],
  key: Array,
  limit: Array,
  proposals: int = 16,
) -> Draw:
  """Samples the next event of each row by thinning, independently.

  Args:
    rates: from times (n, proposals) since the last event to intensities (n,
      proposals, marks).
    bound: from times (n,) to upper bounds of the total intensity from these
      times to `limit`.
    key: key of the draws.
    limit: (n,), time since the last event at which the search ends.
    proposals: number of proposals per bound.
  """
  count = limit.shape[0]

  def search(carry):
    key, elapsed, draw, _ = carry
    key, key_gap, key_level = jax.random.split(key, 3)
    top = bound(elapsed)[:, None]
    steps = jax.random.exponential(key_gap, (count, proposals)) / top
    times = elapsed[:, None] + jnp.cumsum(steps, axis=1)
    each = jnp.cumsum(rates(times), axis=-1)
    level = top * jax.random.uniform(key_level, (count, proposals))
    inside = times <= limit[:, None]
    accepted = inside & (level < each[..., -1])
    first = jnp.argmax(accepted, axis=1)
    row = jnp.arange(count)
    searching = jnp.isinf(draw.gap) & (elapsed < limit)
    found = accepted.any(axis=1) & searching
    # Only proposals before the end of the search count.
    tried = inside & searching[:, None]
    tried &= (jnp.arange(proposals) <= first[:, None]) | ~found[:, None]
    mark = (level[..., None] >= each[..., :-1]).sum(axis=-1)[row, first]
    # Rounding may raise an intensity above its bound.
    above = tried & (each[..., -1] > 1.00001 * top)
    draw = Draw(
      jnp.where(found, times[row, first], draw.gap),
      jnp.where(found, mark, draw.mark).astype(jnp.int32),
      draw.exceeded + above.sum(axis=1, dtype=jnp.int32),
    )
    elapsed = jnp.where(searching & ~found, times[:, -1], limit)
    return key, elapsed, draw, (elapsed < limit).any()

  none = jnp.zeros(count, jnp.int32)
  draw = Draw(jnp.full(count, jnp.inf, limit.dtype), none, none)
  start = jnp.where(limit > 0, 0.0, limit)
  carry = key, start, draw, (limit > 0).any()
  return lax.while_loop(lambda carry: carry[-1], search, carry)[2]


def next_events(
  network: event_network.EventNetwork,
  variables: PyTree,
  state: PyTree,
  key: Array,
  limit: Array,
) -> Draw:
  """Samples the event after each of some states.

  Args:
    network: network with any head.
    variables: variables of the network.
    state: (n, ...), from `EventNetwork.read`.
    key: key of the draws.
    limit: (n,), time since the last event above which there is no event.

  Raises:
    ValueError: if the intensities have no bound.
  """
  call = functools.partial(network.apply, variables, state)
  if network.config.head not in ("density", "gompertz"):
    rates = functools.partial(call, method="intensity")
    return thin(rates, functools.partial(call, method="bound"), key, limit)
  key_part, key_gap, key_mark = jax.random.split(key, 3)
  if network.config.head == "gompertz":
    gap = state.gap_at(jax.random.exponential(key_gap, limit.shape))
    logits = state.mark_logits
  else:
    mixture = call(jnp.ones_like(limit), method="predict").gap
    part = jax.random.categorical(key_part, mixture.log_weight)[:, None]
    mean, log_scale = (
      jnp.take_along_axis(x, part, axis=1)[:, 0] for x in mixture[1:]
    )
    z = jax.random.normal(key_gap, limit.shape)
    # The marks need the logarithm of the gap.
    gap = jnp.maximum(jnp.exp(mean + jnp.exp(log_scale) * z), 1e-12)
    logits = call(gap, method="predict").mark_logits
  mark = jax.random.categorical(key_mark, logits).astype(jnp.int32)
  gap = jnp.where(gap <= limit, gap, jnp.inf)
  return Draw(gap, mark, jnp.zeros_like(mark))


def after(
  network: event_network.EventNetwork,
  variables: PyTree,
  events: event_sequences.Sequences,
) -> event_network.Memory:
  """Returns the memory of sequences (n, ...) after their last events."""
  call = functools.partial(network.apply, variables)

  def one(memory, element):
    index, *event = element
    new = call(memory, *event, method="step")
    return masks.choose(index < events.lengths, new, memory), None

  columns = (x.T for x in (events.gaps, events.times, events.marks))
  elements = jnp.arange(events.gaps.shape[1]), *columns
  begin = call(events.lengths.shape, method="begin")
  return lax.scan(one, begin, elements)[0]


@functools.partial(jax.jit, static_argnames=("network", "draws", "max_events"))
def sample_futures(
  network: event_network.EventNetwork,
  variables: Mapping[str, PyTree],
  events: event_sequences.Sequences,
  key: Array,
  *,
  until: Array | float,
  draws: int = 1,
  max_events: int = 64,
) -> event_metrics.Futures:
  """Samples futures of sequences.

  To continue from an event inside of a sequence, shorten its `lengths`.

  Args:
    network: network with any head that has a bound.
    variables: variables of the network.
    events: n sequences; the true densities of events are not needed.
    key: key of the draws.
    until: end of the futures, from time 0; one number, or (n,).
    draws: number of independent futures of each sequence.
    max_events: maximum number of events of a future.

  Returns:
    The events, (n, draws, max_events), in order of time; a future that is full
    may be truncated. Times in the padding are inf.

  Raises:
    ValueError: see `next_events`.
  """
  memory = after(network, variables, events)
  memory = jax.tree.map(lambda x: jnp.repeat(x, draws, axis=0), memory)
  inside = masks.inside(events.times.shape[1], events.lengths)
  time = jnp.where(inside, events.times, 0).max(axis=1, initial=0)
  until = jnp.broadcast_to(jnp.asarray(until, time.dtype), time.shape)
  time, until = (jnp.repeat(x, draws) for x in (time, until))

  def one(carry, key):
    memory, time, alive = carry
    # A finished future has a negative limit, so that no event is found.
    limit = jnp.where(alive, until - time, -1.0)
    draw = next_events(network, variables, memory.state, key, limit)
    alive &= jnp.isfinite(draw.gap)
    gap = jnp.where(alive, draw.gap, 0)
    arguments = memory, gap, time + gap, draw.mark
    new = network.apply(variables, *arguments, method="step")
    memory, time = masks.choose(alive, new, memory), time + gap
    return (memory, time, alive), (time, draw.mark, alive)

  carry = memory, time, jnp.ones(time.shape, bool)
  _, outs = lax.scan(one, carry, jax.random.split(key, max_events))
  shape = (*events.lengths.shape, draws, max_events)
  times, marks, inside = (x.T.reshape(shape) for x in outs)
  return event_metrics.Futures(
    jnp.where(inside, times, jnp.inf), jnp.where(inside, marks, 0), inside
  )
