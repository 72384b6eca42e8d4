"""Greyscale images in the PNG format, read by pillow."""

import os
import pathlib
import struct
import zlib

import numpy as np

from jaxseq import _validate
from jaxseq.data import packages


def read_png(path: str | os.PathLike) -> np.ndarray:
  """Reads a greyscale image with 8 bits for a pixel, not interlaced.

  Args:
    path: the file.

  Returns:
    (height, width) uint8.

  Raises:
    ValueError: if the file is damaged, no PNG, or of another kind.
    MissingData: if pillow is not installed.
  """
  Image = packages.imported("PIL.Image", "pillow", "images are read by pillow")
  try:
    with Image.open(path, formats=("PNG",)) as image:
      # Checks every checksum; afterwards the file has to be opened again.
      image.verify()
    with Image.open(path, formats=("PNG",)) as image:
      pixels, mode = np.asarray(image), image.mode
      interlaced = bool(image.info.get("interlace"))
  except (OSError, SyntaxError, ValueError) as error:
    raise ValueError(f"{path} is no PNG file, or damaged: {error}.") from error
  if mode != "L" or interlaced:
    found = mode + ", interlaced" * interlaced
    expected = "8 bits of grey, mode 'L', not interlaced"
    raise _validate.error(str(path), found, expected)
  # Rows that are not there would be black: pillow does not miss them.
  size, expected = _decoded_size(path), pixels.size + len(pixels)
  if size != expected:
    says = f"{expected} bytes, a filter and the pixels of each row"
    raise _validate.error(str(path), size, says)
  return pixels


def _decoded_size(path):
  """Number of bytes that the checked chunks of a file decompress to."""
  content = pathlib.Path(path).read_bytes()
  kind, place, compressed = b"", 8, b""
  while kind != b"IEND":
    length, kind = struct.unpack_from(">I4s", content, place)
    if kind == b"IDAT":
      compressed += content[place + 8 : place + 8 + length]
    place += length + 12
  return len(zlib.decompressobj().decompress(compressed))
