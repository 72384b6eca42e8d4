"""Hierarchical clusters of graph nodes: affinity clustering, orders, distances.

  hierarchy = cluster(edges, weights, num_nodes)
  order(hierarchy.levels)     # nodes, clusters contiguous
  distances(hierarchy.levels)  # in the tree

Each round selects the lightest edge that leaves each cluster and merges the
clusters that these edges join, until no edge joins two clusters (Boruvka's
spanning forest; Bateni et al., "Affinity clustering", 2017, as in Behrouz et
al., arXiv:2411.15671). A cluster is named by its smallest node, so that the
order of clusters depends on the numbers of the nodes. The first of several
edges of equal weight counts as the lightest.
"""

from typing import NamedTuple

import numpy as np

from jaxseq import validate


class Hierarchy(NamedTuple):
  """Clusters of a graph's nodes.

  Attributes:
    levels: (levels, n) the cluster of each node, from single nodes to connected
      components.
    spanning_tree: (n - components,) the selected edges, sorted.
  """

  levels: np.ndarray
  spanning_tree: np.ndarray


def cluster(edges: np.ndarray, weights: np.ndarray, nodes: int) -> Hierarchy:
  """Clusters the nodes of an undirected graph.

  Args:
    edges: (m, 2) nodes, each edge once.
    weights: (m,) edge weights, such as the distance of their nodes' features.
    nodes: number of nodes n.

  Raises:
    ValueError: if nodes or weights do not fit the edges.
  """
  edges, weights = np.asarray(edges).reshape(-1, 2), np.asarray(weights)
  validate.positive("nodes", nodes)
  if weights.shape != (len(edges),):
    shape = f"shape {weights.shape}"
    raise validate.error("weights", shape, f"shape ({len(edges)},)")
  if len(edges) and not 0 <= edges.min() <= edges.max() < nodes:
    got = int(edges.min() if edges.min() < 0 else edges.max())
    raise validate.error("edges", got, f"nodes from 0 to {nodes - 1}")
  # Stable, so that the first edge of equal weight is the lightest.
  lightest = np.argsort(weights, kind="stable").tolist()
  pairs, name = edges.tolist(), list(range(nodes))
  levels, taken = [list(name)], set()
  while True:
    best: dict[int, int] = {}
    for edge in lightest:
      first, second = (name[node] for node in pairs[edge])
      if first != second:
        best.setdefault(first, edge)
        best.setdefault(second, edge)
    if not best:
      break
    for edge in set(best.values()):
      first, second = sorted(name[node] for node in pairs[edge])
      name = [first if x == second else x for x in name]
    taken |= set(best.values())
    levels.append(list(name))
  return Hierarchy(np.array(levels), np.array(sorted(taken), int))


def paths(levels: np.ndarray) -> np.ndarray:
  """Returns (n, levels), the clusters of each node from the root to itself."""
  return levels[::-1].T


def order(levels: np.ndarray) -> np.ndarray:
  """Returns the nodes (n,) in depth-first order, small names first."""
  return np.lexsort(levels)


def distances(levels: np.ndarray) -> np.ndarray:
  """Returns the tree distances (n, n) of nodes; -1 if they are not connected.

  Args:
    levels: levels of a `Hierarchy`.
  """
  same = levels[:, :, None] == levels[:, None, :]
  return np.where(same[-1], 2 * same.argmax(axis=0), -1)
