"""MNIST-1D: ten hand-drawn signals, distorted; 40 points, 10 classes.

Source: arXiv 2011.14439 and its code (package mnist1d, Apache-2.0), whose
templates and order of random draws are kept, so that seed 42 gives the same
numbers as the package.
"""

import functools

import numpy as np

from jaxseq.data import datasets

_TEMPLATES = (
  (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
  (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
  (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
  (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
  (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
  (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
  (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
  (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
  (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
  (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)
_PADDING = (36, 60)
_POINTS = 72
_LENGTH = 40
_SHIFTS = 48
_SCALE = 0.4
_SHEAR = 0.75
_RAMP = np.linspace(-0.5, 0.5, _POINTS)
_SMOOTH_NOISE = 0.25
_NOISE = 0.02
# Gaussian of standard deviation 2, cut at four standard deviations.
_RADIUS = 8


def _templates():
  x = np.array(_TEMPLATES)
  x -= x.mean(axis=1, keepdims=True)
  x /= x.std(axis=1, keepdims=True)
  return (x - x[:, :1]) / 6


@functools.cache
def _places(length, points):
  """The points left of the new ones, the step widths there, and offsets."""
  old = np.linspace(0, 1, length)
  new = np.linspace(0, 1, points)
  left = np.clip(np.searchsorted(old, new) - 1, 0, length - 2)
  return left, old[left + 1] - old[left], new - old[left]


def _stretch(x, points):
  """Interpolates a signal linearly to another number of points."""
  # The package's interpolation uses slopes; np.interp can differ from it in the
  # last bit, and a zero that is not exact would not receive noise.
  left, step, inside = _places(len(x), points)
  return (x[left + 1] - x[left]) / step * inside + x[left]


@functools.cache
def _weights():
  """The filter's weights."""
  weights = np.exp(-(np.arange(-_RADIUS, _RADIUS + 1) ** 2) / 8)
  return weights / weights.sum()


def _smooth(x):
  """Applies a Gaussian filter; the signal is mirrored at its ends."""
  padded = np.concatenate([x[:_RADIUS][::-1], x, x[-_RADIUS:][::-1]])
  return np.convolve(padded, _weights(), mode="valid")


def _distort(template, rng):
  low, high = _PADDING
  zeros = low + int(rng.rand() * (high - low + 1))
  x = _stretch(np.concatenate([template + 1e-8, np.zeros(zeros)]), _POINTS)
  x *= 1 + _SCALE * (rng.rand() - 0.5)
  x = np.roll(x, rng.choice(_SHIFTS))
  noise = _smooth(_SMOOTH_NOISE * rng.randn(_POINTS))
  x = np.where(x != 0, x, noise)
  x += _NOISE * rng.randn(_POINTS)
  shear = _SHEAR * (rng.rand() - 0.5)
  return _stretch(x - shear * _RAMP, _LENGTH)


def load(
  seed: int = 42,
  train: int = 4000,
  test: int = 1000,
  shuffle_time: bool = False,
) -> datasets.Splits:
  """Generates MNIST-1D.

  Args:
    seed: seed; 42 gives the published set.
    train: number of training examples.
    test: number of test examples; together a multiple of 10.
    shuffle_time: whether to apply one fixed permutation of the 40 points.

  Returns:
    The splits: inputs (n, 40, 1), targets (n,); no validation set.

  Raises:
    ValueError: if a number of examples is out of range.
  """
  if train < 1 or test < 1 or (train + test) % 10:
    raise ValueError(
      f"train and test: got {train} and {test}, expected positive with a sum "
      "that is a multiple of 10."
    )
  rng = np.random.RandomState(seed)
  each = (train + test) // 10
  labels = np.repeat(np.arange(10, dtype=np.int32), each)
  templates = _templates()
  x = np.stack([_distort(templates[label], rng) for label in labels])
  order = rng.permutation(len(x))
  x, labels = x[order], labels[order]
  if shuffle_time:
    x = x[:, rng.permutation(_LENGTH)]
  x = ((x - x.mean()) / x.std()).astype(np.float32)[..., None]
  whole = datasets.ArrayDataset(x, labels)
  learn, report = datasets.consecutive(whole, (train, test))
  info = datasets.Info(
    description="A distorted signal of 40 points; which of 10 templates?",
    source="generated as in arXiv 2011.14439",
    license="Apache-2.0 (templates)",
    num_classes=10,
  )
  return datasets.Splits(learn, None, report, info)
