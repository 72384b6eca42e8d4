"""Pictures that move: GIF files."""

from collections.abc import Sequence
import os
import pathlib

import numpy as np


def write_gif(
  path: str | os.PathLike,
  pictures: Sequence[np.ndarray],
  seconds: Sequence[float],
  *,
  colors: int = 256,
) -> pathlib.Path:
  """Writes pictures as an animation that is repeated for ever.

  Args:
    path: the GIF file to write; it is whole at any time.
    pictures: (height, width, 3) uint8, at least one.
    seconds: how long each picture is shown.
    colors: of a picture, at most; few of them keep files small.

  Returns:
    The path.

  Raises:
    ValueError: there is no picture.
    ModuleNotFoundError: pillow is not installed.
  """
  if not len(pictures):
    raise ValueError("pictures: got none, expected at least one.")
  # Not needed by a program that draws nothing.
  from PIL import Image

  path = pathlib.Path(path)
  first, *others = (
    Image.fromarray(picture).quantize(
      colors, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
    )
    for picture in pictures
  )
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f".{path.name}.tmp")
  first.save(
    temporary,
    format="GIF",
    save_all=True,
    append_images=others,
    duration=[round(1000 * time) for time in seconds],
    loop=0,
  )
  os.replace(temporary, path)
  return path
