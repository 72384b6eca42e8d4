"""Games as moving pictures: GIF files."""

import os
import pathlib

import numpy as np

from jaxseq import _validate
from jaxseq.training import figures

# Okabe and Ito's colours, told apart with every kind of colour vision, and two
# greys: one for each channel.
_COLORS = (
  (230, 159, 0),
  (86, 180, 233),
  (0, 158, 115),
  (240, 228, 66),
  (0, 114, 178),
  (213, 85, 0),
  (204, 121, 167),
  (255, 255, 255),
  (150, 150, 150),
  (90, 90, 90),
)
# What small images are enlarged to.
_HEIGHT = 168


def images(frames: np.ndarray) -> np.ndarray:
  """Returns frames as colour images.

  Args:
    frames: (time, height, width, 1) uint8 grey values, or (time, height, width,
      channels) uint8, where each channel gets a colour and the last one that
      is not 0 is seen.

  Returns:
    (time, height', width', 3) uint8, enlarged by a whole factor to a height of
    at most 168.

  Raises:
    ValueError: there are more channels than colours.
  """
  if frames.shape[-1] == 1:
    out = np.repeat(frames, 3, axis=-1)
  else:
    if frames.shape[-1] > len(_COLORS):
      raise _validate.error(
        "frames", f"shape {frames.shape}", f"at most {len(_COLORS)} channels"
      )
    out = np.zeros((*frames.shape[:3], 3), np.uint8)
    for channel in range(frames.shape[-1]):
      out[frames[..., channel] > 0] = _COLORS[channel]
  factor = max(1, _HEIGHT // out.shape[1])
  return out.repeat(factor, axis=1).repeat(factor, axis=2)


def write_gif(path: str | os.PathLike, frames: np.ndarray) -> pathlib.Path:
  """Writes frames, as for `images`, as a GIF that repeats: 15 a second.

  Raises:
    ModuleNotFoundError: pillow is not installed.
  """
  pictures = images(frames)
  return figures.write_gif(path, pictures, [1 / 15] * len(pictures))
