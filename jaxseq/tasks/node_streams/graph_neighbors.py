"""The most recent neighbors of nodes, looked up in arrays of all events."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Neighbors(NamedTuple):
  """The events of each node, in their order.

  Attributes:
    begin: (nodes + 1,) int32, where those of a node begin in the next two.
    node: (2 events,) int32, the other node of an event.
    event: (2 events,) int32, its number.
    time: (events,) float32.
    features: (events, k) float32, or None.
  """

  begin: jax.Array
  node: jax.Array
  event: jax.Array
  time: jax.Array
  features: jax.Array | None


class Found(NamedTuple):
  """Neighbors of n nodes, the most recent one last, filled up in front.

  Attributes:
    node: (n, count) int32, 0 where there is none.
    time: (n, count) float32, when they met.
    features: (n, count, k) float32, of these events, or None.
    event: (n, count) int32, their numbers.
  """

  node: jax.Array
  time: jax.Array
  features: jax.Array | None
  event: jax.Array


def index(
  nodes: np.ndarray,
  time: np.ndarray,
  features: np.ndarray | None,
  count: int,
) -> Neighbors:
  """Returns the events of each of `count` nodes, with 0, which is none.

  Args:
    nodes: (events, 2) sources and destinations.
    time: (events,), which never fall.
    features: (events, k), or None.
    count: of nodes.
  """
  own, other = nodes.ravel(), nodes[:, ::-1].ravel()
  order = np.argsort(own, kind="stable")
  begin = np.searchsorted(own[order], np.arange(count + 1))
  return Neighbors(
    begin.astype(np.int32),
    other[order].astype(np.int32),
    (order // 2).astype(np.int32),
    time.astype(np.float32),
    None if features is None else features.astype(np.float32),
  )


def recent(
  graph: Neighbors, nodes: jax.Array, before: jax.Array, count: int
) -> Found:
  """Returns the last neighbors of nodes before some events.

  Args:
    graph: the events.
    nodes: (n,) integers.
    before: (n,) integers, the numbers of the first events that do not count.
    count: of neighbors.
  """
  low, high = graph.begin[nodes], graph.begin[nodes + 1]
  first, most = low, len(graph.event) - 1

  def halved(_, bounds):
    low, high = bounds
    middle = (low + high) // 2
    counts = graph.event[jnp.minimum(middle, most)] < before
    inside = low < high
    return (
      jnp.where(inside & counts, middle + 1, low),
      jnp.where(inside & ~counts, middle, high),
    )

  # The place of the first event that does not count. A loop, as steps in a row,
  # each of which reads the last one several times, do not end compiling on a
  # CPU where there are 100,000 events.
  steps = math.ceil(math.log2(len(graph.event) + 1)) + 1
  low, _ = jax.lax.fori_loop(0, steps, halved, (low, high))
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
  )
