"""Hierarchies to golden values, and the orders that come of them."""

import numpy as np
import pytest

from experiments.graph_sequences import affinity


@pytest.mark.parametrize("name", ["hac_connected", "hac_two_components"])
def test_hierarchies_are_the_golden_ones(golden, name):
  stored = golden(f"graph_sequences/{name}")
  levels, tree = affinity.cluster(
    stored["edges"], stored["weights"], int(stored["num_nodes"])
  )
  np.testing.assert_array_equal(levels, stored["levels"])
  np.testing.assert_array_equal(tree, stored["spanning_tree"])
  np.testing.assert_array_equal(affinity.paths(levels), stored["paths"])
  np.testing.assert_array_equal(affinity.order(levels), stored["dfs_order"])
  distances = affinity.distances(levels)
  np.testing.assert_array_equal(distances, stored["tree_distance"])


def test_a_hundred_spanning_forests_are_the_lightest():
  sparse = pytest.importorskip("scipy.sparse")
  rng = np.random.default_rng(0)
  for nodes in [1, 2, *rng.integers(3, 40, 98)]:
    pairs = np.argwhere(np.triu(rng.random((nodes, nodes)) < 2 / nodes, 1))
    weights = 1 + rng.random(len(pairs))
    levels, tree = affinity.cluster(pairs, weights, int(nodes))
    matrix = sparse.coo_array((weights, pairs.T), (nodes, nodes)).tocsr()
    least = sparse.csgraph.minimum_spanning_tree(matrix)
    np.testing.assert_allclose(weights[tree].sum(), least.sum(), rtol=1e-12)
    count, _ = sparse.csgraph.connected_components(matrix, directed=False)
    assert len(set(levels[-1])) == count == nodes - len(tree)
    assert len(levels) <= int(nodes).bit_length()


def test_equal_weights_make_no_circle():
  edges = [[0, 1], [1, 2], [2, 3], [0, 3]]
  levels, tree = affinity.cluster(np.array(edges), np.ones(4), 4)
  np.testing.assert_array_equal(tree, [0, 1, 2])
  np.testing.assert_array_equal(levels[-1], 0)


def test_edges_that_do_not_fit_are_named():
  with pytest.raises(ValueError, match="edges: got 4, expected nodes from 0"):
    affinity.cluster(np.array([[0, 4]]), np.ones(1), 4)
  with pytest.raises(ValueError, match=r"weights: got shape \(2,\)"):
    affinity.cluster(np.array([[0, 1]]), np.ones(2), 4)
