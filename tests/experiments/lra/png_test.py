"""Grayscale PNG files, written by hand and by another library."""

import struct
import zlib

import numpy as np
from PIL import Image
import pytest

from experiments.lra import data as lra
from tests.data import memory


def chunk(name, content):
  check = zlib.crc32(name + content)
  return (
    struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)
  )


def encode(rows, width, kind=(8, 0, 0, 0, 0), height=None):
  header = struct.pack(">II5B", width, height or len(rows), *kind)
  return (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", header)
    + chunk(b"tEXt", b"Comment\0none")
    + chunk(b"IDAT", zlib.compress(b"".join(rows)))
    + chunk(b"IEND", b"")
  )


def images():
  rng = np.random.default_rng(0)
  smooth = np.add.outer(np.arange(13) ** 2, 3 * np.arange(17)).astype(np.uint8)
  noise = rng.integers(0, 256, (13, 17)).astype(np.uint8)
  return smooth, noise, np.zeros((1, 1), np.uint8), noise[:, :1]


def test_files_of_another_library(tmp_path):
  path = tmp_path / "a.png"
  for image in images():
    Image.fromarray(image).save(path)
    np.testing.assert_array_equal(lra._read_png(path), image)


def filtered(image, kind):
  """Rows of one of the five filters, from the definition."""
  wide = np.zeros((len(image) + 1, image.shape[1] + 1), int)
  wide[1:, 1:] = image
  left, above, corner = wide[1:, :-1], wide[:-1, 1:], wide[:-1, :-1]
  guess = left + above - corner
  near = np.stack([left, above, corner])
  # The first of those that are closest.
  paeth = np.take_along_axis(near, np.abs(near - guess).argmin(0)[None], 0)[0]
  taken = [0 * left, left, above, (left + above) // 2, paeth][kind]
  return [
    bytes([kind]) + row.astype(np.uint8).tobytes() for row in image - taken
  ]


@pytest.mark.parametrize("kind", range(5))
def test_every_filter(tmp_path, kind):
  path = tmp_path / "a.png"
  for image in images():
    path.write_bytes(encode(filtered(image, kind), image.shape[1]))
    np.testing.assert_array_equal(lra._read_png(path), image)


def test_no_more_is_decompressed_than_the_header_says(tmp_path):
  path = tmp_path / "a.png"
  # 200 kB that would be 200 MB.
  path.write_bytes(encode([bytes(200 * 10**6)], 8, height=8))
  with memory.at_most(10):
    with pytest.raises(ValueError, match="a.png: got 73, expected 72 bytes"):
      lra._read_png(path)


def test_wrong_files_are_refused(tmp_path):
  path = tmp_path / "a.png"
  rows = filtered(images()[1], 0)
  good = encode(rows, 17)
  rgb, deep = ([row[:1] + row[1:] * times for row in rows] for times in (3, 2))
  flipped = good[:-30] + bytes([good[-30] ^ 1]) + good[-29:]
  damaged = "a.png is no PNG file, or damaged: "
  for bad, message in (
    (b"", damaged),
    (b"GIF89a", damaged),
    (good[:-7], damaged),
    (good[:-30], damaged),
    (flipped, damaged),
    (good[:8], damaged),
    (encode([bytes([9]) + rows[0][1:]], 17), damaged),
    (encode(rows, 17, height=14), "a.png: got 234, expected 252 bytes"),
    (encode(rows, 17, height=12), "a.png: got 217, expected 216 bytes"),
    (encode(rows, 60_000, height=60_000), "60000 x 60000 pixels, over 16777"),
    (good[:33] + good[8:], damaged + "it has 2 headers"),
    (encode([bytes(2)], 1, (8, 0, 0, 0, 1)), "got 'L, interlaced', expected 8"),
    (encode(rgb, 17, (8, 2, 0, 0, 0)), "a.png: got 'RGB', expected 8 bits"),
    (encode(deep, 17, (16, 0, 0, 0, 0)), "a.png: got 'I;16', expected 8 bits"),
  ):
    path.write_bytes(bad)
    with pytest.raises(ValueError, match=message):
      lra._read_png(path)
