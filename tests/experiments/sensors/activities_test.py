"""Synthetic activities against their description, written down once more."""

import math

import numpy as np
import pytest

from experiments.sensors import activities
from jaxseq import data
from jaxseq.data import domains
from tests.data import hashing

_SMALL = {"train": 60, "valid": 20, "test": 30}


def test_subjects_are_drawn_in_the_order_described():
  rng = np.random.RandomState(1003)
  tempo = 0.9 + (1.12 - 0.9) * rng.random_sample()
  gain = 0.7 + 0.7 * rng.random_sample()
  axis = rng.standard_normal(3)
  angle = math.radians(60) * rng.random_sample()
  noise = 0.05 + 0.15 * rng.random_sample()
  who = activities._subject(3)
  # Float64 rounding.
  assert who.tempo == pytest.approx(tempo, abs=1e-12)
  assert who.gain == pytest.approx(gain, abs=1e-12)
  assert who.noise == pytest.approx(noise, abs=1e-12)
  rotation, axis = who.rotation, axis / np.linalg.norm(axis)
  np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
  np.testing.assert_allclose(rotation @ axis, axis, atol=1e-12)
  assert np.trace(rotation) == pytest.approx(1 + 2 * math.cos(angle))
  # Counterclockwise, seen from the tip of the axis.
  across = np.cross(axis, [1.0, 0, 0])
  turned = np.cross(across, rotation @ across) @ axis
  assert turned == pytest.approx(math.sin(angle) * (across @ across))


def test_series_of_the_description():
  who = activities._subject(0)
  phases = np.array([[0.3, 1.2, 5.0], [2.0, 0.1, 4.4]])
  series = activities._activity_series(
    np.array([4, 1]), who, phases, np.array([0.95, 1.05]), 7
  )
  for row, (label, base, jitter) in enumerate([(4, 2.6, 0.95), (1, 1.4, 1.05)]):
    matrix = np.random.RandomState(100 + label).uniform(0.2, 1, (3, 3))
    for t in range(7):
      motion = np.array([0.0, 0.0, 1.0])
      for h in (1, 2, 3):
        angle = 2 * math.pi * h * base * who.tempo * t / 50
        wave = math.sin(angle + phases[row, h - 1])
        motion += who.gain * jitter * matrix[:, h - 1] / h * wave
      # Float64 rounding.
      np.testing.assert_allclose(
        series[row, t], who.rotation @ motion, atol=1e-12
      )


def test_noise_and_classes():
  windows = activities._sample(np.random.default_rng(0), 2, 3000, 16)
  # Each class is drawn 500 times; five standard deviations are 102.
  assert abs(np.bincount(windows.targets, minlength=6) - 500).max() < 102
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 6, 3000, dtype=np.int32)
  phases, jitter = (
    rng.uniform(0, 2 * np.pi, (3000, 3)),
    rng.uniform(0.9, 1.1, 3000),
  )
  who = activities._subject(2)
  clean = activities._activity_series(labels, who, phases, jitter, 16)
  # One standard error of the deviation of 144000 numbers is 0.2 %.
  assert (windows.inputs - clean).std() == pytest.approx(who.noise, rel=0.01)


def test_loading():
  splits = data.load("activities", source=(0, 4), target=1, **_SMALL)
  assert [len(part.inputs) for part in splits[:3]] == [180, 40, 30]
  target = domains.unlabeled(splits.train)
  assert set(target.extras.subject) == {1}
  assert set(splits.valid.extras.subject) == {0, 4}
  assert set(splits.test.extras.domain) == {2}
  assert splits.info.domains.names == (0, 4, 1)
  rows = [h for part in splits[:3] for h in hashing.row_hashes(part.inputs)]
  assert len(set(rows)) == 250
  again = data.load("activities", source=(0, 4), target=1, **_SMALL)
  np.testing.assert_array_equal(again.test.inputs, splits.test.inputs)
  other = data.load("activities", seed=1, source=(0, 4), target=1, **_SMALL)
  assert not hashing.shared_rows(splits.test.inputs, other.test.inputs)
