"""Pictures of trees: every constituent is above its words."""

import numpy as np
import pytest

from experiments.masked_language import tree_figures

pyplot = pytest.importorskip("matplotlib.figure")


def bars(axes):
  """The horizontal lines, as (left, right, height, dashed)."""
  lines = [(*line.get_data(), line.get_linestyle()) for line in axes.lines]
  return [(*x, y[0], s == "--") for x, y, s in lines if y[0] == y[1]]


def test_a_tree_stands_above_its_words():
  axes = pyplot.Figure().add_subplot()
  # ((ab)c)d, and (ab)(cd): the words c and d are no part of the first.
  tree_figures.draw(axes, "abcd", [1, 3, 1, 0], other=[1, 2, 3, 0])
  assert bars(axes) == [
    (0, 1, 1, False),
    (2, 3, 1, True),
    (0.5, 2.5, 2, False),
  ]
  assert [x.get_text() for x in axes.get_xticklabels()] == list("abcd")
  # Words that nothing divides have one node.
  flat = pyplot.Figure().add_subplot()
  tree_figures.draw(flat, "abc", [1, 1, 0, 0])
  assert bars(flat) == [(0, 2, 1, False)]


def test_both_trees_side_by_side(tmp_path):
  path = tmp_path / "trees.png"
  true = np.array([[1, 2, 0, 0], [1, 2, 3, 0]])
  sentences = ["abc", "abcd"]
  assert tree_figures.write(path, sentences, true, -true) == path
  assert path.read_bytes().startswith(b"\x89PNG")
