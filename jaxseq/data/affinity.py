"""Hierarchies of a graph's nodes: affinity clustering, orders, distances.

  hierarchy = cluster(edges, weights, num_nodes)
  order(hierarchy.levels)     # nodes, those of a cluster side by side
  distances(hierarchy.levels)  # in the tree

Each cluster takes the lightest edge that leaves it, clusters that are joined so
become one, and so on until no edge leaves any (Boruvka's spanning forest;
Bateni et al., "Affinity clustering", 2017, as in Behrouz et al.,
arXiv:2411.15671). A cluster is named by its smallest node: with other numbers
of the nodes the order of clusters is another. Of equal weights the edge that
comes first counts as lighter.
"""

from typing import NamedTuple

import numpy as np

from jaxseq import _validate


class Hierarchy(NamedTuple):
  """Clusters of a graph's nodes.

  Attributes:
    levels: (levels, n) the cluster of each node; single nodes at first, what is
      connected at last.
    spanning_tree: (n - components,) the edges that were taken, sorted.
  """

  levels: np.ndarray
  spanning_tree: np.ndarray


def cluster(edges: np.ndarray, weights: np.ndarray, nodes: int) -> Hierarchy:
  """Clusters the nodes of an undirected graph.

  Args:
    edges: (m, 2) nodes, each edge once.
    weights: (m,) of the edges, such as the distance of their nodes' features.
    nodes: n.

  Raises:
    ValueError: if nodes or weights do not fit the edges.
  """
  edges, weights = np.asarray(edges).reshape(-1, 2), np.asarray(weights)
  _validate.positive("nodes", nodes)
  if weights.shape != (len(edges),):
    shape = f"shape {weights.shape}"
    raise _validate.error("weights", shape, f"shape ({len(edges)},)")
  if len(edges) and not 0 <= edges.min() <= edges.max() < nodes:
    got = int(edges.min() if edges.min() < 0 else edges.max())
    raise _validate.error("edges", got, f"nodes from 0 to {nodes - 1}")
  # Stable, so that of equal weights the first edge is the lightest.
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
  """Returns (n,) the nodes as a walk in depth meets them, small names first."""
  return np.lexsort(levels)


def distances(levels: np.ndarray) -> np.ndarray:
  """Returns (n, n) steps between nodes in the tree; -1 where none joins them.

  Args:
    levels: of a `Hierarchy`.
  """
  same = levels[:, :, None] == levels[:, None, :]
  return np.where(same[-1], 2 * same.argmax(axis=0), -1)
