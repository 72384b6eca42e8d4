"""The files of the Long Range Arena: ListOps, Text, Retrieval, Pathfinder.

Text is read as bytes: id 0 is padding and id b + 1 is the byte b of the text in
UTF-8, in which the byte 255 does not occur.

Source: arXiv 2011.04006. `files.cifar` reads the images of its task Image.
"""

from collections.abc import Sequence
import os
import pathlib

import numpy as np

from jaxseq import _validate
from jaxseq.data import datasets
from jaxseq.data import listops as expressions
from jaxseq.data import padding
from jaxseq.data.files import png

# Levels of difficulty of Pathfinder; the benchmark uses the last.
LEVELS = ("curv_baseline", "curv_contour_length_9", "curv_contour_length_14")
_LICENSE = "Apache-2.0 (Long Range Arena)"


def _lines(path, count, what, more=False):
  """Yields the number and the columns of each line of a tsv file."""
  datasets.find_file(path, "unpack the Long Range Arena's release there")
  # The columns are not quoted, so that the csv module would misread them.
  with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
    for number, line in enumerate(file, 1):
      if not line.strip():
        continue
      columns = line.rstrip("\r\n").split("\t")
      if len(columns) < count or len(columns) > count and not more:
        raise ValueError(
          f"{path}, line {number}: {what} are expected; got {len(columns)} "
          "columns."
        )
      yield number, columns


def _label(text, count, path, number):
  """Reads a class, which may be written as 1 or as 1.0."""
  try:
    label = float(text)
  except ValueError:
    label = -1
  if label not in range(count):
    raise ValueError(
      f"{path}, line {number}: the class: got {text[:20]!r}, expected 0 to "
      f"{count - 1}."
    )
  return int(label)


def encode(
  texts: Sequence[str], max_length: int
) -> tuple[np.ndarray, np.ndarray]:
  """Turns texts into ids of bytes.

  Args:
    texts: n texts.
    max_length: length of the time axis; what is longer is cut.

  Returns:
    Ids (n, max_length) uint8, padded with 0 at the end, and lengths (n,) int32.

  Raises:
    ValueError: if there is no text or max_length is less than 1.
  """
  _validate.integer("max_length", max_length, 1)
  rows = [
    np.frombuffer(text.encode()[:max_length], np.uint8) + np.uint8(1)
    for text in texts
  ]
  return padding.pad_sequences(rows, max_length)


def listops(path: str | os.PathLike) -> datasets.Splits:
  """Loads ListOps from basic_train.tsv, basic_val.tsv and basic_test.tsv.

  Args:
    path: folder of the files.

  Returns:
    The splits: inputs (n, time) uint8 as in `jaxseq.data.listops`, with one
    time axis for all parts; targets (n,) the values.

  Raises:
    ValueError: naming the line that is not as it should be.
    MissingData: if a file is not there.
  """
  found = {}
  for part, name in (("train", "train"), ("valid", "val"), ("test", "test")):
    file = pathlib.Path(path) / f"basic_{name}.tsv"
    rows, values = [], []
    for number, columns in _lines(file, 2, "an expression and its value"):
      if columns == ["Source", "Target"]:
        continue
      try:
        ids = expressions.tokenize(columns[0])
      except ValueError as error:
        raise ValueError(f"{file}, line {number}: {error}") from error
      rows.append(np.array(ids, np.uint8))
      values.append(_label(columns[1], 10, file, number))
    found[part] = rows, np.array(values, np.int32)
  longest = max((len(row) for rows, _ in found.values() for row in rows))
  parts = {
    part: datasets.ArrayDataset(inputs, values, lengths)
    for part, (rows, values) in found.items()
    for inputs, lengths in [padding.pad_sequences(rows, longest)]
  }
  return datasets.Splits(
    **parts,
    info=datasets.Info(
      description="A nested list expression; what is its value?",
      source=f"Long Range Arena (arXiv 2011.04006), {path}",
      license=_LICENSE,
      num_classes=10,
      vocab_size=len(expressions.TOKENS),
      tokens=expressions.TOKENS,
    ),
  )


def _reviews(folder):
  """The texts and classes of a folder with a folder for each class."""
  texts, labels = [], []
  for label, name in enumerate(("neg", "pos")):
    paths = sorted((folder / name).glob("*.txt"))
    if not paths:
      raise datasets.MissingData(
        f"{folder / name} has no txt files: unpack the reviews of aclImdb, or "
        f"put train.tsv and test.tsv, there."
      )
    texts += [path.read_text("utf-8", errors="replace") for path in paths]
    labels += [label] * len(paths)
  return texts, labels


def _labeled(path):
  """The texts and classes of a tsv file: class, text."""
  texts, labels = [], []
  for number, columns in _lines(path, 2, "a class and a text", more=True):
    labels.append(_label(columns[0], 2, path, number))
    texts.append("\t".join(columns[1:]))
  return texts, labels


def text(path: str | os.PathLike, max_length: int = 4096) -> datasets.Splits:
  """Loads Text: film reviews byte by byte, negative or positive.

  Args:
    path: folder of the set: either aclImdb with train/neg, train/pos, test/neg
      and test/pos full of txt files, or train.tsv and test.tsv, whose lines
      are 0 or 1, a tab, and a review.
    max_length: number of bytes that are read of a review.

  Returns:
    The splits: inputs (n, max_length) uint8, see `encode`; targets (n,), 1 for
    a positive review. There is no validation set; the benchmark's results
    choose by test accuracy, `carve_valid` does better.

  Raises:
    ValueError: if an option is out of range or a line not as it should be.
    MissingData: if a file or folder is not there.
  """
  folder = pathlib.Path(path)
  parts = []
  for part in ("train", "test"):
    file = folder / f"{part}.tsv"
    texts, labels = (
      _labeled(file) if file.is_file() else (_reviews(folder / part))
    )
    inputs, lengths = encode(texts, max_length)
    parts.append(
      datasets.ArrayDataset(inputs, np.array(labels, np.int32), lengths)
    )
  return datasets.Splits(
    parts[0],
    None,
    parts[1],
    datasets.Info(
      description="A film review byte by byte; is it positive?",
      source=f"Large Movie Review Dataset (Maas et al. 2011), {path}",
      license="see source",
      num_classes=2,
      vocab_size=256,
    ),
  )


def retrieval(
  path: str | os.PathLike, max_length: int = 4000
) -> datasets.Splits:
  """Loads Retrieval: two papers byte by byte; are they related?

  Args:
    path: folder of new_aan_pairs.train.tsv, .eval.tsv and .test.tsv, whose
      columns are class, two numbers of papers, and their two texts.
    max_length: number of bytes that are read of a paper.

  Returns:
    The splits: inputs (n, max_length) uint8 are the first papers, see `encode`;
    extras.second (n, max_length) uint8 and extras.second_lengths (n,)
    int32 the second ones; targets (n,), 1 where they are related.

  Raises:
    ValueError: if an option is out of range or a line not as it should be.
    MissingData: if a file is not there.
  """
  parts = {}
  for part, name in (("train", "train"), ("valid", "eval"), ("test", "test")):
    file = pathlib.Path(path) / f"new_aan_pairs.{name}.tsv"
    labels, first, second = [], [], []
    what = "class, two numbers and two texts"
    for number, columns in _lines(file, 5, what):
      labels.append(_label(columns[0], 2, file, number))
      # A character is at least a byte; the rest need not lie in memory.
      first.append(columns[3][:max_length])
      second.append(columns[4][:max_length])
    inputs, lengths = encode(first, max_length)
    others, other_lengths = encode(second, max_length)
    parts[part] = datasets.ArrayDataset(
      inputs,
      np.array(labels, np.int32),
      lengths,
      datasets.Extras(second=others, second_lengths=other_lengths),
    )
  return datasets.Splits(
    **parts,
    info=datasets.Info(
      description="Two papers byte by byte; does one cite the other?",
      source=f"ACL Anthology Network by way of arXiv 2011.04006, {path}",
      license="see source",
      num_classes=2,
      vocab_size=256,
    ),
  )


def _samples(folder):
  """The image files and classes that the metadata of a level list."""
  files = sorted(
    (folder / "metadata").glob("*.npy"), key=lambda file: int(file.stem)
  )
  if not files:
    raise datasets.MissingData(
      f"{folder / 'metadata'} has no .npy files: unpack the Long Range Arena's "
      "release there."
    )
  paths, labels = [], []
  for file in files:
    # Lines of text in spite of the name: folder, image, number, class, ...
    for number, line in enumerate(file.read_text().splitlines(), 1):
      words = line.split()
      if len(words) < 4:
        raise ValueError(
          f"{file}, line {number}: folder, image, number and class are "
          f"expected; got {line[:40]!r}."
        )
      image = folder / words[0] / words[1]
      if not image.is_file():
        raise datasets.MissingData(
          f"{image}, which {file} lists, is not a file: unpack the Long Range "
          "Arena's release again."
        )
      # The release has an image without content.
      if image.stat().st_size:
        paths.append(image)
        labels.append(_label(words[3], 2, file, number))
  return paths, np.array(labels, np.int32)


def pathfinder(
  path: str | os.PathLike,
  seed: int = 0,
  level: str = LEVELS[-1],
  tokens: bool = False,
) -> datasets.Splits:
  """Loads Pathfinder or Path-X from a folder such as pathfinder32.

  Args:
    path: folder with a folder for each level, in which the texts
      metadata/*.npy list the images.
    seed: seed of the split in 80 %, 10 % and 10 %; the release has none.
    level: one of `LEVELS`.
    tokens: whether inputs are the pixels as tokens 0 .. 255, as in the
      benchmark's own code, and not numbers; this takes a quarter of the memory.

  Returns:
    The splits: inputs (n, size^2, 1) in 0 .. 1, or (n, size^2) uint8, the
    pixels row by row; targets (n,), 1 where both discs are on one path.

  Raises:
    ValueError: if level is not known, a file damaged or of another size, or
      there are fewer than ten images.
    MissingData: if a file is not there.
  """
  _validate.choice("level", level, LEVELS)
  paths, labels = _samples(pathlib.Path(path) / level)
  count = len(paths)
  if count < 10:
    raise ValueError(f"{path}: at least 10 images are needed; got {count}.")
  shape = png.read_png(paths[0]).shape
  pixels = np.zeros((count, shape[0] * shape[1]), np.uint8)
  for row, file in zip(pixels, paths):
    image = png.read_png(file)
    if image.shape != shape:
      raise ValueError(
        f"{file}: got {image.shape}, expected {shape} pixels like the first "
        "image."
      )
    row[:] = image.ravel()
  order = np.random.default_rng(seed).permutation(count)
  tenth = count // 10
  parts = []
  for rows in np.split(order, [count - 2 * tenth, count - tenth]):
    inputs = pixels[rows]
    if not tokens:
      inputs = (inputs.astype(np.float32) / 255)[..., None]
    parts.append(datasets.ArrayDataset(inputs, labels[rows]))
  return datasets.Splits(
    *parts,
    datasets.Info(
      description="Dashed paths and two discs; are they on the same path?",
      source=f"Long Range Arena (arXiv 2011.04006), {path}, {level}",
      license=_LICENSE,
      num_classes=2,
      vocab_size=256 if tokens else None,
      image_size=shape,
    ),
  )
