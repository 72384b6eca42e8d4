"""Tests of the lookup of neighbors."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.tasks.node_streams import graph_neighbors


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
