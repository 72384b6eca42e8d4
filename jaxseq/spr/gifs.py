"""Games as moving pictures: GIF files."""

import os
import pathlib

import numpy as np

from jaxseq import validate
from jaxseq.rl.drawings import paint
from jaxseq.training import figures

# Okabe and Ito's colors, told apart with every kind of color vision, and two
# grays: one for each channel.
_COLORS = np.frombuffer(
  bytes.fromhex(
    "e69f00 56b4e9 009e73 f0e442 0072b2 d55500 cc79a7 ffffff 969696 5a5a5a"
  ),
  np.uint8,
).reshape(-1, 3)
# What small images are enlarged to.
_HEIGHT = 168


def images(frames: np.ndarray) -> np.ndarray:
  """Returns frames as color images.

  From (time, height, width, 1) uint8 gray values, or (time, height, width,
  channels) uint8, where each channel gets a color and the last one that is not
  0 is seen, to (time, height', width', 3) uint8, enlarged by a whole factor to
  a height of at most 168.

  Raises:
    ValueError: there are more channels than colors.
  """
  channels = frames.shape[-1]
  if channels > len(_COLORS):
    raise validate.error(
      "frames", f"shape {frames.shape}", f"at most {len(_COLORS)} channels"
    )
  if channels == 1:
    out = np.repeat(frames, 3, axis=-1)
  else:
    out = np.zeros((*frames.shape[:3], 3), np.uint8)
    for channel, color in enumerate(_COLORS[:channels]):
      out[frames[..., channel] > 0] = color
  factor = max(1, _HEIGHT // out.shape[1])
  return out.repeat(factor, axis=1).repeat(factor, axis=2)


def write_gif(
  path: str | os.PathLike, frames: np.ndarray, length: int | None = None
) -> pathlib.Path:
  """Writes frames, as for `images`, as a GIF that repeats: 15 a second.

  Args:
    path: the GIF file to write; it is whole at any time.
    frames: at least one.
    length: steps of the game. If it is longer than the frames, a last picture
      says so, for two seconds.

  Returns:
    The path.

  Raises:
    ModuleNotFoundError: pillow is not installed.
  """
  pictures, seconds = list(images(frames)), [1 / 15] * len(frames)
  if length is not None and length > len(frames):
    height, width = pictures[0].shape[:2]
    canvas = paint.Canvas(width, height)
    lines = ("cut here", f"{len(frames):,} of {length:,} steps")
    for line, text in enumerate(lines):
      place = width / 2, height * (0.4 + 0.2 * line)
      canvas.text(place, text, max(6.0, width / 14))
    pictures.append(canvas.pixels())
    seconds.append(2.0)
  return figures.write_gif(path, pictures, seconds)
