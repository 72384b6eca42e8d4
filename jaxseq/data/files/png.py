"""Greyscale images in the PNG format.

Format: https://www.w3.org/TR/png-3. Only what stored image sequences use: 8
bits of grey for a pixel, rows from top to bottom.
"""

import os
import pathlib
import struct
import zlib

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def _chunks(content, path):
  """Yields the name and the data of each chunk."""
  place = len(_SIGNATURE)
  while place < len(content):
    if place + 12 > len(content):
      raise ValueError(f"{path} is damaged: it ends within a chunk.")
    (size,) = struct.unpack_from(">I", content, place)
    name = content[place + 4 : place + 8]
    data = content[place + 8 : place + 8 + size]
    check = content[place + 8 + size : place + 12 + size]
    if check != struct.pack(">I", zlib.crc32(name + data)):
      raise ValueError(f"{path} is damaged: a checksum differs.")
    yield name, data
    place += 12 + size


def _paeth(left, above, corner):
  """Whichever neighbour is closest to left + above - corner."""
  to_left = abs(above - corner)
  to_above = abs(left - corner)
  to_corner = abs(left + above - 2 * corner)
  if to_left <= to_above and to_left <= to_corner:
    return left
  return above if to_above <= to_corner else corner


def _unfilter(kind, row, above):
  """Undoes what a row was subtracted by: one of five filters."""
  if kind == 0:
    return row
  if kind == 1:
    return np.cumsum(row, dtype=np.uint8)
  if kind == 2:
    return row + above
  result = bytearray(len(row))
  left = corner = 0
  for i, (value, up) in enumerate(zip(row.tolist(), above.tolist())):
    guess = (left + up) // 2 if kind == 3 else _paeth(left, up, corner)
    left = result[i] = (value + guess) % 256
    corner = up
  return np.frombuffer(result, np.uint8)


def read_png(path: str | os.PathLike) -> np.ndarray:
  """Reads a greyscale image.

  Args:
    path: the file.

  Returns:
    (height, width) uint8.

  Raises:
    ValueError: if the file is damaged, no PNG, or of another kind.
  """
  path = pathlib.Path(path)
  content = path.read_bytes()
  if not content.startswith(_SIGNATURE):
    raise ValueError(f"{path} is not in the PNG format.")
  chunks = list(_chunks(content, path))
  if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
    raise ValueError(f"{path} is damaged: it has no header.")
  width, height, depth, kind, *_, interlaced = struct.unpack(
    ">IIBBBBB", chunks[0][1]
  )
  if (depth, kind, interlaced) != (8, 0, 0):
    raise ValueError(
      f"{path}: got colour type {kind}, {depth} bits, interlacing "
      f"{interlaced}, expected greyscale with 8 bits for a pixel, not "
      "interlaced."
    )
  try:
    rows = zlib.decompress(b"".join(d for name, d in chunks if name == b"IDAT"))
  except zlib.error as error:
    raise ValueError(f"{path} is damaged: {error}.") from error
  if len(rows) != height * (width + 1):
    raise ValueError(
      f"{path} is damaged: {height * (width + 1)} bytes are expected and "
      f"{len(rows)} there."
    )
  filtered = np.frombuffer(rows, np.uint8).reshape(height, width + 1)
  image = np.zeros((height, width), np.uint8)
  above = np.zeros(width, np.uint8)
  for y, (kind, row) in enumerate(zip(filtered[:, 0], filtered[:, 1:])):
    if kind > 4:
      raise ValueError(f"{path} is damaged: row {y} has filter {kind}.")
    above = image[y] = _unfilter(kind, row, above)
  return image
