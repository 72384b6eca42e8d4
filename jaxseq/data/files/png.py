"""Greyscale images in the PNG format, read by pillow."""

import os

import numpy as np

from jaxseq import _validate
from jaxseq.data import datasets


def read_png(path: str | os.PathLike) -> np.ndarray:
  """Reads a greyscale image with 8 bits for a pixel.

  Args:
    path: the file.

  Returns:
    (height, width) uint8.

  Raises:
    ValueError: if the file is damaged, no PNG, or of another kind.
    MissingData: if pillow is not installed.
  """
  try:
    from PIL import Image
  except ImportError as error:
    raise datasets.MissingData(
      "images are read by pillow: pip install 'pillow'."
    ) from error
  try:
    with Image.open(path, formats=("PNG",)) as image:
      # Checks every checksum; afterwards the file has to be opened again.
      image.verify()
    with Image.open(path, formats=("PNG",)) as image:
      pixels, mode = np.asarray(image), image.mode
  except (OSError, SyntaxError, ValueError) as error:
    raise ValueError(f"{path} is no PNG file, or damaged: {error}.") from error
  if mode != "L":
    raise _validate.error(f"{path}", mode, "8 bits of grey, mode 'L'")
  return pixels
