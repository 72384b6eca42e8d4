"""Synthetic activities of different subjects: a set for domain adaptation.

An activity is a base frequency with three harmonics in three channels, like the
acceleration of a phone. Each subject has its own tempo, gain, sensor
orientation (a rotation) and noise level. These are fixed; the phases, the
amplitude and the noise are drawn per window.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxseq import validate
from jaxseq.data import datasets
from jaxseq.data import domains

# Base frequency of each class in Hz.
FREQUENCIES = (1.0, 1.4, 1.8, 2.2, 2.6, 3.0)
RATE = 50.0

_CHANNELS = 3
_HARMONICS = 3
_GRAVITY = np.array([0.0, 0.0, 1.0])
_CLASS_SEED, _SUBJECT_SEED = 100, 1000
_TEMPO = (0.9, 1.12)
_GAIN = (0.7, 1.4)
_ANGLE = (0.0, np.radians(60.0))
_NOISE = (0.05, 0.2)
_JITTER = (0.9, 1.1)


class Subject(NamedTuple):
  """The traits of a subject.

  Attributes:
    tempo: factor of the frequencies.
    gain: factor of the amplitudes.
    rotation: (3, 3) rotation of the sensor.
    noise: standard deviation of the sensor's noise.
  """

  tempo: float
  gain: float
  rotation: np.ndarray
  noise: float


def _rotation(axis: np.ndarray, angle: float) -> np.ndarray:
  """Returns the rotation (3, 3) about an axis, by Rodrigues' formula."""
  x, y, z = axis
  cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
  return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _subject(number: int) -> Subject:
  """Returns a subject by its number from 0, the same in every set."""
  rng = np.random.RandomState(_SUBJECT_SEED + number)
  tempo = rng.uniform(*_TEMPO)
  gain = rng.uniform(*_GAIN)
  axis = rng.normal(size=3)
  angle = rng.uniform(*_ANGLE)
  noise = rng.uniform(*_NOISE)
  axis = axis / np.linalg.norm(axis)
  return Subject(tempo, gain, _rotation(axis, angle), noise)


def _harmonics(label: int) -> np.ndarray:
  """Returns the amplitudes of a class, (channels, harmonics)."""
  rng = np.random.RandomState(_CLASS_SEED + label)
  amplitudes = rng.uniform(0.2, 1.0, (_CHANNELS, _HARMONICS))
  return amplitudes / np.arange(1, _HARMONICS + 1)


def _activity_series(
  labels: np.ndarray,
  who: Subject,
  phases: np.ndarray,
  jitter: np.ndarray | float = 1.0,
  length: int = 128,
) -> np.ndarray:
  """Computes windows (n, length, 3) of a subject, without noise."""
  # rotation (gravity + gain jitter sum_h H[:, h] sin(2 pi h f tempo t +
  # phase_h)), with f and H of the class.
  labels = np.asarray(labels)
  time = np.arange(length) / RATE
  base = np.array(FREQUENCIES)[labels] * who.tempo
  order = np.arange(1, _HARMONICS + 1)
  turns = base[:, None, None] * order * time[:, None]
  waves = np.sin(2 * np.pi * turns + phases[:, None])
  amplitudes = np.stack([_harmonics(c) for c in range(len(FREQUENCIES))])
  motion = np.einsum("nth,nch->ntc", waves, amplitudes[labels])
  scale = who.gain * np.broadcast_to(jitter, labels.shape)[:, None, None]
  return (_GRAVITY + scale * motion) @ who.rotation.T


def _sample(
  rng: np.random.Generator, number: int, count: int, length: int = 128
) -> datasets.ArrayDataset:
  """Draws windows (count, length, 3) of one subject, with their classes."""
  who = _subject(number)
  labels = rng.integers(0, len(FREQUENCIES), count, dtype=np.int32)
  phases = rng.uniform(0, 2 * np.pi, (count, _HARMONICS))
  jitter = rng.uniform(*_JITTER, count)
  series = _activity_series(labels, who, phases, jitter, length)
  series = series + who.noise * rng.standard_normal(series.shape)
  extras = datasets.Extras(subject=np.full(count, number, np.int32))
  return datasets.ArrayDataset(series.astype(np.float32), labels, None, extras)


def load(
  seed: int = 0,
  source: int | Sequence[int] = 0,
  target: int | Sequence[int] = 1,
  train: int = 400,
  valid: int = 100,
  test: int = 400,
  length: int = 128,
  scaling: domains.Scaling = "source",
  unlabeled: bool = True,
) -> datasets.Splits:
  """Generates a set of activities with a shift between subjects.

  Args:
    seed: seed of the windows; subjects and classes are always the same.
    source: number, or numbers, of the subjects with labels, from 0.
    target: number, or numbers, of the subjects without labels.
    train: number of training windows of each subject.
    valid: number of validation windows of each source subject.
    test: number of test windows of each target subject.
    length: elements of a window in time, 50 per second.
    scaling: see `domains.make_splits`.
    unlabeled: see `domains.adapt`.

  Returns:
    The splits, see `domains.adapt`; no window is in two parts. Inputs (n,
    length, 3); targets (n,), 6 classes. extras: domain and subject.

  Raises:
    ValueError: if an option is out of range.
  """
  validate.all_positive(train=train, valid=valid, test=test, length=length)
  sources, targets = domains.numbers(source), domains.numbers(target)
  subjects = sources + targets
  if not sources or not targets or len(set(subjects)) < len(subjects):
    raise ValueError(
      f"source and target: got {source} and {target}, expected at least one "
      "subject each, and none twice."
    )
  validate.integer("source and target", min(subjects), 0)

  def draw(part, count, numbers):
    drawn = []
    for number in numbers:
      rng = np.random.default_rng([seed, part, number])
      windows = _sample(rng, number, count, length)
      domain = np.full(count, subjects.index(number), np.int32)
      extras = windows.extras._replace(domain=domain)
      drawn.append(windows._replace(extras=extras))
    return domains.joined(drawn)

  parts = (
    draw(0, train, sources),
    draw(1, valid, sources),
    draw(0, train, targets),
    draw(2, test, targets),
  )
  info = datasets.Info(
    description="Synthetic motion of a subject; which of 6 activities?",
    source="sums of sines with a subject's tempo, gain and rotation",
    license="none needed",
    num_classes=len(FREQUENCIES),
    domains=datasets.Domains("subject", subjects, len(sources), scaling),
  )
  return domains.make_splits(*parts, info, scaling=scaling, unlabeled=unlabeled)
