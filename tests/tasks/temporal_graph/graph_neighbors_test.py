"""Tests of the lookup of neighbors."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.tasks.temporal_graph import graph_neighbors
from jaxseq.tasks.temporal_graph import graph_options


def _index(events):
  rng = np.random.default_rng(0)
  nodes = rng.integers(1, 9, (events, 2)).astype(np.int32)
  time = np.arange(events).astype(np.float32)
  graph = graph_neighbors.index(nodes, time, None, 9)
  return nodes, jax.tree.map(jnp.asarray, graph)


def test_the_last_ones_before_an_event():
  nodes, graph = _index(40)
  asked, before = np.repeat(np.arange(9), 3), np.tile([0, 17, 40], 9)
  recent = graph_neighbors.recent(graph, asked, before, 4)
  for row, (node, end) in enumerate(zip(asked, before, strict=True)):
    events = [
      (event, pair[1 - side])
      for event, pair in enumerate(nodes[:end])
      for side in range(2)
      if pair[side] == node
    ][-4:]
    shown = [*zip(recent.event[row], recent.node[row], strict=True)]
    assert shown == [(0, 0)] * (4 - len(events)) + events


def test_a_program_for_many_events_is_no_longer():
  """Halvings in a row did not end compiling with 100,000 events."""

  def operations(events):
    _, graph = _index(events)
    asked = np.zeros(3, np.int32)
    program = jax.make_jaxpr(
      lambda asked: graph_neighbors.recent(graph, asked, asked, 4)
    )
    return str(program(asked)).count(" = ")

  assert operations(5000) == operations(10)


def test_events_before_a_time_are_counted_to_the_second():
  """Also where float32 steps over 8 seconds."""
  time = 2.0**27 + np.array([0.0, 1, 1, 2, 5, 9])
  nodes = np.ones((6, 2), np.int32)
  graph = jax.tree.map(jnp.asarray, graph_neighbors.index(nodes, time, None, 2))
  asked = 2.0**27 + np.array([-1.0, 0, 1, 1.5, 4, 5, 9, 100])
  halves = graph_options.halves(asked)
  found = graph_neighbors.before(graph, *map(jnp.asarray, halves))
  assert found.tolist() == np.searchsorted(time, asked).tolist()
  # Graphs in older files have no rests.
  plain = graph._replace(rest=None, time=jnp.arange(6.0))
  found = graph_neighbors.before(plain, jnp.array([0.0, 2.5, 9.0]))
  assert found.tolist() == [0, 3, 6]
