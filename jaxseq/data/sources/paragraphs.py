"""Documents of paragraphs, for splitting into sections.

    splits = data.load("paragraphs", path="reports")
    splits = data.load("kjv_chapters")

In a file every line with words is a paragraph, and an empty line separates two
sections.
"""

from collections.abc import Sequence
import dataclasses
import os
import re
from typing import Any
from typing import ClassVar
import zlib

import numpy as np

from jaxseq import limits
from jaxseq import validate
from jaxseq.data import _part_splits
from jaxseq.data import datasets
from jaxseq.data import padding
from jaxseq.data import text as texts
from jaxseq.data.files import columns
from jaxseq.data.sources import base
from jaxseq.data.sources import text

_WORD = re.compile(r"\w+")
Sections = Sequence[Sequence[str]]


@dataclasses.dataclass(frozen=True)
class ParagraphSource(base.Source):
  """Documents; each paragraph is a row of the numbers of its words.

  `prepare` takes documents: each a sequence of paragraphs, which are strings,
  with targets for each document, 1 where a section begins and 0 elsewhere.

  Attributes:
    buckets: count of word numbers, which are checksums of the letters; several
      words share one. 0 is padding.
    words: number of words of a paragraph to read, the first ones.
    pattern: pattern of the files to read in a folder.
  """

  kind: ClassVar[str] = "paragraphs"
  forms: ClassVar[tuple[str, ...]] = ("paragraphs",)

  _: dataclasses.KW_ONLY
  buckets: base.Count = 8192
  words: base.Count = 48
  pattern: str = "**/*"

  def _prepare(self, values, lengths, times, targets):
    del lengths, times
    rows = [
      self.encode(document, f"document {number}")
      for number, document in enumerate(values)
    ]
    words, counts = padding.pad_sequences(rows)
    inputs = (words > 0).sum(axis=-1).astype(np.int32)
    marks = np.full_like(inputs, -1)
    if targets is not None:
      if len(targets) != len(marks):
        expected = f"{len(marks)}, one for each document"
        raise validate.error("targets: rows", len(targets), expected)
      for number, (row, count) in enumerate(zip(marks, counts)):
        marked = np.asarray(targets[number])
        shape = (int(count),)
        validate.shape(f"targets of document {number}", marked, shape)
        row[:] = 0
        row[:count] = marked
    extras = datasets.Extras(words=words)
    return datasets.ArrayDataset(inputs, marks, counts, extras)

  def encode(self, paragraphs: Sequence[str], name: str) -> np.ndarray:
    """Encodes paragraphs as (paragraphs, words) int32, padded with 0.

    Raises:
      ValueError: if there is no paragraph, or one is not a string.
    """
    if isinstance(paragraphs, str) or not len(paragraphs):
      expected = "a sequence of paragraphs"
      raise validate.error(name, repr(paragraphs)[:40], expected)
    numbers = np.zeros((len(paragraphs), self.words), np.int32)
    for row, paragraph in zip(numbers, paragraphs):
      validate.instance(f"{name}: paragraph", paragraph, str, "a string")
      words = _WORD.findall(paragraph.lower())[: self.words]
      row[: len(words)] = [
        1 + zlib.crc32(word.encode()) % self.buckets for word in words
      ]
    return numbers

  def examples(self, documents: Sequence[Sections]) -> datasets.ArrayDataset:
    """Prepares documents of sections of paragraphs, with their targets."""
    return self.prepare(
      [[one for section in each for one in section] for each in documents],
      targets=[starts(map(len, each)) for each in documents],
    )

  def _read(self, path: Any) -> base.Examples:
    names, documents = read(path, self.pattern)
    dataset = self.examples(documents)
    # A single section may be a document without marked sections.
    marked = np.array([len(sections) > 1 for sections in documents])
    dataset.targets[~marked] = -1
    return base.Examples(tuple(names), dataset, bool(marked.any()))


def starts(sizes: Any) -> np.ndarray:
  """Marks section starts by 1, from the sections' numbers of paragraphs."""
  marks = [[1] + [0] * (size - 1) for size in sizes]
  return np.concatenate(marks).astype(np.int32)


def read(
  path: str | os.PathLike, pattern: str = "**/*"
) -> tuple[list[str], list[Sections]]:
  """Reads the names and the sections of documents, one per file.

  Raises:
    ValueError: if a file has no words, or is not UTF-8.
    MissingData: if there is no such file.
  """
  names, documents = [], []
  for name, file in text.find(path, pattern):
    content = columns.decoded(limits.read_bytes(file), name)
    sections: list[list[str]] = [[]]
    for line in content.splitlines():
      if _WORD.search(line):
        sections[-1].append(line)
      elif sections[-1]:
        sections.append([])
    if not sections[-1]:
      sections.pop()
    if not sections:
      raise validate.error(name, "no words", "paragraphs")
    names.append(name)
    documents.append(sections)
  return names, documents


def pieces(sections: Sections, longest: int) -> list[Sections]:
  """Returns runs of sections of 2 to `longest` paragraphs each.

  A single section that is longer is dropped.
  """
  validate.integer("longest", longest, 2)
  runs: list[list[Sequence[str]]] = [[]]
  for section in sections:
    if sum(map(len, runs[-1])) + len(section) > longest:
      runs.append([])
    if len(section) <= longest:
      runs[-1].append(section)
  return [run for run in runs if len(run) > 1]


def load(
  path: str | os.PathLike,
  *,
  pattern: str = "**/*",
  longest: int = 96,
  buckets: int = 8192,
  words: int = 48,
  valid_fraction: float = 0.1,
  test_fraction: float = 0.2,
  seed: int = 0,
) -> datasets.Splits:
  """Loads documents, to predict where sections begin.

  Args:
    path: a file, a folder, or a pattern; every file is a document.
    pattern: pattern of the files in a folder.
    longest: most paragraphs of a document; others are cut between sections.
    buckets: count of word numbers, which are checksums of the letters.
    words: number of words of a paragraph to read, the first ones.
    valid_fraction: share of the chunks for validation; those of a document are
      in one part, unless there are too few documents.
    test_fraction: share for testing.
    seed: seed of the random split.

  Returns:
    The splits: extras.words (n, paragraphs, words) int32, inputs (n,
    paragraphs), the number of words, targets (n, paragraphs), 1 where a section
    begins, and lengths.

  Raises:
    ValueError: if an option is wrong, or a part would be empty.
    MissingData: if there is no such file.
  """
  _, documents = read(path, pattern)
  source = ParagraphSource(
    reader="paragraphs", buckets=buckets, words=words, pattern=pattern
  )
  fractions = valid_fraction, test_fraction
  documents = [pieces(sections, longest) for sections in documents]
  return _splits(documents, source, str(path), fractions, seed)


def kjv_chapters(
  path: str | os.PathLike | None = None,
  *,
  longest: int = 96,
  buckets: int = 8192,
  words: int = 48,
  seed: int = 0,
) -> datasets.Splits:
  """Loads the King James Bible, whose verses are paragraphs of its chapters.

  Args:
    path: see `data.text.kjv_bytes`.
    longest: see `load`; documents are consecutive chapters of a book, and
      verses have no numbers.
    buckets: see `load`.
    words: see `load`.
    seed: see `load`.

  Returns:
    The splits, see `load`: a tenth for validation, a fifth for testing.

  Raises:
    ValueError: if the text is another, or an option is wrong.
    MissingData: if the text is missing.
  """
  books = texts.bible_chapters(texts.kjv_bytes(path))
  source = ParagraphSource(reader="paragraphs", buckets=buckets, words=words)
  place = "Debian's bible-kjv 4.39"
  runs = [[run] for book in books for run in pieces(book, longest)]
  return _splits(runs, source, place, (0.1, 0.2), seed)


def _splits(documents, source, place, fractions, seed):
  """Splits documents at random, with all chunks of each in one part."""
  kind = f"documents of two sections or more in {place}"
  documents = [runs for runs in documents if runs]
  sizes = _part_splits.sizes(sum(map(len, documents)), *fractions, kind)
  order = np.random.default_rng(seed).permutation(len(documents))
  documents = [documents[i] for i in order]
  ends = np.cumsum([len(runs) for runs in documents])
  dataset = source.examples([run for runs in documents for run in runs])
  parts = datasets.consecutive(dataset, _part_splits.moved(sizes, ends))
  info = datasets.Info(
    "Paragraphs of a document; where do its sections begin?",
    place,
    "that of the files",
    num_classes=2,
    preparation=source,
  )
  return datasets.Splits(*parts, info)
