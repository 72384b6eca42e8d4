"""Graphs as sequences: their answers, and what no rule of thumb can tell."""

import numpy as np
import pytest

from experiments.graph_sequences import affinity
from experiments.graph_sequences import data as graphs
from jaxseq import data

SMALL = {"nodes": 12, "train": 40, "valid": 4, "test": 10}


def matrices(part, nodes):
  """The adjacency of graphs in the order of their elements, and the numbers."""
  number = part.inputs[..., :nodes].argmax(-1)
  rows = part.inputs[..., nodes : 2 * nodes] > 0
  return number, rows


def test_answers_and_pairs_are_those_of_the_graphs(golden):
  stored = golden("graph_sequences/hac_two_components")
  adjacency = np.zeros((14, 14), bool)
  adjacency[tuple(stored["edges"].T)] = True
  adjacency |= adjacency.T
  assert stored["num_components"] == 2
  assert not graphs.is_connected(adjacency)
  for name in range(2):
    half = np.flatnonzero(stored["component"] == name)
    assert graphs.is_connected(adjacency[np.ix_(half, half)])

  splits = data.load("graphs", **SMALL)
  number, rows = matrices(splits.train, 12)
  np.testing.assert_array_equal(number, np.tile(np.arange(12), (40, 1)))
  np.testing.assert_array_equal(splits.train.targets, [0, 1] * 20)
  for i in range(0, 40, 2):
    apart, joined = rows[i], rows[i + 1]
    assert not graphs.is_connected(apart)
    assert graphs.is_connected(joined)
    degrees = [np.sort(x.sum(axis=0)) for x in (apart, joined)]
    np.testing.assert_array_equal(*degrees)
    assert degrees[0][0] >= 2


def test_orders_have_the_same_graphs():
  node, tree, paths = (
    data.load("graphs", order=order, **SMALL).test
    for order in ("node", "tree", "paths")
  )
  number, rows = matrices(tree, 12)
  _, before = matrices(node, 12)
  for i in range(len(rows)):
    np.testing.assert_array_equal(rows[i], before[i][number[i]])
    levels = node.extras.clusters[i].T
    np.testing.assert_array_equal(number[i], affinity.order(levels))
    # Leaves of the paths are the elements of the walk.
    leaves = paths.inputs[i, : paths.lengths[i], 24:].argmax(-1) == 0
    elements = paths.inputs[i, : paths.lengths[i]][leaves]
    np.testing.assert_array_equal(elements[:, :24], tree.inputs[i])
    names = paths.extras.clusters[i, : paths.lengths[i]][leaves]
    np.testing.assert_array_equal(names, tree.extras.clusters[i])


def test_colors_are_counted_and_distances_are_the_shortest():
  colors = data.load("graphs", task="colors", **SMALL)
  counted = colors.train.inputs[..., 0].sum(axis=1)
  np.testing.assert_array_equal(colors.train.targets, counted)
  assert colors.train.inputs.shape[-1] == graphs.COLORS
  assert {6, 12} <= set(colors.train.lengths)
  part = data.load("graphs", task="distance", **SMALL).train
  _, rows = matrices(part, 12)
  for target, marks, adjacency in zip(part.targets, part.inputs[..., -1], rows):
    start, end = np.flatnonzero(marks)
    reached = np.eye(12)
    for _ in range(target):
      reached = reached + reached @ adjacency
    assert not reached[start, end]
    assert (reached + reached @ adjacency)[start, end]
  assert set(part.targets) == {0, 1, 2, 3}


def test_wrong_options_are_named():
  with pytest.raises(ValueError, match="train: got 3, expected an even"):
    graphs.load(train=3)
  with pytest.raises(ValueError, match="order: got 'dfs'"):
    graphs.load(order="dfs")
