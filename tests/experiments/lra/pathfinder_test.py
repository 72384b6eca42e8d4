"""Pathfinder: images by the rule, and no shortcut to the class."""

import numpy as np
import pytest

from experiments.lra import pathfinder
from jaxseq import data
from tests.data import hashing

# Fewer and shorter paths are found ten times faster, by the same code.
_EASY = pathfinder.Drawing(dashes=6, distractors=3)


@pytest.fixture(scope="module")
def easy():
  return pathfinder._generate(0, 400, _EASY)


def test_images_have_two_discs_and_all_dashes(easy):
  images, labels, discs = easy
  assert images.dtype == np.uint8
  assert images.shape == (400, 32, 32)
  # Only discs are fully bright.
  for image, places in zip(images[:50], discs[:50]):
    bright = np.argwhere(image > 0.9 * 255)
    distance = np.abs(bright[:, None] + 0.5 - places).max(-1).min(-1)
    assert distance.max() <= _EASY.disc + 1
    for y, x in places.astype(int):
      assert image[y, x] == 255
  # About as much ink in each: the same number of dashes and discs.
  ink = images.mean((1, 2))
  assert ink.std() < 0.1 * ink.mean()


def test_classes_are_even_and_the_discs_do_not_tell(easy):
  images, labels, discs = easy
  # Three standard deviations of a fair coin.
  assert abs(labels.mean() - 0.5) < 3 * 0.5 / np.sqrt(400)
  distance = np.linalg.norm(discs[:, 0] - discs[:, 1], axis=-1)
  best = max(
    np.mean((distance > bound) == labels) for bound in np.unique(distance)
  )
  # Of the discs' distance alone, as it is found best on these images.
  assert max(best, 1 - best) < 0.62
  # The same of all pixels together: least squares on one half.
  pixels = np.concatenate([images.reshape(400, -1) / 255, np.ones((400, 1))], 1)
  weights = np.linalg.solve(
    pixels[:200].T @ pixels[:200] + 10 * np.eye(1025),
    pixels[:200].T @ (labels[:200] - 0.5),
  )
  accuracy = np.mean((pixels[200:] @ weights > 0) == labels[200:])
  assert abs(accuracy - 0.5) < 3 * 0.5 / np.sqrt(200)


def test_paths_and_discs_follow_the_rule(monkeypatch):
  drawn = []
  monkeypatch.setattr(
    pathfinder, "_paint", lambda *arguments: drawn.append(arguments[2:]) or 0
  )
  _, labels, _ = pathfinder._generate(3, 40, _EASY)
  assert 5 < labels.sum() < 35
  shapes = pathfinder._shapes(_EASY)
  for label, (paths, ends) in zip(labels, drawn, strict=True):
    lengths = [len(path.places) for path in paths]
    assert lengths[:2] == [6, 6]
    assert set(lengths[2:]) <= {4}
    for path in paths:
      for (y0, x0, _), (y1, x1, way) in zip(path.places, path.places[1:]):
        assert (y1 - y0, x1 - x0) == shapes.steps[way]
    # One disc at the start of a long path, one at the end of one.
    starts = [path.places[0] for path in paths[:2]]
    own = starts.index(ends[0])
    other = [path.places[-1] for path in paths[:2]].index(ends[1])
    assert (own == other) == label
    covered = [
      shapes.dash_bits[way] << shapes.shift(y, x)
      for path in paths
      for y, x, way in path.places
    ]
    for i, bits in enumerate(covered):
      assert not any(bits & others for others in covered[:i])


@pytest.mark.slow
def test_published_drawings_can_be_drawn():
  for size, drawing in pathfinder.DRAWINGS.items():
    images, _, _ = pathfinder._generate(2, 1, drawing)
    assert images.shape == (1, size, size)
    share = np.mean(images > 0)
    assert 0.02 < share < 0.6


@pytest.fixture
def easy_size(monkeypatch):
  monkeypatch.setitem(pathfinder.DRAWINGS, 32, _EASY)
  monkeypatch.setattr(pathfinder, "_CHUNK", 20)


def test_load(easy_size, tmp_path, monkeypatch):
  monkeypatch.setenv("JAXSEQ_CACHE", str(tmp_path))
  sizes = {"train": 30, "valid": 5, "test": 15}
  splits = data.load("pathfinder", **sizes)
  cached = data.load("pathfinder", **sizes)
  other = data.load("pathfinder", seed=1, cached=False, **sizes)
  assert len(list(tmp_path.iterdir())) == 1
  for name, count in sizes.items():
    part = getattr(splits, name)
    assert part.inputs.shape == (count, 1024, 1)
    assert 0 <= part.inputs.min() < part.inputs.max() == 1
    np.testing.assert_array_equal(part.inputs, getattr(cached, name).inputs)
    assert hashing.shared_rows(part.inputs, getattr(other, name).inputs) == 0
  assert hashing.shared_rows(splits.train.inputs, splits.test.inputs) == 0


def test_dashes_must_not_touch():
  with pytest.raises(
    ValueError, match="thickness: got 1.0, expected .* 2 margin = 0.4"
  ):
    pathfinder.Drawing(margin=0.2, thickness=1.0)
