"""Points with exact answers, to golden ones and to their definitions."""

import itertools

import numpy as np
import pytest

from experiments.pointing import geometry


def test_golden_targets(golden):
  data = golden("pointer/targets")
  sizes = data["hull_size_area"]
  for points, target, (size, area) in zip(
    data["hull_points"], data["hull_target"], sizes
  ):
    corners = geometry.hull(points[: int(size)])
    assert [i + 1 for i in corners] + [0] == target[target >= 0].tolist()
    np.testing.assert_allclose(geometry.area(points[corners]), area)
  for rows, by_index, by_incenter in zip(
    data["delaunay_points"],
    data["delaunay_by_index"],
    data["delaunay_by_incenter"],
  ):
    points = rows[1 : 1 + int(rows[0, 0])]
    for order, want in (("index", by_index), ("incenter", by_incenter)):
      triangles = geometry.delaunay(points, order)
      assert triangles == [tuple(t) for t in want.tolist() if t[0] >= 0]
  for points, tour, length in zip(
    data["tour_points"], data["tour"], data["tour_length"]
  ):
    assert geometry.tour(points) == tour.tolist()
    np.testing.assert_allclose(
      geometry.tour_length(points, tour.tolist()), length
    )


def test_no_tour_is_shorter():
  points = np.random.default_rng(0).random((6, 2))
  shortest = geometry.tour_length(points, geometry.tour(points))
  lengths = [
    geometry.tour_length(points, [0, *rest])
    for rest in itertools.permutations(range(1, 6))
  ]
  np.testing.assert_allclose(shortest, min(lengths))


def test_points_on_a_line_are_no_corners():
  square = np.array([[0, 0], [0.5, 0], [1, 0], [1, 1], [0.3, 0.3], [0, 1]])
  assert geometry.hull(square) == [0, 2, 3, 5]


def test_hulls_of_few_points():
  assert geometry.hull(np.array([[0.5, 0.5]])) == [0]
  assert geometry.hull(np.array([[0.5, 0.5], [0.1, 0.9]])) == [0, 1]
  assert geometry.hull(np.full((3, 2), 0.5)) == [0]
  on_a_line = np.array([[0.4, 0.4], [0.1, 0.1], [0.9, 0.9]])
  assert geometry.hull(on_a_line) == [1, 2]
  for name, target in geometry.TARGETS.items():
    width = 1 if name == "sort" else 2
    for count in (1, 2):
      points = np.linspace(0.2, 0.7, count * width).reshape(count, width)
      triangles = name == "delaunay"
      assert target(points) == ([] if triangles else [*range(count)])
  with pytest.raises(ValueError, match=r"points: .* \(n, 2\) with at lea"):
    geometry.hull(np.zeros((0, 2)))


@pytest.mark.parametrize("name", ["hull", "tour", "delaunay", "sort"])
def test_drawn_sets_have_their_answers(name):
  sets = geometry.draw(name, 20, 4, 6)
  assert set(sets.lengths) == {4, 5, 6}
  for points, chosen, length in zip(*sets):
    target = geometry.TARGETS[name](points[:length])
    want = [i + 1 for i in target]
    assert chosen.tolist() == want + [0] * (len(chosen) - len(want))
    assert not points[length:].any()


def test_wrong_arguments_are_named():
  with pytest.raises(ValueError, match="at most 12"):
    geometry.tour(np.zeros((13, 2)))
  with pytest.raises(ValueError, match="name"):
    geometry.draw("circle", 1, 3, 4)
  with pytest.raises(ValueError, match="low"):
    geometry.draw("hull", 1, 2, 4)
