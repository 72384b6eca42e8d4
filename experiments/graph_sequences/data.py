"""Graphs as sequences of their nodes, in the order of a hierarchy of clusters.

  splits = data.load("graphs", task="connectivity", order="tree")

Three questions about whole graphs:
  connectivity: is the graph connected? Graphs come in pairs with the same
    degrees: two halves, and the same halves with an edge of each switched, so
    that no rule about degrees or the number of edges is right more than half
    the time. (For plain random graphs "no node is isolated" answers nearly
    all.)
  colors: how many nodes have the first of four colors? A node's element is
    only its color, and nothing gives away the number of nodes.
  distance: how many steps is it from one marked node to the other?

Source: Behrouz et al., arXiv:2411.15671, whose code is not public.
"""

from collections.abc import Callable
from typing import Literal
from typing import NamedTuple

import numpy as np
from scipy.sparse import csgraph

from experiments.graph_sequences import affinity
from jaxseq import validate
from jaxseq.data import datasets
from jaxseq.data import padding

Question = Literal["connectivity", "colors", "distance"]
Order = Literal["node", "tree", "paths"]
COLORS = 4
# Greatest distance of the marked nodes.
FARTHEST = 4
# Width of the random features whose distances are the edge weights.
_FEATURES = 3


class Graph(NamedTuple):
  """A graph and its answer.

  Attributes:
    adjacency: (n, n) bool, symmetric.
    values: (n, k) float32, features of each node.
    target: the answer.
  """

  adjacency: np.ndarray
  values: np.ndarray
  target: int


def random_graph(
  rng: np.random.Generator, nodes: int, share: float
) -> np.ndarray:
  """Draws the adjacency (n, n) of a graph with about this share of edges."""
  upper = np.triu(rng.random((nodes, nodes)) < share, 1)
  return upper | upper.T


def is_connected(adjacency: np.ndarray) -> bool:
  """Returns whether a graph is connected."""
  return csgraph.connected_components(adjacency, return_labels=False) == 1


def switched_pair(
  rng: np.random.Generator, nodes: int
) -> tuple[np.ndarray, np.ndarray]:
  """Draws a graph of two halves, and a connected one with the same degrees.

  Args:
    rng: random generator.
    nodes: number of nodes, 9 or more; each half has a third of them or more.

  Returns:
    The adjacencies (n, n) of both, with the nodes in the same order.
  """
  third = -(-nodes // 3)
  first = int(rng.integers(third, nodes - third + 1))
  edges = np.zeros((nodes, nodes), bool)
  for part in (slice(0, first), slice(first, nodes)):
    edges[part, part] = _half(rng, part.stop - part.start)
  while True:
    u, v = rng.permutation(_drawn(rng, edges[:first, :first]))
    x, y = first + _drawn(rng, edges[first:, first:])
    joined = edges.copy()
    for one, other, value in ((u, v, 0), (x, y, 0), (u, x, 1), (v, y, 1)):
      joined[one, other] = joined[other, one] = value
    # If both switched edges were bridges, two halves remain.
    if is_connected(joined):
      return edges, joined


def _half(rng, nodes):
  """Draws a connected graph whose nodes have at least two neighbors."""
  share = min(2.2 * np.log(nodes) / nodes, 1)
  while True:
    adjacency = random_graph(rng, nodes, share)
    if adjacency.sum(axis=0).min() >= 2 and is_connected(adjacency):
      return adjacency


def _drawn(rng, adjacency):
  """Draws the two nodes of an edge."""
  return rng.choice(np.argwhere(np.triu(adjacency)))


def _connectivity(rng, nodes):
  """A pair of graphs with `nodes` nodes, each with its own node order."""
  pair = []
  for target, adjacency in enumerate(switched_pair(rng, nodes)):
    at = rng.permutation(nodes)
    adjacency = adjacency[np.ix_(at, at)]
    rows = np.concatenate([np.eye(nodes), adjacency], axis=1)
    pair.append(Graph(adjacency, rows.astype(np.float32), target))
  return pair


def _colors(rng, nodes):
  """A graph with `nodes` / 2 to `nodes` nodes."""
  count = int(rng.integers(nodes // 2, nodes + 1))
  adjacency = random_graph(rng, count, 2 / count)
  color = rng.integers(0, COLORS, count)
  values = np.eye(COLORS, dtype=np.float32)[color]
  return [Graph(adjacency, values, int((color == 0).sum()))]


def _distance(rng, nodes):
  """A sparse graph with two nodes at a uniform distance of 1 to 4 steps."""
  target = int(rng.integers(1, FARTHEST + 1))
  while True:
    adjacency = random_graph(rng, nodes, 2.5 / nodes)
    start = int(rng.integers(nodes))
    far = csgraph.shortest_path(adjacency, unweighted=True, indices=start)
    ends = np.flatnonzero(far == target)
    if len(ends):
      marks = np.zeros((nodes, 1))
      marks[[start, rng.choice(ends)]] = 1
      rows = np.concatenate([np.eye(nodes), adjacency, marks], axis=1)
      return [Graph(adjacency, rows.astype(np.float32), target - 1)]


# Drawing function and question of each task.
_TASKS: dict[str, tuple[Callable, str]] = {
  "connectivity": (_connectivity, "is it connected"),
  "colors": (_colors, "how many nodes have the first color"),
  "distance": (_distance, "how far is one marked node from the other"),
}


def hierarchy(
  rng: np.random.Generator, adjacency: np.ndarray, count: int
) -> np.ndarray:
  """Returns levels (count, n) of clusters by random features of the nodes.

  If fewer levels suffice for connected components, the last one is repeated.
  """
  edges = np.argwhere(np.triu(adjacency))
  features = rng.normal(size=(len(adjacency), _FEATURES))
  weights = np.linalg.norm(np.subtract(*features[edges.T]), axis=-1)
  levels = affinity.cluster(edges, weights, len(adjacency)).levels
  return np.pad(levels, ((0, count - len(levels)), (0, 0)), "edge")


def num_levels(nodes: int) -> int:
  """Returns the most levels of a hierarchy of so many nodes."""
  return nodes.bit_length()


def sequence(
  graph: Graph, levels: np.ndarray, order: Order
) -> tuple[np.ndarray, np.ndarray]:
  """Lays out a graph as a sequence.

  Args:
    graph: graph of n nodes.
    levels: (levels, n) clusters of the nodes.
    order: "node": by the nodes' numbers, which are random; "tree": depth-first
      through the hierarchy; "paths": in that order, with each node after the
      clusters that contain it, from the largest on. A cluster has the values of
      its smallest node, and all elements have their level.

  Returns:
    Elements (time, features) float32, and (time, levels) the clusters of each.
  """
  if order == "node":
    return graph.values, levels.T
  walk = affinity.order(levels)
  if order == "tree":
    return graph.values[walk], levels.T[walk]
  differs = (levels[1:] != levels[:-1]).any(axis=1)
  seen = np.flatnonzero([True, *differs])[::-1]
  nodes = np.repeat(walk, len(seen))
  level = np.tile(seen, len(walk))
  marks = np.eye(len(levels), dtype=np.float32)[level]
  values = graph.values[levels[level, nodes]]
  return np.concatenate([values, marks], axis=1), levels.T[nodes]


def load(
  *,
  task: Question = "connectivity",
  order: Order = "node",
  nodes: int = 24,
  train: int = 8000,
  valid: int = 500,
  test: int = 1000,
  seed: int = 0,
) -> datasets.Splits:
  """Draws graphs, and lays them out as sequences.

  Args:
    task: the question, see above.
    order: order of the elements, see `sequence`.
    nodes: number of nodes of a graph, or the maximum if it varies; 9 or more.
    train: graphs for training; for "connectivity" an even number, and both
      graphs of a pair are in the same part.
    valid: graphs for validation.
    test: graphs for testing.
    seed: seed of all random choices; the graphs do not depend on the order.

  Returns:
    The splits: inputs (n, time, features), lengths, targets (n,) and
    extras.clusters. An element has its node's number, one-hot of `nodes`, and
    its row of the adjacency; for "distance" also whether it is marked; for
    "colors" only its color.

  Raises:
    ValueError: if an option is out of range.
  """
  validate.choice("task", task, _TASKS)
  validate.choice("order", order, ("node", "tree", "paths"))
  validate.integer("nodes", nodes, 9)
  counts = {"train": train, "valid": valid, "test": test}
  validate.all_positive(**counts)
  for name, count in counts.items():
    if task == "connectivity" and count % 2:
      raise validate.error(name, count, "an even number, as graphs are pairs")
  draw, question = _TASKS[task]
  rng = np.random.default_rng(seed)
  graphs: list[Graph] = []
  while len(graphs) < sum(counts.values()):
    graphs += draw(rng, nodes)
  rows, clusters = [], []
  for graph in graphs:
    levels = hierarchy(rng, graph.adjacency, num_levels(nodes))
    elements, names = sequence(graph, levels, order)
    rows.append(elements)
    clusters.append(names.astype(np.int32))
  inputs, lengths = padding.pad_sequences(rows)
  targets = np.array([graph.target for graph in graphs], np.int32)
  extras = datasets.Extras(clusters=padding.pad_sequences(clusters)[0])
  whole = datasets.ArrayDataset(inputs, targets, lengths, extras)
  parts = datasets.consecutive(whole, tuple(counts.values()))
  classes = _classes(task, nodes)
  info = datasets.Info(
    f"A graph as a sequence of its nodes; {question}?",
    "generated after arXiv 2411.15671",
    "none needed",
    num_classes=len(classes),
    classes=classes,
  )
  return datasets.Splits(*parts, info)


def _classes(task, nodes):
  """The names of the answers."""
  if task == "connectivity":
    return "halves", "connected"
  count = range(nodes + 1) if task == "colors" else range(1, FARTHEST + 1)
  return tuple(map(str, count))
