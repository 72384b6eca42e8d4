"""Bilinear resizing of bytes, in the fixed-point arithmetic of OpenCV.

The same pixels as those of `cv2.resize` with INTER_LINEAR, which is what SPR's
released code calls, without the package. A pixel lies between two columns and
two rows; weights are multiples of 1/2048.
"""

import functools

import numpy as np

_BITS = 11


def resize(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
  """Resizes a grey image.

  OpenCV takes the means of 2x2 pixels where both sides are halved exactly; this
  function does not.

  Args:
    image: (rows, columns) uint8.
    shape: (rows, columns) of the result.

  Returns:
    uint8 of that shape.

  Raises:
    ValueError: the image is not one of bytes, or a side is not positive.
  """
  if image.ndim != 2 or image.dtype != np.uint8:
    raise ValueError(
      "image must be (rows, columns) of uint8; got "
      f"{image.shape} of {image.dtype}."
    )
  if min(*image.shape, *shape) < 1:
    raise ValueError(
      f"image and shape must have positive sides; got {image.shape}, {shape}."
    )
  left, right, left_weight, right_weight = _columns(image.shape[1], shape[1])
  upper, lower, upper_weight, lower_weight = _rows(image.shape[0], shape[0])
  wide = image.astype(np.int32)
  wide = (
    wide.take(left, axis=1) * left_weight
    + wide.take(right, axis=1) * right_weight
  ) >> 4
  # Each product loses its last bits on its own, before the sum.
  result = (wide[upper] * upper_weight >> 16) + (
    wide[lower] * lower_weight >> 16
  )
  return ((result + 2) >> 2).astype(np.uint8)


@functools.lru_cache
def _columns(size: int, new_size: int) -> tuple[np.ndarray, ...]:
  """Returns left and right neighbours (new_size,) and their weights."""
  first, part = _places(size, new_size)
  # Beyond the outer pixels' centres there is one neighbour, of weight 1.
  outside = (first < 0) | (first >= size - 1)
  part = np.where(outside, np.float32(0), part)
  first = first.clip(0, size - 1)
  return first, (first + 1).clip(0, size - 1), *_weights(part)


@functools.lru_cache
def _rows(size: int, new_size: int) -> tuple[np.ndarray, ...]:
  """Returns upper and lower neighbours and their weights (new_size, 1)."""
  first, part = _places(size, new_size)
  # Outside, the outer row stands for both, and the weights stay.
  first, second = first.clip(0, size - 1), (first + 1).clip(0, size - 1)
  upper_weight, lower_weight = _weights(part)
  return first, second, upper_weight[:, None], lower_weight[:, None]


def _places(size: int, new_size: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns the neighbours before the new pixels, and the way from them."""
  scale = 1.0 / (new_size / size)
  place = ((np.arange(new_size) + 0.5) * scale - 0.5).astype(np.float32)
  first = np.floor(place)
  return first.astype(np.intp), place - first


def _weights(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the weights of both neighbours as integers, halves to even."""
  one = np.float32(1 << _BITS)
  return (
    np.rint((1 - part) * one).astype(np.int32),
    np.rint(part * one).astype(np.int32),
  )
