"""The most recent neighbors of nodes, looked up in arrays of all events."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.tasks.temporal_graph import graph_options


class Neighbors(NamedTuple):
  """The events of each node, in order of time.

  Attributes:
    begin: (nodes + 1,) int32, start of each node's entries in `node` and
      `event`.
    node: (2 events,) int32, the other node of an event; (events,) if sources
      alone have events.
    event: as many, the index of the event.
    time: (events,) float32.
    features: (events, k) float32, or None.
    rest: (events,) float32, rounding errors of the times, see
      `graph_options.halves`; None if they are 0.
  """

  begin: jax.Array
  node: jax.Array
  event: jax.Array
  time: jax.Array
  features: jax.Array | None
  rest: jax.Array | None = None


class Found(NamedTuple):
  """Neighbors of n nodes, the most recent one last, padded in front.

  Attributes:
    node: (n, count) int32, 0 in the padding.
    time: (n, count) float32, times of the events.
    features: (n, count, k) float32, of these events, or None.
    event: (n, count) int32, indices of the events.
    rest: (n, count) float32, rounding errors of the times; None if they are 0.
  """

  node: jax.Array
  time: jax.Array
  features: jax.Array | None
  event: jax.Array
  rest: jax.Array | None


def index(
  nodes: np.ndarray,
  time: np.ndarray,
  features: np.ndarray | None,
  count: int,
  sources: bool = False,
) -> Neighbors:
  """Returns the events of each of `count` nodes, including the padding node 0.

  Args:
    nodes: (events, 2) sources and destinations.
    time: (events,), non-decreasing.
    features: (events, k), or None.
    count: number of nodes.
    sources: whether the events of a node are only those that it is the source
      of.
  """
  ends = 1 if sources else 2
  own, other = nodes[:, :ends].ravel(), nodes[:, ::-1][:, :ends].ravel()
  order = np.argsort(own, kind="stable")
  begin = np.searchsorted(own[order], np.arange(count + 1))
  high, rest = graph_options.halves(np.asarray(time, np.float64))
  return Neighbors(
    begin.astype(np.int32),
    other[order].astype(np.int32),
    (order // ends).astype(np.int32),
    high,
    None if features is None else features.astype(np.float32),
    rest,
  )


def before(
  graph: Neighbors, time: jax.Array, rest: jax.Array | None = None
) -> jax.Array:
  """Returns the indices (n,) int32 of the first events not before given times.

  Args:
    graph: the events.
    time: (n,) float32.
    rest: (n,) rounding errors of the times; 0 if None.
  """
  rest = jnp.zeros_like(time) if rest is None else rest
  rests = jnp.zeros_like(graph.time) if graph.rest is None else graph.rest

  def earlier(event):
    return (graph.time[event] - time) + (rests[event] - rest) < 0

  zeros = jnp.zeros(time.shape, jnp.int32)
  return _first(zeros, zeros + len(graph.time), earlier, len(graph.time))


def recent(
  graph: Neighbors, nodes: jax.Array, before: jax.Array, count: int
) -> Found:
  """Returns the last neighbors of nodes before given events.

  Args:
    graph: the events.
    nodes: (n,) integers.
    before: (n,) integers, indices of the first events that do not count.
    count: number of neighbors.
  """
  first, high = graph.begin[nodes], graph.begin[nodes + 1]
  # Index of the first event that does not count.
  low = _first(
    first, high, lambda place: graph.event[place] < before, len(graph.event)
  )
  place = low[:, None] - count + jnp.arange(count)
  there = place >= first[:, None]
  place = jnp.maximum(place, 0)
  event, features = graph.event[place], graph.features
  if features is not None:
    features = jnp.where(there[..., None], features[event], 0)
  return Found(
    jnp.where(there, graph.node[place], 0),
    jnp.where(there, graph.time[event], 0),
    features,
    jnp.where(there, event, 0),
    None if graph.rest is None else jnp.where(there, graph.rest[event], 0),
  )


def _first(low, high, counts, size):
  """The first indices (n,) of ranges at which `counts` is False."""

  def halved(_, bounds):
    low, high = bounds
    middle = (low + high) // 2
    more = counts(jnp.minimum(middle, size - 1))
    inside = low < high
    return (
      jnp.where(inside & more, middle + 1, low),
      jnp.where(inside & ~more, middle, high),
    )

  # A loop, since unrolled steps, each of which reads the previous one several
  # times, practically do not compile on a CPU for 100,000 events.
  steps = math.ceil(math.log2(size + 1)) + 1
  return jax.lax.fori_loop(0, steps, halved, (low, high))[0]
