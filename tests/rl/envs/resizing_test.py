"""Resizing of bytes, against pixels worked out by hand."""

import numpy as np
import pytest

from jaxseq.rl.envs import _resizing


@pytest.mark.parametrize(
  ("image", "shape", "expected"),
  [
    # The size stays.
    ([[3, 250], [7, 0]], (2, 2), [[3, 250], [7, 0]]),
    # Centres of new pixels are at -1/4, 1/4, 3/4 and 5/4 of the old ones.
    ([[0, 100]], (1, 4), [[0, 25, 75, 100]]),
    ([[0], [100]], (4, 1), [[0], [25], [75], [100]]),
    # Both at once: 3/4 * 3/4 of 160 is 90.
    ([[160, 0], [0, 0]], (4, 4), np.outer([4, 3, 1, 0], [4, 3, 1, 0]) * 10),
    # 3 pixels become 2: centers are at 1/4 and 7/4.
    ([[0, 100, 200]], (1, 2), [[25, 175]]),
    # Between one and two rows, and four columns of which two are left out.
    ([[0, 50, 150, 255]] * 3, (1, 1), [[100]]),
    # Weights of 7/8, 5/8, 3/8 and 1/8; 90 * 7/8 + 33 * 1/8 is 82.875.
    ([[90, 33]], (1, 8), [[90, 90, 83, 69, 54, 40, 33, 33]]),
    # Between columns halves go up: 1.5, 2.5, 3.5, 4.5. Between rows products
    # are cut to quarters before the sum: 3.5 + 2.5 quarters become 3 + 2.
    ([[1, 5]], (1, 8), [[1, 1, 2, 3, 4, 5, 5, 5]]),
    ([[1], [5]], (8, 1), [[1], [1], [1], [2], [3], [4], [5], [5]]),
  ],
)
def test_pixels_lie_between_their_neighbors(image, shape, expected):
  image = np.array(image, np.uint8)
  resized = _resizing.bilinear(image, shape)
  assert resized.dtype == np.uint8
  np.testing.assert_array_equal(resized, expected)


def test_an_even_screen_stays_even():
  for gray in range(256):
    screen = np.full((210, 160), gray, np.uint8)
    assert (_resizing.bilinear(screen, (84, 84)) == gray).all()


@pytest.mark.parametrize(
  ("image", "shape", "message"),
  [
    (np.zeros((2, 2)), (1, 1), r"got dtype float64 of shape \(2, 2\)"),
    (
      np.zeros((2, 2, 3), np.uint8),
      (1, 1),
      r"got dtype uint8 of shape \(2, 2, 3\)",
    ),
    (
      np.zeros((2, 2), np.uint8),
      (1, 0),
      r"got \(1, 0\), expected positive sides",
    ),
  ],
)
def test_other_images_are_refused(image, shape, message):
  with pytest.raises(ValueError, match=message):
    _resizing.bilinear(image, shape)
