"""Images: a folder of image files for each class.

    leaves/oak/1.png, leaves/oak/2.jpg, leaves/elm/a.png, ...

    splits = data.load("image_folders", path="leaves", height=32, width=32)

Folders "train" and "test", and optionally "valid", may hold the class folders.
Photographs are rotated by their EXIF orientation, and transparent pixels become
white.
"""

import contextlib
import dataclasses
import os
import pathlib
import struct
from typing import Any
from typing import ClassVar
from typing import Literal
from typing import NamedTuple
import warnings

from absl import logging
import numpy as np

from jaxseq import limits
from jaxseq import validate
from jaxseq.data import _part_splits
from jaxseq.data import _raw_arrays
from jaxseq.data import _series_targets
from jaxseq.data import datasets
from jaxseq.data import packages
from jaxseq.data import scale
from jaxseq.data.sources import base

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")
# Errors of pillow for files that are damaged or not images.
_DAMAGE = (
  *(OSError, SyntaxError, ValueError, OverflowError, struct.error),
  *(EOFError, IndexError, KeyError, TypeError, MemoryError, Warning),
)
_PARTS = ("train", "valid", "test")
# The EXIF tag of the orientation, and the transposition that undoes each.
_ORIENTATION = 0x0112
_UPRIGHT = {
  2: "FLIP_LEFT_RIGHT",
  3: "ROTATE_180",
  4: "FLIP_TOP_BOTTOM",
  5: "TRANSPOSE",
  6: "ROTATE_270",
  7: "TRANSVERSE",
  8: "ROTATE_90",
}


@dataclasses.dataclass(frozen=True)
class ImageSource(base.Source):
  """Images, whose rows or pixels are the elements in time.

  `prepare` takes (n, height, width) or (n, height, width, colors), numbers from
  0 to 255 as uint8, or others unchanged.

  Attributes:
    classes: names of the classes.
    mean: subtracted mean of each element's values, or None.
    deviation: deviation that then divides; above 0.
    image_size: height and width.
    color: whether to keep red, green and blue of files.
    order: elements in time: a "row" of pixels, or a "pixel".
  """

  kind: ClassVar[str] = "images"
  forms: ClassVar[tuple[str, ...]] = ("image_folders",)

  _: dataclasses.KW_ONLY
  classes: tuple[str, ...] | None = None
  mean: tuple[float, ...] | None = None
  deviation: tuple[float, ...] | None = None
  image_size: tuple[int, int] | None = None
  color: bool = False
  order: Literal["row", "pixel"] = "row"

  def __post_init__(self):
    super().__post_init__()
    scale.check("deviation", self.mean, self.deviation)
    if self.image_size is not None:
      _check_size(self.image_size, "image_size")

  def _prepare(self, values, lengths, times, targets):
    del lengths, times
    size = self.image_size
    try:
      array = np.asarray(values)
    except ValueError as error:
      expected = "pictures of one size, as in training"
      raise validate.error("images", "several shapes", expected) from error
    if array.ndim == 3:
      array = array[..., None]
    expected = ("n", *size, "colors") if size else ("n", "h", "w", "colors")
    validate.shape("images", array, expected)
    if array.dtype == np.uint8:
      array = array.astype(np.float32) / 255
    count, height, _, colors = array.shape
    inputs = scale.apply(
      array.reshape(count, height, -1), self.mean, self.deviation
    )
    if self.order == "pixel":
      inputs = inputs.reshape(count, -1, colors)
    classes = _raw_arrays.class_targets(targets, self.classes, count)
    return datasets.ArrayDataset(inputs, classes)

  def _read(self, path: Any) -> base.Examples:
    pictures = _find(path)
    pixels = _read(pictures.files, self.color, self.image_size or (None, None))
    labels, files = pictures.labels, pictures.files
    known = _series_targets.none(len(labels))
    if any(labels):
      known = _series_targets.of_known_classes(
        labels, lambda row: str(files[row]), self.classes or (), "class"
      )
    labeled = known.kind != "none"
    dataset = self.prepare(pixels, targets=known.values if labeled else None)
    return base.Examples(pictures.names, dataset, labeled)


class Pictures(NamedTuple):
  """Image files and their classes, sorted by name.

  Attributes:
    names: names of the files, from the folder on.
    files: paths of the files.
    labels: names of the classes; empty for files without a class folder.
  """

  names: tuple[str, ...]
  files: tuple[pathlib.Path, ...]
  labels: tuple[str, ...]


def _find(path: str | os.PathLike) -> Pictures:
  """Finds the images of a folder, or a single image."""
  root = pathlib.Path(path)
  if root.is_file():
    return Pictures((root.name,), (root,), ("",))
  files = [
    file
    for file in sorted((*root.glob("*"), *root.glob("*/*")))
    if file.suffix.lower() in SUFFIXES and file.is_file()
  ]
  if not files:
    raise datasets.MissingData(
      f"{path} holds no pictures: give a folder with one folder for each "
      f"class, and in them files that end in {', '.join(SUFFIXES)}, as path."
    )
  for file in files:
    limits.check_within(file, root)
  names = [file.relative_to(root) for file in files]
  labels = ["" if len(n.parts) == 1 else n.parts[0] for n in names]
  return Pictures(
    tuple(name.as_posix() for name in names), tuple(files), tuple(labels)
  )


def _read(
  files: tuple[pathlib.Path, ...],
  color: bool,
  size: tuple[int | None, int | None] = (None, None),
) -> np.ndarray:
  """Reads images of one size."""
  Image = packages.imported("PIL.Image", "pillow", "images are read by pillow")
  damage = (*_DAMAGE, Image.DecompressionBombError)
  _check_size(size)
  pictures, held, clear = [], 0, []
  for file in files:
    try:
      with warnings.catch_warnings():
        warnings.simplefilter("error")
        limits.check_regular(file)
        with Image.open(file, formats=_FORMATS) as image:
          if image.width * image.height > limits.PIXELS:
            size = f"{image.width} x {image.height} pixels"
            raise ValueError(f"it has {size}, over {limits.PIXELS}")
          shown = _upright(_of_bytes(image, Image), image, Image)
          if shown.has_transparency_data:
            shown, is_clear = _on_white(shown, Image)
            clear += [file] * is_clear
          scaled = shown.convert("RGB" if color else "L")
          wanted = (size[0] or scaled.height, size[1] or scaled.width)
          if wanted != (scaled.height, scaled.width):
            scaled = scaled.resize(wanted[::-1], Image.Resampling.BILINEAR)
          pictures.append(np.asarray(scaled))
    except damage as error:
      said = str(error).rstrip(".")
      raise ValueError(f"{file} is no picture, or damaged: {said}.") from error
    held += file.stat().st_size
    taken = pictures[-1].nbytes * len(pictures)
    limits.check_growth(f"{files[0]} and others", taken, held)
    if pictures[-1].shape != pictures[0].shape:
      pixels, first = (
        " x ".join(map(str, p.shape[:2])) for p in (pictures[-1], pictures[0])
      )
      raise ValueError(
        f"{file}: got {pixels} pixels, expected {first} as in {files[0]}, or "
        "the options height and width, to which all are scaled."
      )
  if clear:
    logging.warning(
      "%s: the picture is transparent in part (%d of %d are): transparent"
      " pixels are read as white.",
      *(clear[0], len(clear), len(files)),
    )
  return np.stack(pictures)


def _upright(shown, image, Image):
  """Rotates an image by its EXIF orientation, if that can be read."""
  orientation = None
  with warnings.catch_warnings(), contextlib.suppress(*_DAMAGE):
    warnings.simplefilter("ignore")
    orientation = image.getexif().get(_ORIENTATION)
  method = _UPRIGHT.get(orientation)
  return shown if method is None else shown.transpose(Image.Transpose[method])


def _on_white(image, Image):
  """Puts an image on white; also returns whether any white shows."""
  colored = image.convert("RGBA")
  white = Image.new("RGBA", colored.size, "white")
  least, _ = colored.getchannel("A").getextrema()
  return Image.alpha_composite(white, colored), least < 255


def _of_bytes(image, Image):
  """Converts an image to bytes: pillow would clip all above 255."""
  if image.mode.startswith("I;16"):
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
  if image.mode in ("I", "F"):
    raise ValueError(f"its pixels have a range that is unknown, {image.mode}")
  return image


def _check_size(size, whole="height and width"):
  """Rejects heights and widths of no pixels, or of too many."""
  for name, one in zip(("height", "width"), size):
    if one is not None:
      validate.integer(name, one, 1, limits.PIXELS)
  if (size[0] or 1) * (size[1] or 1) > limits.PIXELS:
    expected = f"at most {limits.PIXELS} pixels"
    raise validate.error(whole, size, expected)


def load(
  path: str | os.PathLike,
  *,
  height: int | None = None,
  width: int | None = None,
  color: bool = False,
  order: Literal["row", "pixel"] = "row",
  valid_fraction: float = 0.1,
  test_fraction: float = 0.2,
  seed: int = 0,
) -> datasets.Splits:
  """Loads images, whose classes are their folders.

  Args:
    path: folder with a folder for each class; or with "train", "test" and
      optionally "valid", which hold such folders.
    height: height to scale images to; unscaled if None.
    width: width to scale images to; unscaled if None.
    color: whether to keep red, green and blue.
    order: elements in time: a "row" of pixels, or a "pixel".
    valid_fraction: share of each class for validation, if there is no folder
      of that name.
    test_fraction: share of each class for testing, if there is no folder.
    seed: seed of the random split by share.

  Returns:
    The splits: inputs (n, height, width or 3 width), or (n, height width, 1 or
    3), in 0 .. 1; targets (n,) the classes in the order of their names.

  Raises:
    ValueError: naming the invalid file, or the wrong option.
    MissingData: if there is no such folder, or pillow is not installed.
  """
  validate.choice("order", order, ("row", "pixel"))
  root = pathlib.Path(path)
  divided = all((root / name).is_dir() for name in ("train", "test"))
  places = [root / name for name in _PARTS] if divided else [root]
  listings = [_find(place) for place in places if place.is_dir() or not divided]
  names = [name for name, p in zip(_PARTS, places) if p.is_dir() or not divided]
  files = tuple(file for one in listings for file in one.files)
  labels = [label for one in listings for label in one.labels]
  if "" in labels:
    raise ValueError(
      f"{files[labels.index('')]}: got a picture beside the folders, expected "
      "each in the folder of its class."
    )
  classes = tuple(sorted(set(labels)))
  targets = _raw_arrays.class_numbers(labels, classes)
  pictures = _read(files, color, (height, width))
  if divided:
    part = np.repeat(
      [_PARTS.index(name) for name in names], [len(f.files) for f in listings]
    )
    rows = _part_splits.Parts(*(np.flatnonzero(part == i) for i in range(3)))
  else:
    rows = _part_splits.by_share(
      len(files), valid_fraction, test_fraction, seed, classes=targets
    )
  lacking = np.setdiff1d(np.arange(len(classes)), targets[rows.train])
  if len(lacking):
    raise ValueError(
      f"{path}: got no training picture of the class {classes[lacking[0]]!r}, "
      "expected at least one."
    )
  prepared = ImageSource(
    classes=classes,
    image_size=pictures.shape[1:3],
    color=color,
    order=order,
    reader="image_folders",
  )
  parts = [
    prepared.prepare(pictures[i], targets=targets[i]) if len(i) else None
    for i in rows
  ]
  size = " x ".join(map(str, pictures.shape[1:3]))
  info = datasets.Info(
    f"A picture of {size} pixels; which class?",
    str(path),
    "that of the files",
    num_classes=len(classes),
    classes=classes,
    image_size=pictures.shape[1:3],
    preparation=prepared,
  )
  return datasets.Splits(parts[0], parts[1], parts[2], info)
