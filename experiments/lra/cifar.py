"""CIFAR-10 in its binary version, as sequences of pixels.

A record is one byte for the class and 3 x 32 x 32 bytes for the colors red,
green and blue, row by row.

Source: Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html. In gray it
is the task Image of the Long Range Arena, in color sequential CIFAR.
"""

import os
import pathlib

import numpy as np

from jaxseq import limits
from jaxseq import validate
from jaxseq.data import datasets

CLASSES = tuple(
  "airplane automobile bird cat deer dog frog horse ship truck".split()
)
_SIZE = 32
_RECORD = 1 + 3 * _SIZE * _SIZE
# Weights of the three colors in the brightness, ITU-R BT.601.
_GRAY = np.array([0.299, 0.587, 0.114], np.float32)


def _read(folder, name, gray):
  advice = "unpack CIFAR-10's binary version there"
  path = datasets.find_file(folder / name, advice)
  limits.check_within(path, folder)
  content = np.frombuffer(limits.read_bytes(path), np.uint8)
  if not len(content) or len(content) % _RECORD:
    raise ValueError(
      f"{path} is damaged: records of {_RECORD} bytes are expected; got "
      f"{len(content)} bytes."
    )
  records = content.reshape(-1, _RECORD)
  if records[:, 0].max() >= len(CLASSES):
    raise validate.error(
      f"{path} is damaged: classes", int(records[:, 0].max()), "0 to 9"
    )
  pixels = records[:, 1:].reshape(-1, 3, _SIZE * _SIZE).swapaxes(1, 2)
  pixels = pixels.astype(np.float32) / 255
  if gray:
    pixels = pixels @ _GRAY[:, None]
  return pixels, records[:, 0].astype(np.int32)


def load(
  path: str | os.PathLike,
  seed: int = 0,
  gray: bool = True,
  valid_fraction: float = 0.1,
) -> datasets.Splits:
  """Loads CIFAR-10.

  Args:
    path: folder with data_batch_1.bin .. data_batch_5.bin and test_batch.bin.
    seed: seed of the choice of validation images.
    gray: whether to convert the colors to gray.
    valid_fraction: share of each class of the training images for
      validation.

  Returns:
    The splits: inputs (n, 1024, 1), or (n, 1024, 3) in color, in 0 .. 1, the
    pixels row by row; targets (n,).

  Raises:
    ValueError: if a file is damaged or an option out of range.
    MissingData: if a file is missing.
  """
  folder = pathlib.Path(path)
  names = [f"data_batch_{number}.bin" for number in range(1, 6)]
  read = [_read(folder, name, gray) for name in names]
  train = datasets.ArrayDataset(*map(np.concatenate, zip(*read)))
  test = datasets.ArrayDataset(*_read(folder, "test_batch.bin", gray))
  info = datasets.Info(
    description="A photograph of 32 x 32 pixels; of what?",
    source=f"CIFAR-10, {folder}",
    license="see source",
    num_classes=10,
    classes=CLASSES,
    image_size=(_SIZE, _SIZE),
  )
  splits = datasets.Splits(train, None, test, info)
  return datasets.carve_valid(splits, valid_fraction, seed)
