"""Pathfinder: are the two discs on the same dashed path?

Two paths start close to each other and grow dash by dash in turn, each dash in
about the direction of the one before, without touching other dashes; shorter
distractor paths are added. One disc lies at the start of one path, the other at
the end of the same path (class 1) or of the other one (class 0).

Sources: arXiv 1806.11558 and the settings of arXiv 2011.04006 (Long Range
Arena). This is another program with the same rules and proportions: its images
are similar, not equal.
"""

import dataclasses
import functools
import math
import random

import numpy as np

from jaxseq import validate
from jaxseq.data import cache
from jaxseq.data import datasets

# Part of the cache key: raise it when the images change.
_VERSION = 1

# Lattice points per pixel, along each axis.
_FINE = 4
_DIRECTIONS = 48
# Draws of a direction before a path is given up.
_TRIES = 12
# Paths started before an image is given up.
_PATHS = 60
# Images drawn from one random stream.
_CHUNK = 100


@dataclasses.dataclass(frozen=True)
class Drawing:
  """Parameters of a drawing; lengths in pixels.

  Attributes:
    size: height and width.
    dash: length of a dash.
    thickness: thickness of a dash.
    margin: free space around a dash; dashes of a path are dash + 2 margin
      apart.
    disc: radius of a disc.
    dashes: number of dashes of the two long paths.
    start_distance: distance between their starts.
    continuity: straightness of paths.
    distractors: number of distractor paths.
    distractor_dashes: number of dashes of a distractor path.
    contrast: brightness of dashes; discs have 1.
  """

  size: int = 32
  dash: float = 2.0
  thickness: float = 0.5
  margin: float = 1.0
  disc: float = 1.5
  dashes: int = 14
  start_distance: float = 7.0
  continuity: float = 1.0
  distractors: int = 5
  distractor_dashes: int = 4
  contrast: float = 0.75

  def __post_init__(self):
    # Dashes of a path must not touch, or no path can be drawn.
    gap = 2 * self.margin
    if not 0 < self.thickness < gap:
      expected = f"above 0 and less than the gap of dashes, 2 margin = {gap}"
      raise validate.error("thickness", self.thickness, expected)


# Of the larger drawings. Positional: size, dash, thickness, margin, disc.
_LARGE = {"continuity": 1.8, "contrast": 0.8}
DRAWINGS = {
  32: Drawing(),
  64: Drawing(64, 4.0, 1.0, disc=2.5, start_distance=12.0, **_LARGE),
  128: Drawing(128, 8.0, 2.0, 2.0, 5.0, start_distance=24.0, **_LARGE),
}


def _disc_points(radius):
  """Lattice points within a radius of the origin, (n, 2) as (y, x)."""
  reach = math.ceil(radius * _FINE)
  grid = np.arange(-reach, reach + 1)
  y, x = np.meshgrid(grid, grid, indexing="ij")
  inside = y**2 + x**2 <= (radius * _FINE) ** 2
  return np.stack([y[inside], x[inside]], axis=-1)


def _stroke_points(start, end, radius):
  """Lattice points within a radius of a segment between lattice points."""
  steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
  along = np.linspace(0, 1, 2 * steps + 1)[:, None]
  line = np.rint(np.array(start) + along * (np.array(end) - start))
  points = line[:, None] + _disc_points(radius)
  return np.unique(points.reshape(-1, 2).astype(int), axis=0)


class _Shapes:
  """The shapes of a drawing, as lattice points and as sets of bits.

  A set of lattice points is one integer with a bit for each point of the image
  and of a frame around it, so that two sets overlap if their "and" is not 0.
  """

  def __init__(self, drawing: Drawing):
    half = drawing.dash / 2
    stride = drawing.dash + 2 * drawing.margin
    thin = drawing.thickness / 2
    self.size = drawing.size * _FINE
    self.reach = math.ceil((stride + drawing.margin + thin + 1) * _FINE)
    self.width = self.size + 2 * self.reach
    # Minimum distance to the border, so that a disc fits.
    self.border = math.ceil((drawing.disc + 0.5) * _FINE)
    self.steps, self.dashes = [], []
    self.dash_bits, self.kept_bits, self.link_bits = [], [], []
    for number in range(_DIRECTIONS):
      angle = 2 * math.pi * number / _DIRECTIONS
      unit = np.array([math.sin(angle), math.cos(angle)])
      step = np.rint(unit * stride * _FINE).astype(int)
      end = np.rint(unit * half * _FINE).astype(int)
      self.steps.append((int(step[0]), int(step[1])))
      self.dashes.append(_stroke_points(-end, end, thin))
      self.dash_bits.append(self._bits(self.dashes[-1]))
      # Blocked for other paths: the dash with its margin, and the gap to the
      # dash before, which no other path may cross.
      self.kept_bits.append(
        self._bits(_stroke_points(-end, end, thin + drawing.margin))
      )
      self.link_bits.append(self._bits(_stroke_points(-step, 0 * step, thin)))
    turns = np.arange(_DIRECTIONS) * 2 * math.pi / _DIRECTIONS
    sharpness = 4 * drawing.continuity
    weights = np.exp(sharpness * (np.cos(turns) - 1)) * (np.cos(turns) > 0)
    self.turns = np.cumsum(weights).tolist()
    self.disc = _disc_points(drawing.disc)

  def _bits(self, points):
    bits = 0
    for y, x in points + self.reach:
      bits |= 1 << int(y * self.width + x)
    return bits

  def shift(self, y, x):
    """Number of bits that moves a shape to a place of the image."""
    return y * self.width + x

  def inside(self, y, x):
    """True if a dash may be centered there."""
    low, high = self.border, self.size - self.border
    return low <= y < high and low <= x < high


@functools.lru_cache(maxsize=4)
def _shapes(drawing):
  return _Shapes(drawing)


class _Path:
  """A growing path: its dashes as (y, x, direction)."""

  def __init__(self, shapes, y, x, direction):
    self.shapes = shapes
    self.places = [(y, x, direction)]
    # Points that the last dash blocks for other paths. One dash later they
    # block the path itself, too, which starts from there.
    self.last = shapes.kept_bits[direction] << shapes.shift(y, x)

  def grow(self, draw, choose, kept, other):
    """Adds a dash; returns the bits that stay blocked, or None."""
    shapes = self.shapes
    y, x, direction = self.places[-1]
    for _ in range(_TRIES):
      (turn,) = choose(range(_DIRECTIONS), cum_weights=shapes.turns)
      way = (direction + turn) % _DIRECTIONS
      step = shapes.steps[way]
      place = (y + step[0], x + step[1])
      if not shapes.inside(*place):
        continue
      shift = shapes.shift(*place)
      drawn = (shapes.dash_bits[way] | shapes.link_bits[way]) << shift
      if drawn & (kept | other) or self.last & shapes.dash_bits[way] << shift:
        continue
      kept |= self.last
      self.last = (shapes.kept_bits[way] | shapes.link_bits[way]) << shift
      self.places.append((*place, way))
      return kept
    return None


def _start(shapes, draw, y, x, occupied):
  """Starts a path in a random direction if its dash touches nothing."""
  if not shapes.inside(y, x):
    return None
  direction = int(draw() * _DIRECTIONS)
  if shapes.dash_bits[direction] << shapes.shift(y, x) & occupied:
    return None
  return _Path(shapes, y, x, direction)


def _long_paths(drawing, shapes, rng):
  """Draws the two long paths, or returns None."""
  draw = rng.random
  y, x = int(draw() * shapes.size), int(draw() * shapes.size)
  angle = 2 * math.pi * draw()
  distance = drawing.start_distance * _FINE
  first = _start(shapes, draw, y, x, 0)
  if first is None:
    return None
  second = _start(
    shapes,
    draw,
    y + round(distance * math.sin(angle)),
    x + round(distance * math.cos(angle)),
    first.last,
  )
  if second is None:
    return None
  occupied = 0
  for _ in range(drawing.dashes - 1):
    for path, other in ((first, second), (second, first)):
      occupied = path.grow(draw, rng.choices, occupied, other.last)
      if occupied is None:
        return None
  return first, second, occupied | first.last | second.last


def _distractor(drawing, shapes, rng, occupied):
  """Draws one short path, or returns None."""
  draw = rng.random
  y, x = int(draw() * shapes.size), int(draw() * shapes.size)
  path = _start(shapes, draw, y, x, occupied)
  if path is None:
    return None
  for _ in range(drawing.distractor_dashes - 1):
    occupied = path.grow(draw, rng.choices, occupied, 0)
    if occupied is None:
      return None
  return path, occupied | path.last


def _layout(drawing, shapes, rng):
  """Draws paths until an image is complete, the two long ones first."""
  while True:
    layout = _long_paths(drawing, shapes, rng)
    if layout is None:
      continue
    first, second, occupied = layout
    paths = [first, second]
    for _ in range(_PATHS):
      if len(paths) < 2 + drawing.distractors:
        added = _distractor(drawing, shapes, rng, occupied)
        if added is not None:
          path, occupied = added
          paths.append(path)
    if len(paths) == 2 + drawing.distractors:
      return paths


def _paint(drawing, shapes, paths, discs):
  """Renders an image; a pixel is the share of its covered lattice points."""
  bright = np.zeros((shapes.width, shapes.width), np.float32)
  for path in paths:
    for y, x, direction in path.places:
      points = shapes.dashes[direction] + (y + shapes.reach, x + shapes.reach)
      bright[points[:, 0], points[:, 1]] = drawing.contrast
  for y, x, _ in discs:
    points = shapes.disc + (y + shapes.reach, x + shapes.reach)
    bright[points[:, 0], points[:, 1]] = 1
  image = bright[shapes.reach : -shapes.reach, shapes.reach : -shapes.reach]
  fine = image.reshape(drawing.size, _FINE, drawing.size, _FINE)
  return np.rint(255 * fine.mean(axis=(1, 3))).astype(np.uint8)


def _generate(
  seed: int, count: int, drawing: Drawing = DRAWINGS[32]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Draws images, classes (1: one path), and disc centers (count, 2, 2)."""
  rng = random.Random(seed)
  shapes = _shapes(drawing)
  images = np.zeros((count, drawing.size, drawing.size), np.uint8)
  labels = np.zeros(count, np.int32)
  discs = np.zeros((count, 2, 2), np.float32)
  for row in range(count):
    paths = _layout(drawing, shapes, rng)
    same = int(rng.random() * 2)
    label = int(rng.random() * 2)
    other = label if same else 1 - label
    ends = (paths[label].places[0], paths[other].places[-1])
    images[row] = _paint(drawing, shapes, paths, ends)
    labels[row] = same
    discs[row] = [(y / _FINE, x / _FINE) for y, x, _ in ends]
  return images, labels, discs


def _draw(seed, count, drawing):
  """Draws in chunks, each from its own random stream."""
  chunks = []
  for number, start in enumerate(range(0, count, _CHUNK)):
    words = np.random.SeedSequence([seed, number]).generate_state(2, np.uint64)
    size = min(_CHUNK, count - start)
    chunks.append(_generate(int(words[0]), size, drawing)[:2])
  images, labels = (np.concatenate(arrays) for arrays in zip(*chunks))
  return {"images": images, "labels": labels}


def load(
  seed: int = 0,
  size: int = 32,
  train: int = 4000,
  valid: int = 500,
  test: int = 500,
  cached: bool = True,
) -> datasets.Splits:
  """Generates Pathfinder.

  An image of size 32 takes about 0.04 s of one core; the 160000, 20000 and
  20000 images of the published set take hours.

  Args:
    seed: seed.
    size: height and width: 32, 64 or 128 (Path-X).
    train: number of training images.
    valid: number of validation images.
    test: number of test images.
    cached: whether to store the generated set on disk, in
      $JAXSEQ_CACHE or ~/.cache/jaxseq.

  Returns:
    The splits: inputs (n, size^2, 1) in 0 .. 1, the pixels row by row; targets
    (n,), 1 if both discs are on one path.

  Raises:
    ValueError: if an option is out of range.
  """
  validate.choice("size", size, DRAWINGS)
  validate.all_positive(train=train, valid=valid, test=test)
  counts = (train, valid, test)
  options = {
    "version": _VERSION,
    "seed": seed,
    "size": size,
    "count": sum(counts),
  }
  arrays = cache.arrays(
    "pathfinder",
    options,
    lambda: _draw(seed, sum(counts), DRAWINGS[size]),
    enabled=cached,
  )
  pixels = arrays["images"].reshape(sum(counts), size * size, 1)
  inputs = pixels.astype(np.float32) / 255
  whole = datasets.ArrayDataset(inputs, arrays["labels"])
  parts = datasets.consecutive(whole, counts)
  info = datasets.Info(
    description="Dashed paths and two discs; are they on the same path?",
    source=f"drawn by the rules of arXiv 2011.04006, size {size}",
    license="none needed",
    num_classes=2,
    image_size=(size, size),
  )
  return datasets.Splits(*parts, info)
