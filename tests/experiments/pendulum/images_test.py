"""The pendulum against its description, written down once more."""

import math

import numpy as np
from PIL import Image
from PIL import ImageDraw
import pytest

from experiments.pendulum import images as pendulum_images
from jaxseq import data
from tests.data import hashing


def draw(angle):
  """The image of the description, by another library."""
  end = (64 + 55 * math.sin(angle), 64 + 55 * math.cos(angle))
  image = Image.new("F", (128, 128), 0.0)
  ImageDraw.Draw(image).line([(64, 64), end], fill=1.0, width=8)
  small = image.resize((24, 24), resample=Image.Resampling.LANCZOS)
  return (255.0 * np.clip(np.asarray(small), 0, 1)).astype(np.uint8)


def test_images_are_those_of_the_description():
  angles = np.linspace(-math.pi, math.pi, 97).reshape(97, 1)
  images = pendulum_images._render(angles)
  assert images.shape == (97, 1, 24, 24)
  for image, angle in zip(images[:, 0], angles[:, 0]):
    # Sums in another order can fall on the other side of a whole number.
    np.testing.assert_allclose(image.astype(int), draw(angle), atol=1)
  # It hangs down at 0, and is seen to point right a quarter turn later.
  hanging, right = pendulum_images._render(np.array([0, math.pi / 2]))
  assert hanging[20, 12] > 200
  assert right[12, 20] > 200
  assert hanging[3, 12] == right[12, 3] == 0


def test_angles_follow_the_equation_of_motion():
  angles, velocities = pendulum_images._simulate(np.random.RandomState(0), 3, 6)
  rng = np.random.RandomState(0)
  starts = rng.uniform(0, 2 * math.pi, 3)
  pushes = [rng.normal(0, 0.1, 3) for _ in range(5)]
  for row in range(3):
    angle, velocity = starts[row], 0.0
    for frame in range(6):
      # From the upright to the hanging position. The same sums, in float64.
      assert angles[row, frame] == pytest.approx(angle - math.pi, abs=1e-12)
      assert velocities[row, frame] == pytest.approx(velocity, abs=1e-12)
      if frame == 5:
        break
      for _ in range(100):
        velocity += 1e-4 * (29.43 * math.sin(angle) - 0.1 * velocity)
        angle += 1e-4 * velocity
      velocity += pushes[frame][row]
      angle %= 2 * math.pi


def test_noise_comes_and_goes():
  factors = pendulum_images._noise_factors(np.random.RandomState(0), 300, 60)
  assert np.all(factors[:, :5] == 1)
  assert factors.min() == 0
  assert factors.max() == 1
  # A walk of steps up to 0.2, stretched by at most 1 / (0.75 - 0.25).
  assert np.abs(np.diff(factors[:, 5:], axis=1)).max() <= 0.4 + 1e-12
  assert 0.3 < factors[:, 5:].mean() < 0.7


@pytest.fixture(scope="module")
def small():
  return data.load("pendulum", train=12, valid=4, test=5, cached=False)


def test_shapes_gaps_and_ranges(small):
  for part, count in ((small.train, 12), (small.valid, 4), (small.test, 5)):
    assert part.inputs.shape == (count, 50, 576)
    assert part.inputs.dtype == part.targets.dtype == np.float32
    assert part.inputs.min() >= 0
    assert part.inputs.max() <= 1
    # Float32 sine and cosine.
    np.testing.assert_allclose((part.targets**2).sum(-1), 1, rtol=1e-6)
    gaps = part.extras.gaps
    assert np.all(gaps[:, 0] == 1)
    assert gaps.min() == 1
    assert np.all(gaps[:, 1:].sum(1) <= 99)


def test_the_draws_come_in_the_published_order(small):
  # Training and test sequences from one stream, whichever frames are kept.
  rng = np.random.RandomState(42)
  for part, count, offset in ((small.train, 12, 12), (small.test, 5, 0)):
    angles, _ = pendulum_images._simulate(rng, count, 100)
    rng.normal(size=(count, 100, 2))
    factors = pendulum_images._noise_factors(rng, count, 100)
    for row in range(count):
      noise = rng.uniform(0, 255, (100, 24, 24))
      seed = np.random.default_rng(offset + row)
      kept = np.sort(seed.choice(100, 50, replace=False))
      np.testing.assert_array_equal(part.extras.gaps[row, 1:], np.diff(kept))
      np.testing.assert_allclose(
        part.targets[row, :, 0], np.sin(angles[row, kept]), atol=1e-6
      )
      # Where only noise is left, pixels are its whole part.
      lost = factors[row, kept] == 0
      np.testing.assert_allclose(
        part.inputs[row, lost].reshape(-1, 24, 24) * 255,
        np.floor(noise[kept[lost]]),
        atol=1e-4,
      )


def test_clean_frames_show_the_targets(small):
  # Frame 0 .. 4 are free of noise; the first of a sequence is often one.
  shown = np.concatenate([small.train.inputs, small.test.inputs])[:, 0]
  targets = np.concatenate([small.train.targets, small.test.targets])[:, 0]
  chosen = np.concatenate(
    [
      pendulum_images._choose_frames(12, 12, 100, 50),
      pendulum_images._choose_frames(0, 5, 100, 50),
    ]
  )[:, 0]
  clean = chosen < 5
  assert clean.sum() > 10
  angles = np.arctan2(*targets[clean].T)
  images = pendulum_images._render(angles).reshape(-1, 576)
  # The angle that is drawn is 1e-5 off, which can move the end by a pixel.
  equal = np.all(np.rint(shown[clean] * 255) == images, axis=1)
  assert equal.mean() > 0.9


def test_seeds_and_parts_differ(small):
  same = data.load("pendulum", train=12, valid=4, test=5, cached=False)
  np.testing.assert_array_equal(same.test.inputs, small.test.inputs)
  other = data.load("pendulum", 1, train=12, valid=4, test=5, cached=False)
  rows = [
    digest
    for splits in (small, other)
    for part in splits[:3]
    for digest in hashing.row_hashes(part.targets)
  ]
  assert len(set(rows)) == len(rows) == 42


def test_cached_sets_are_the_same(tmp_path, monkeypatch):
  monkeypatch.setenv("JAXSEQ_CACHE", str(tmp_path))
  options = {"train": 2, "valid": 1, "test": 1, "frames": 8, "kept": 3}
  first, second = (data.load("pendulum", **options) for _ in range(2))
  assert len(list(tmp_path.iterdir())) == 1
  assert first.train.inputs.shape == (2, 3, 576)
  for name in ("train", "valid", "test"):
    one, two = getattr(first, name), getattr(second, name)
    np.testing.assert_array_equal(one.inputs, two.inputs)
    np.testing.assert_array_equal(one.extras.gaps, two.extras.gaps)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"valid": 0}, "valid: got 0, expected an integer of at least"),
    ({"frames": 10, "kept": 11}, "kept: got 11, expected an integer from 1 to"),
  ],
)
def test_wrong_options_are_named(options, message):
  with pytest.raises(ValueError, match=message):
    data.load("pendulum", **options)
