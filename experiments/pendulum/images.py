"""Pendulum: the angle of a pendulum from noisy images at irregular times.

A pendulum swings from a random angle with friction and random pushes. It is
observed at half of the times only, in images of 24 x 24 pixels with varying
noise. The targets are sine and cosine of its angle at each of these times.

Sources: arXiv 2111.11344 (CRU) and arXiv 2208.04933 (S5), section 6.3. The
The random draws are in the order of their code, so that seed 42 gives the same
angles, times and image noise as there; the images are drawn by other code.
"""

import functools

import numpy as np

from jaxseq import validate
from jaxseq.data import cache
from jaxseq.data import datasets

# Part of the cache key: raise it when the set changes.
_VERSION = 1

SIZE = 24

_GRAVITY = 9.81
# Moment of inertia of a rod of mass 1 and length 1 that is held at its end.
_INERTIA = 1 / 3
_FRICTION = 0.1
_STEP = 1e-4
_STEPS_PER_FRAME = 100
_PUSH = 0.1
_ANGLE_NOISE = 1e-5

_CANVAS = 128
_CENTER = 64
_ROD = 55
_WIDTH = 8
_LANCZOS = 3

_CLEAN_FRAMES = 5
_FACTOR_STEP = 0.2
_FACTOR_LOW = (0.0, 0.25)
_FACTOR_HIGH = (0.75, 1.0)


def _simulate(
  rng: np.random.RandomState, count: int, frames: int
) -> tuple[np.ndarray, np.ndarray]:
  """Angles in -pi .. pi and velocities, (count, frames) each; hanging is 0."""
  angle = rng.uniform(0, 2 * np.pi, count)
  velocity = np.zeros(count)
  angles, velocities = [angle], [velocity]
  pull = _GRAVITY / _INERTIA
  for _ in range(frames - 1):
    for _ in range(_STEPS_PER_FRAME):
      force = pull * np.sin(angle) - _FRICTION * velocity
      velocity = velocity + _STEP * force
      angle = angle + _STEP * velocity
    velocity = velocity + rng.normal(0, _PUSH, count)
    angle = angle % (2 * np.pi)
    angles.append(angle)
    velocities.append(velocity)
  return np.stack(angles, axis=1) - np.pi, np.stack(velocities, axis=1)


def _half_up(x):
  """Rounds to the nearest integer, halves away from 0."""
  return int(np.copysign(np.floor(abs(x) + 0.5), x))


def _half_down(x):
  """Rounds to the nearest integer, halves towards 0."""
  return int(np.copysign(np.ceil(abs(x) - 0.5), x))


def _draw_rod(end_x, end_y):
  """Draws a thick line from the center to a pixel, in 0 and 1."""
  across = np.array([end_x - _CENTER, end_y - _CENTER])
  scale = 1 / np.hypot(*across)
  # The width is even, so one side is a pixel farther from the center line.
  near, far = (_WIDTH - 2) // 2 * scale, _WIDTH // 2 * scale
  left = (-_half_down(near * across[1]), _half_up(far * across[0]))
  right = (_half_down(far * across[1]), -_half_up(near * across[0]))
  corners = [
    (_CENTER + left[0], _CENTER + left[1]),
    (end_x + left[0], end_y + left[1]),
    (end_x + right[0], end_y + right[1]),
    (_CENTER + right[0], _CENTER + right[1]),
  ]
  canvas = np.zeros((_CANVAS, _CANVAS), np.float32)
  rows = [y for _, y in corners]
  for y in range(min(rows), max(rows) + 1):
    crossings = []
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1]):
      if min(y0, y1) <= y <= max(y0, y1):
        if y0 == y1:
          crossings += [x0, x1]
        else:
          crossings.append(x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    first, last = _half_up(min(crossings)), _half_down(max(crossings))
    canvas[y, first : last + 1] = 1
  return canvas


@functools.cache
def _shrinking():
  """Lanczos weights from the canvas to the image, (24, 128)."""
  scale = _CANVAS / SIZE
  middle = (np.arange(SIZE) + 0.5) * scale
  x = (np.arange(_CANVAS) + 0.5 - middle[:, None]) / scale
  weights = np.sinc(x) * np.sinc(x / _LANCZOS) * (np.abs(x) < _LANCZOS)
  return weights / weights.sum(axis=1, keepdims=True)


def _rendered(end_x, end_y):
  weights = _shrinking()
  image = weights @ (_draw_rod(end_x, end_y) @ weights.T)
  return (255 * np.clip(image, 0, 1)).astype(np.uint8)


def _render(angles: np.ndarray) -> np.ndarray:
  """Renders images (..., 24, 24) uint8 of angles (...), without noise."""
  ends = _CENTER + _ROD * np.stack([np.sin(angles), np.cos(angles)], -1)
  # The line ends at a whole pixel, so that there are few different images.
  pixels = ends.astype(int).reshape(-1, 2)
  pixels, places = np.unique(pixels, axis=0, return_inverse=True)
  images = np.stack([_rendered(int(x), int(y)) for x, y in pixels])
  return images[places.reshape(angles.shape)]


def _noise_factors(
  rng: np.random.RandomState, count: int, frames: int
) -> np.ndarray:
  """Weights (count, frames) of images over noise; 1 in the first 5 frames."""
  factors = [rng.uniform(0, 1, count)]
  for _ in range(frames - 1):
    step = rng.uniform(-_FACTOR_STEP, _FACTOR_STEP, count)
    factors.append(np.clip(factors[-1] + step, 0, 1))
  low = rng.uniform(*_FACTOR_LOW, (count, 1))
  high = rng.uniform(*_FACTOR_HIGH, (count, 1))
  result = np.clip((np.stack(factors, axis=1) - low) / (high - low), 0, 1)
  result[:, :_CLEAN_FRAMES] = 1
  return result


def _choose_frames(
  offset: int, count: int, frames: int, kept: int
) -> np.ndarray:
  """Draws the observed frames (count, kept), row i with seed offset + i."""
  chosen = [
    np.random.default_rng(offset + i).choice(frames, kept, replace=False)
    for i in range(count)
  ]
  return np.sort(np.array(chosen, np.int32), axis=1)


def _generate(
  rng: np.random.RandomState, offset: int, count: int, frames: int, kept: int
) -> dict[str, np.ndarray]:
  """Images uint8, targets (count, kept, 2), and the observed frames."""
  angles, _ = _simulate(rng, count, frames)
  # The published generator also adds noise to velocities, but never uses them.
  shown = angles + rng.normal(0, _ANGLE_NOISE, (count, frames, 2))[..., 0]
  factors = _noise_factors(rng, count, frames)
  chosen = _choose_frames(offset, count, frames, kept)
  images = _render(np.take_along_axis(shown, chosen, axis=1))
  for row in range(count):
    noise = rng.uniform(0, 255, (frames, SIZE, SIZE))[chosen[row]]
    factor = factors[row, chosen[row], None, None]
    images[row] = factor * images[row] + (1 - factor) * noise
  angles = np.take_along_axis(angles, chosen, axis=1)
  targets = np.stack([np.sin(angles), np.cos(angles)], -1).astype(np.float32)
  return {"images": images, "targets": targets, "frames": chosen}


def load(
  seed: int = 42,
  train: int = 2000,
  valid: int = 1000,
  test: int = 1000,
  frames: int = 100,
  kept: int = 50,
  cached: bool = True,
) -> datasets.Splits:
  """Generates the pendulum set.

  Args:
    seed: seed of the training and test sequences; the validation sequences use
      seed + 1. 42 gives the published set.
    train: number of training sequences.
    valid: number of validation sequences.
    test: number of test sequences.
    frames: number of frames of a sequence, 0.01 apart in time.
    kept: number of observed frames.
    cached: whether to store the generated set on disk, in
      $JAXSEQ_CACHE or ~/.cache/jaxseq.

  Returns:
    The splits: inputs (n, kept, 576) in 0 .. 1, the pixels row by row; targets
    (n, kept, 2) float32, sine and cosine of the angle, without noise.
    extras.gaps, (n, kept) float32, is the number of frames since the one
    observed before; 1 for the first.

  Raises:
    ValueError: if a number is out of range.
  """
  counts = {"train": train, "valid": valid, "test": test}
  validate.all_positive(**counts)
  validate.integer("kept", kept, 1, frames)

  def make():
    rng = np.random.RandomState(seed)
    other = np.random.RandomState(seed + 1)
    by_part = {
      "train": _generate(rng, train, train, frames, kept),
      "test": _generate(rng, 0, test, frames, kept),
      "valid": _generate(other, valid, valid, frames, kept),
    }
    return {
      f"{part}_{key}": array
      for part, arrays in by_part.items()
      for key, array in arrays.items()
    }

  options = {"version": _VERSION, "seed": seed, "counts": counts}
  options["frames"] = [frames, kept]
  generated = cache.arrays("pendulum", options, make, enabled=cached)
  parts = []
  for part, count in counts.items():
    chosen = generated[f"{part}_frames"]
    gaps = np.diff(chosen, axis=1, prepend=chosen[:, :1] - 1)
    pixels = generated[f"{part}_images"].reshape(count, kept, SIZE * SIZE)
    inputs, targets = (
      pixels.astype(np.float32) / 255,
      generated[f"{part}_targets"],
    )
    extras = datasets.Extras(gaps=gaps.astype(np.float32))
    parts.append(datasets.ArrayDataset(inputs, targets, None, extras))
  info = datasets.Info(
    description="Noisy images of a pendulum; sine and cosine of its angle?",
    source="generated as in arXiv 2111.11344",
    license="none needed",
    image_size=(SIZE, SIZE),
  )
  return datasets.Splits(*parts, info)
