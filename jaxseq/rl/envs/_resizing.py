"""Resizing of grayscale uint8 images, with OpenCV's exact pixels.

`bilinear` returns the pixels of `cv2.resize` with INTER_LINEAR, which SPR's
released code calls, in its fixed-point arithmetic; `area` those with
INTER_AREA, which ale-py calls, in float32. OpenCV itself is not needed.
"""

import functools
import math

import numpy as np

from jaxseq import validate

_BITS = 11


def bilinear(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
  """Resizes a grayscale uint8 image by linear interpolation.

  OpenCV averages 2x2 pixels if both sides are halved exactly; this
  function does not.
  """
  _check(image, shape)
  # Beyond the outer pixels' centers there is one column, of weight 1; but the
  # outer row serves as both neighbors, with unchanged weights.
  (left, right), weights = _neighbors(image.shape[1], shape[1], True)
  wide = image.astype(np.int32)
  wide = (
    wide.take(left, axis=1) * weights[0] + wide.take(right, axis=1) * weights[1]
  )
  wide >>= 4
  (upper, lower), weights = _neighbors(image.shape[0], shape[0], False)
  # Each product is truncated separately, before the sum.
  result = wide[upper] * weights[0][:, None] >> 16
  result += wide[lower] * weights[1][:, None] >> 16
  return ((result + 2) >> 2).astype(np.uint8)


def area(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
  """Shrinks a grayscale uint8 image; pixels are means over covered areas.

  OpenCV has special cases for images whose sides shrink by whole factors;
  this function does not.
  """
  _check(image, shape)
  # Columns first, as in OpenCV. Transposed, as NumPy takes whole rows faster.
  wide = _means(image.T.astype(np.float32, order="C"), shape[1])
  result = _means(np.ascontiguousarray(wide.T), shape[0])
  return np.rint(result).astype(np.uint8)


def _means(rows: np.ndarray, new_size: int) -> np.ndarray:
  """Returns (new_size, ...) float32 means of the rows that new ones cover."""
  # The sums are in OpenCV's order, so that rounding is the same.
  total = 0
  for places, weights in _covered(len(rows), new_size):
    total = total + rows.take(places, axis=0) * weights[:, None]
  return total


def _check(image: np.ndarray, shape: tuple[int, int]) -> None:
  """Checks a uint8 image and its new shape."""
  if image.ndim != 2 or image.dtype != np.uint8:
    got = f"dtype {image.dtype} of shape {image.shape}"
    raise validate.error("image", got, "uint8 of shape (rows, columns)")
  if min(*image.shape, *shape) < 1:
    expected = f"positive sides, as those of the image: {image.shape}"
    raise validate.error("shape", shape, expected)


@functools.lru_cache
def _covered(size: int, new_size: int) -> list[tuple[np.ndarray, np.ndarray]]:
  """Returns the i-th covered pixels of new ones, and their float32 weights."""
  scale = size / new_size
  taps = []
  for i in range(new_size):
    start, end = i * scale, (i + 1) * scale
    width = min(scale, size - start)
    last = min(math.floor(end), size - 1)
    first = min(math.ceil(start), last)
    pixels = [(k, 1 / width) for k in range(first, last)]
    if first - start > 1e-3:
      pixels.insert(0, (first - 1, (first - start) / width))
    if end - last > 1e-3:
      pixels.append((last, min(end - last, 1, width) / width))
    taps.append(pixels)
  longest = max(map(len, taps))
  # Padding has weight 0: adding 0 changes nothing.
  padded = [pixels + [(0, 0)] * (longest - len(pixels)) for pixels in taps]
  return [
    (
      np.array([pixels[j][0] for pixels in padded]),
      np.array([pixels[j][1] for pixels in padded], np.float32),
    )
    for j in range(longest)
  ]


@functools.lru_cache
def _neighbors(size: int, new_size: int, one_outside: bool) -> tuple:
  """Returns both neighbors of new pixels, and their weights as integers."""
  scale = 1.0 / (new_size / size)
  place = ((np.arange(new_size) + 0.5) * scale - 0.5).astype(np.float32)
  first = np.floor(place)
  part = place - first
  first = first.astype(np.intp)
  if one_outside:
    part[(first < 0) | (first >= size - 1)] = 0
    first = first.clip(0, size - 1)
  pixels = first.clip(0, size - 1), (first + 1).clip(0, size - 1)
  # Halves are rounded to even.
  one = np.float32(1 << _BITS)
  weights = (np.rint(x * one).astype(np.int32) for x in (1 - part, part))
  return pixels, tuple(weights)
