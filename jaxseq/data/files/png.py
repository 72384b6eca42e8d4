"""Greyscale images in the PNG format, read by pillow."""

import io
import os
import pathlib
import struct
import zlib

import numpy as np

from jaxseq import _validate
from jaxseq.data import packages

# Of an image: 4096 x 4096, far more than any set of sequences has.
_PIXELS = 2**24
# What pillow raises of files that are damaged or none.
_DAMAGE = (OSError, SyntaxError, ValueError, OverflowError, struct.error)


def read_png(path: str | os.PathLike) -> np.ndarray:
  """Reads a greyscale image with 8 bits for a pixel, not interlaced.

  The header says how large it is, of at most 2^24 pixels, and no more than that
  is decompressed.

  Args:
    path: the file.

  Returns:
    (height, width) uint8.

  Raises:
    ValueError: if the file is damaged, no PNG, or of another kind.
    MissingData: if pillow is not installed.
  """
  Image = packages.imported(
    "PIL.Image", "jaxseq[data]", "images are read by pillow"
  )
  content = pathlib.Path(path).read_bytes()
  try:
    (width, height), compressed = _parts(content)
    if width * height > _PIXELS:
      raise ValueError(f"it has {width} x {height} pixels, over {_PIXELS}")
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
      # Checks every checksum; afterwards the file has to be opened again.
      image.verify()
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
      pixels, mode = np.asarray(image), image.mode
      interlaced = bool(image.info.get("interlace"))
  except _DAMAGE as error:
    raise ValueError(f"{path} is no PNG file, or damaged: {error}.") from error
  if mode != "L" or interlaced:
    form = mode + ", interlaced" * interlaced
    expected = "8 bits of grey, mode 'L', not interlaced"
    raise _validate.error(str(path), form, expected)
  # Rows that are not there would be black: pillow does not miss them. One byte
  # more tells that there are too many.
  expected = pixels.size + len(pixels)
  decoder = zlib.decompressobj()
  size = len(decoder.decompress(compressed, expected + 1))
  if size != expected:
    says = f"{expected} bytes, a filter and the pixels of each row"
    raise _validate.error(str(path), size, says)
  return pixels


def _parts(content):
  """The size that the only header tells, and the compressed pixels."""
  kind, place, sizes, compressed = b"", 8, [], []
  while kind != b"IEND":
    length, kind = struct.unpack_from(">I4s", content, place)
    if kind == b"IHDR":
      sizes.append(struct.unpack_from(">II", content, place + 8))
    elif kind == b"IDAT":
      compressed.append(content[place + 8 : place + 8 + length])
    place += length + 12
  if len(sizes) != 1:
    raise ValueError(f"it has {len(sizes)} headers")
  return sizes[0], b"".join(compressed)
