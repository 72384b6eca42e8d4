"""Sets of points with exact answers: hulls, triangulations, tours, orders.

Answers are indices of the points, as `pointer` writes them: 1 for the first
point, and 0 for the end. Points on a line, to 1e-9, are not corners.

Source: Vinyals et al., arXiv 1506.03134; triangles are sorted by the centers
of their inscribed circles.
"""

from collections.abc import Callable
import itertools
from typing import Literal
from typing import NamedTuple

import numpy as np

from jaxseq import validate

_FLAT = 1e-9
# Most cities for which `tour` computes the shortest tour.
LONGEST_TOUR = 12


class Sets(NamedTuple):
  """Sets of points, and their answers.

  Attributes:
    points: (n, most, 2) float32, padded with zeros; (n, most, 1) for numbers to
      sort.
    chosen: (n, time) int32, point indices from 1 on, padded with 0.
    lengths: (n,) int32.
  """

  points: np.ndarray
  chosen: np.ndarray
  lengths: np.ndarray


def hull(points: np.ndarray) -> list[int]:
  """Returns the corners of the convex hull, from 0 on.

  Args:
    points: (n, 2), at least one.

  Returns:
    Counter-clockwise, from the lowest index on; the two ends if all points are
    on a line, and one point if all are equal.

  Raises:
    ValueError: if there is no point, or the shape does not fit.
  """
  validate.shape("points", points, ("n", 2))
  if (np.asarray(points) == points[0]).all():
    return [0]
  order = np.lexsort(np.asarray(points).T[::-1]).tolist()
  corners = []
  for direction in (order, order[::-1]):
    chain: list[int] = []
    for each in direction:
      while len(chain) > 1 and _turn(points, *chain[-2:], each) <= _FLAT:
        chain.pop()
      chain.append(each)
    corners += chain[:-1]
  first = corners.index(min(corners))
  return corners[first:] + corners[:first]


def area(points: np.ndarray) -> float:
  """Returns the area that a polygon (n, 2) encloses, 0 for fewer than three."""
  x, y = np.asarray(points, float).reshape(-1, 2).T
  return float(abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2)


def delaunay(
  points: np.ndarray, order: Literal["index", "incenter"] = "incenter"
) -> list[tuple[int, int, int]]:
  """Returns the triangles whose circumcircles hold no other point, from 0 on.

  Args:
    points: (n, 2), in general position.
    order: sorts the triangles by corners, or by incenters (x, then y).

  Returns:
    Triangles with ascending corners. The cost is the number of triples times
    that of points, so it suits a few dozen points.
  """
  validate.choice("order", order, ("index", "incenter"))
  points = np.asarray(points, float)
  count = len(points)
  triples = np.array(list(itertools.combinations(range(count), 3)), int)
  triples = triples.reshape(-1, 3)
  a, b, c = np.moveaxis(points[triples], 1, 0)
  sign = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
  # The determinant whose sign says whether a point is inside the circumcircle.
  rows = [p[:, None] - points for p in (a, b, c)]
  x, y = ([row[..., k] for row in rows] for k in (0, 1))
  z = [u * u + v * v for u, v in zip(x, y)]
  inside = (
    x[0] * (y[1] * z[2] - y[2] * z[1])
    - y[0] * (x[1] * z[2] - x[2] * z[1])
    + z[0] * (x[1] * y[2] - x[2] * y[1])
  ) * np.sign(sign)[:, None]
  corner = (triples[..., None] == np.arange(count)).any(axis=1)
  empty = (corner | (inside <= 0)).all(axis=1) & (abs(sign) > _FLAT)
  triangles = [tuple(map(int, each)) for each in triples[empty]]
  if order == "index":
    return triangles
  return sorted(triangles, key=lambda each: _incenter(points[list(each)]))


def tour(points: np.ndarray) -> list[int]:
  """Returns the shortest tour through all points, from 0 on (Held and Karp).

  Args:
    points: (n, 2), at most 12.

  Returns:
    From the first point on, in the direction whose second point is lower.

  Raises:
    ValueError: if there are more points.
  """
  points = np.asarray(points, float)
  count = len(points)
  if count > LONGEST_TOUR:
    expected = f"at most {LONGEST_TOUR} points"
    raise validate.error("points", count, expected)
  if count < 4:
    return list(range(count))
  far = np.linalg.norm(points[:, None] - points, axis=-1).tolist()
  # Keys: the cities seen but the first, and the last one; values: length, path.
  best = {(1 << i, i): (far[0][i], (0, i)) for i in range(1, count)}
  for size in range(2, count):
    for seen in itertools.combinations(range(1, count), size):
      mask = sum(1 << i for i in seen)
      for last in seen:
        before = mask & ~(1 << last)
        best[mask, last] = min(
          (length + far[i][last], (*path, last))
          for i in seen
          if i != last
          for length, path in (best[before, i],)
        )
  mask = 2**count - 2
  _, path = min(
    (best[mask, i][0] + far[i][0], best[mask, i][1]) for i in range(1, count)
  )
  back = [path[0], *path[:0:-1]]
  return min(list(path), back, key=lambda each: each[1])


def tour_length(points: np.ndarray, cities: list[int]) -> float:
  """Returns the length of a closed tour through points (n, 2)."""
  path = np.asarray(points, float)[cities]
  return float(np.linalg.norm(path - np.roll(path, -1, axis=0), axis=-1).sum())


TARGETS: dict[str, Callable[[np.ndarray], list[int]]] = {
  "hull": hull,
  "tour": tour,
  "delaunay": lambda points: [i for each in delaunay(points) for i in each],
  "sort": lambda points: np.argsort(points[:, 0], kind="stable").tolist(),
}


def choices(name: str, points: int) -> int:
  """Returns the most choices in an answer for `points` points, with the end."""
  return (3 * max(1, 2 * points - 5) if name == "delaunay" else points) + 1


def draw(
  name: str,
  count: int,
  low: int,
  high: int,
  seed: int = 0,
  answered: bool = True,
) -> Sets:
  """Draws sets of uniform points with their answers.

  Args:
    name: "hull", "tour", "delaunay" or "sort", whose points are numbers to
      sort in ascending order.
    count: number of sets.
    low: fewest points of a set, at least 3.
    high: most points.
    seed: seed of the draw.
    answered: whether answers are computed; if not, `chosen` is zeros.

  Raises:
    ValueError: if the name is unknown, or a number is out of range.
  """
  validate.choice("name", name, TARGETS)
  validate.positive("count", count)
  validate.integer("low", low, 3)
  validate.integer("high", high, low)
  rng = np.random.default_rng(seed)
  time = choices(name, high)
  width = 1 if name == "sort" else 2
  points = np.zeros((count, high, width), np.float32)
  chosen = np.zeros((count, time), np.int32)
  lengths = rng.integers(low, high + 1, count, dtype=np.int32)
  for row, answer, length in zip(points, chosen, lengths):
    row[:length] = rng.random((length, width))
    target = TARGETS[name](row[:length]) if answered else []
    answer[: len(target)] = np.array(target) + 1
  return Sets(points, chosen, lengths)


def _turn(points, a, b, c):
  """Twice the signed area of a triangle; positive for left turns."""
  (ax, ay), (bx, by), (cx, cy) = (map(float, points[i]) for i in (a, b, c))
  return (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)


def _incenter(corners):
  """The center of a triangle's inscribed circle."""
  sides = np.linalg.norm(
    np.roll(corners, -1, axis=0) - np.roll(corners, 1, axis=0), axis=-1
  )
  return tuple(sides @ corners / sides.sum())
