"""The files of the Long Range Arena: ListOps, Text, Retrieval, Pathfinder.

Text is read as bytes: id 0 is padding and id b + 1 is the byte b of the text in
UTF-8, which never contains byte 255.

Source: arXiv 2011.04006. `experiments.lra.cifar` reads the images of its task
Image.
"""

from collections.abc import Sequence
import io
import os
import pathlib
import re
import struct
import zlib

import numpy as np

from experiments.lra import listops as expressions
from jaxseq import limits
from jaxseq import validate
from jaxseq.data import datasets
from jaxseq.data import packages
from jaxseq.data import padding
from jaxseq.data.files import columns

# Difficulty levels of Pathfinder; the benchmark uses the last.
LEVELS = ("curv_baseline", "curv_contour_length_9", "curv_contour_length_14")
_LICENSE = "Apache-2.0 (Long Range Arena)"
# Most pixels of an image: 4096 x 4096, far more than sequences ever have.
_PIXELS = 2**24
# Errors of pillow for files that are damaged or not images.
_DAMAGE = (OSError, SyntaxError, ValueError, OverflowError, struct.error)
_ADVICE = "unpack the Long Range Arena's release there"


def _read(folder, name, parse, count, expected, more=False):
  """Parses each line of a file and returns the results by column."""
  path = datasets.find_file(pathlib.Path(folder) / name, _ADVICE)
  limits.check_within(path, folder)
  rows = []
  # The csv module would misread the cells, which are not quoted.
  with columns.lines(path, newline="\n") as lines:
    for line in lines:
      cells = line.rstrip("\r\n").split("\t")
      if len(cells) < count or len(cells) > count and not more:
        raise ValueError(f"{expected} are expected; got {len(cells)} columns.")
      if cells != ["Source", "Target"]:
        rows.append(parse(*cells))
  if not rows:
    raise ValueError(f"{path} has no lines of values.")
  return tuple(zip(*rows))


def _label(text, count):
  """Parses a class, which may be written as 1 or as 1.0."""
  try:
    label = float(text)
  except ValueError:
    label = -1
  if label not in range(count):
    raise validate.error("the class", text[:20], f"0 to {count - 1}")
  return int(label)


def _encode(
  texts: Sequence[str], max_length: int
) -> tuple[np.ndarray, np.ndarray]:
  """Converts texts to byte ids."""
  validate.integer("max_length", max_length, 1)
  rows = [
    np.frombuffer(text.encode()[:max_length], np.uint8) + np.uint8(1)
    for text in texts
  ]
  return padding.pad_sequences(rows, max_length)


def _of_bytes(description, source):
  """The description of a set of bytes with two classes."""
  return datasets.Info(
    description, source, "see source", num_classes=2, vocab_size=256
  )


def listops(path: str | os.PathLike) -> datasets.Splits:
  """Loads ListOps from basic_train.tsv, basic_val.tsv and basic_test.tsv.

  Args:
    path: folder of the files.

  Returns:
    The splits: inputs (n, time) uint8 as in `experiments.lra.listops`, with one
    time axis for all parts; targets (n,) the values.

  Raises:
    ValueError: naming the invalid line.
    MissingData: if a file is missing.
  """

  def parse(expression, value):
    ids = np.array(expressions.tokenize(expression), np.uint8)
    return ids, _label(value, 10)

  datasets_of_parts = []
  for name in ("train", "val", "test"):
    expected = "an expression and its value"
    datasets_of_parts.append(
      _read(path, f"basic_{name}.tsv", parse, 2, expected)
    )
  lengths = [len(row) for rows, _ in datasets_of_parts for row in rows]
  longest = max(lengths)
  limits.check_growth(path, longest * len(lengths), sum(lengths))
  parts = []
  for rows, values in datasets_of_parts:
    inputs, lengths = padding.pad_sequences(rows, longest)
    targets = np.array(values, np.int32)
    parts.append(datasets.ArrayDataset(inputs, targets, lengths))
  info = datasets.Info(
    description="A nested list expression; what is its value?",
    source=f"Long Range Arena (arXiv 2011.04006), {path}",
    license=_LICENSE,
    num_classes=10,
    vocab_size=len(expressions.TOKENS),
    tokens=expressions.TOKENS,
  )
  return datasets.Splits(*parts, info)


def _reviews(root, part):
  """Reads classes and texts of a part with a folder for each class."""
  folder = root / part
  texts, labels = [], []
  for label, name in enumerate(("neg", "pos")):
    paths = sorted((folder / name).glob("*.txt"))
    if not paths:
      raise datasets.MissingData(
        f"{folder / name} has no txt files: unpack the reviews of aclImdb, or "
        f"put train.tsv and test.tsv, there."
      )
    for path in paths:
      limits.check_within(path, root)
      texts.append(_read_text(path))
    labels += [label] * len(paths)
  return labels, texts


def _read_text(path):
  """Reads a text with any line endings."""
  with open(
    path, encoding="utf-8", errors="replace", opener=limits.regular
  ) as file:
    return file.read()


def text(path: str | os.PathLike, max_length: int = 4096) -> datasets.Splits:
  """Loads Text: film reviews byte by byte, negative or positive.

  Args:
    path: folder of the set: either aclImdb with txt files in train/neg,
      train/pos, test/neg and test/pos, or train.tsv and test.tsv, whose lines
      are 0 or 1, a tab, and a review.
    max_length: number of bytes to read of a review.

  Returns:
    The splits: inputs (n, max_length) uint8, see above; targets (n,), 1 for a
    positive review. There is no validation set: the benchmark's results are
    selected by test accuracy; `carve_valid` makes a validation set.

  Raises:
    ValueError: if an option is out of range or a line is invalid.
    MissingData: if a file or folder is missing.
  """

  def parse(label, *cells):
    return _label(label, 2), "\t".join(cells)

  parts = []
  root = pathlib.Path(path)
  for part in ("train", "test"):
    name = f"{part}.tsv"
    if (root / name).is_file():
      expected = "a class and a text"
      labels, texts = _read(root, name, parse, 2, expected, more=True)
    else:
      labels, texts = _reviews(root, part)
    inputs, lengths = _encode(texts, max_length)
    parts.append(
      datasets.ArrayDataset(inputs, np.array(labels, np.int32), lengths)
    )
  about = "A film review byte by byte; is it positive?"
  source = f"Large Movie Review Dataset (Maas et al. 2011), {path}"
  return datasets.Splits(parts[0], None, parts[1], _of_bytes(about, source))


def retrieval(
  path: str | os.PathLike, max_length: int = 4000
) -> datasets.Splits:
  """Loads Retrieval: two papers byte by byte; are they related?

  Args:
    path: folder of new_aan_pairs.train.tsv, .eval.tsv and .test.tsv, whose
      columns are class, two numbers of papers, and their two texts.
    max_length: number of bytes to read of a paper.

  Returns:
    The splits: inputs (n, max_length) uint8 are the first papers, as ids;
    extras.second (n, max_length) uint8 and extras.second_lengths (n,)
    int32 the second ones; targets (n,), 1 if they are related.

  Raises:
    ValueError: if an option is out of range or a line is invalid.
    MissingData: if a file is missing.
  """

  def parse(label, first_number, second_number, first, second):
    # A character takes at least a byte; the rest need not stay in memory.
    return _label(label, 2), first[:max_length], second[:max_length]

  parts = []
  for name in ("train", "eval", "test"):
    expected = "class, two numbers and two texts"
    file = f"new_aan_pairs.{name}.tsv"
    labels, first, second = _read(path, file, parse, 5, expected)
    inputs, lengths = _encode(first, max_length)
    second, second_lengths = _encode(second, max_length)
    extras = datasets.Extras(second=second, second_lengths=second_lengths)
    targets = np.array(labels, np.int32)
    parts.append(datasets.ArrayDataset(inputs, targets, lengths, extras))
  about = "Two papers byte by byte; does one cite the other?"
  source = f"ACL Anthology Network by way of arXiv 2011.04006, {path}"
  return datasets.Splits(*parts, _of_bytes(about, source))


def _samples(root, level):
  """The image files and classes in the metadata of a level."""
  folder = root / level
  metadata = folder / "metadata"
  files = list(metadata.glob("*.npy"))
  for file in files:
    limits.check_within(file, root)
    if not re.fullmatch("[0-9]{1,9}", file.stem):
      raise validate.error(str(file), file.name, "a number and .npy")
  files.sort(key=lambda file: int(file.stem))
  if not files:
    raise datasets.MissingData(f"{metadata} has no .npy files: {_ADVICE}.")

  def parse(line):
    words = line.split()
    if len(words) < 4:
      raise ValueError(
        f"folder, image, number and class are expected; got {line[:40]!r}."
      )
    image = limits.check_within(folder / words[0] / words[1], root)
    return image, _label(words[3], 2)

  paths, labels = [], []
  for file in files:
    # Text in spite of the suffix: folder, image, number, class, ...
    with columns.lines(file) as lines:
      listed = [parse(line) for line in lines]
    for image, label in listed:
      datasets.find_file(image, f"{file} lists it; {_ADVICE}")
      # The release has an empty image file.
      if image.stat().st_size:
        paths.append(image)
        labels.append(label)
  return paths, np.array(labels, np.int32)


def _read_png(path: str | os.PathLike) -> np.ndarray:
  """Reads a grayscale image with 8 bits per pixel, not interlaced, as uint8."""
  Image = packages.imported(
    "PIL.Image", "jaxseq[data]", "images are read by pillow"
  )
  content = limits.read_bytes(path)
  try:
    (width, height), compressed = _png_parts(content)
    if width * height > _PIXELS:
      raise ValueError(f"it has {width} x {height} pixels, over {_PIXELS}")
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
      # Verifies all checksums; the file has to be opened again afterwards.
      image.verify()
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
      pixels, mode = np.asarray(image), image.mode
      interlaced = bool(image.info.get("interlace"))
  except _DAMAGE as error:
    raise ValueError(f"{path} is no PNG file, or damaged: {error}.") from error
  if mode != "L" or interlaced:
    form = mode + ", interlaced" * interlaced
    expected = "8 bits of gray, mode 'L', not interlaced"
    raise validate.error(str(path), form, expected)
  # Pillow silently fills missing rows with black, so count the bytes. One byte
  # more detects surplus rows.
  expected = pixels.size + len(pixels)
  decoder = zlib.decompressobj()
  size = len(decoder.decompress(compressed, expected + 1))
  if size != expected:
    says = f"{expected} bytes, a filter and the pixels of each row"
    raise validate.error(str(path), size, says)
  return pixels


def _png_parts(content):
  """Returns the size in the only header, and the compressed pixels."""
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


def pathfinder(
  path: str | os.PathLike,
  seed: int = 0,
  level: str = LEVELS[-1],
  tokens: bool = False,
) -> datasets.Splits:
  """Loads Pathfinder or Path-X from a folder such as pathfinder32.

  Args:
    path: folder with a folder for each level, in which the text files
      metadata/*.npy list the images.
    seed: seed of the split in 80 %, 10 % and 10 %; the release has no split.
    level: one of `LEVELS`.
    tokens: whether inputs are the pixels as tokens 0 .. 255, as in the
      benchmark's own code, and not numbers; this takes a quarter of the memory.

  Returns:
    The splits: inputs (n, size^2, 1) in 0 .. 1, or (n, size^2) uint8, the
    pixels row by row; targets (n,), 1 if both discs are on one path.

  Raises:
    ValueError: if the level is unknown, a file is damaged or of another size,
      or there are fewer than ten images.
    MissingData: if a file is missing.
  """
  validate.choice("level", level, LEVELS)
  paths, labels = _samples(pathlib.Path(path), level)
  count = len(paths)
  if count < 10:
    raise ValueError(f"{path}: at least 10 images are needed; got {count}.")
  shape = _read_png(paths[0]).shape
  held = sum(os.path.getsize(file) for file in paths)
  limits.check_growth(path, count * shape[0] * shape[1], held)
  pixels = np.zeros((count, shape[0] * shape[1]), np.uint8)
  for row, file in zip(pixels, paths):
    image = _read_png(file)
    if image.shape != shape:
      expected = f"{shape} pixels like the first image"
      raise validate.error(str(file), image.shape, expected)
    row[:] = image.ravel()
  order = np.random.default_rng(seed).permutation(count)
  inputs = pixels[order]
  if not tokens:
    inputs = (inputs.astype(np.float32) / 255)[..., None]
  whole = datasets.ArrayDataset(inputs, labels[order])
  tenth = count // 10
  parts = datasets.consecutive(whole, (count - 2 * tenth, tenth, tenth))
  info = datasets.Info(
    description="Dashed paths and two discs; are they on the same path?",
    source=f"Long Range Arena (arXiv 2011.04006), {path}, {level}",
    license=_LICENSE,
    num_classes=2,
    vocab_size=256 if tokens else None,
    image_size=shape,
  )
  return datasets.Splits(*parts, info)
