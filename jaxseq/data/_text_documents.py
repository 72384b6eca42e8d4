"""Texts that are many documents, of very different lengths."""

from collections.abc import Sequence
import re

import numpy as np

from jaxseq import _validate
from jaxseq.data import datasets

BIBLE_LEVELS = ("book", "chapter")
# The place that a verse's line begins with: book, chapter, verse.
_PLACE = re.compile(rb"(\d?[A-Za-z]+)(\d+):(\d+)\s")


def of_bible(content: bytes, level: str) -> list[bytes]:
  """Cuts the King James Bible, verses one a line, at one of `BIBLE_LEVELS`."""
  _validate.choice("documents", level, BIBLE_LEVELS)
  depth = BIBLE_LEVELS.index(level) + 1
  documents, before = [], None
  for number, line in enumerate(content.splitlines(keepends=True), 1):
    match = _PLACE.match(line)
    if match is None:
      expected = "a place at its beginning, such as 'Ge1:1'"
      raise _validate.error(f"line {number} of the text", line[:20], expected)
    place = match.groups()[:depth]
    if place != before:
      documents.append([])
    documents[-1].append(line)
    before = place
  return [b"".join(lines) for lines in documents]


def split(
  documents: Sequence[bytes | np.ndarray],
  valid: float = 0.05,
  test: float = 0.05,
  seed: int = 0,
) -> tuple[datasets.ArrayDataset, datasets.ArrayDataset, datasets.ArrayDataset]:
  """Divides documents at random; extras.document_starts: where each begins."""
  parts = [
    np.frombuffer(d, np.uint8) if isinstance(d, bytes) else d
    for d in documents
    if len(d)
  ]
  count = len(parts)
  order = np.random.default_rng(seed).permutation(count)
  first = count - round((valid + test) * count)
  second = count - round(test * count)
  if not 0 < first < second < count:
    raise ValueError(
      f"valid and test: got {valid} and {test}, expected positive shares that "
      f"leave a document to each part of the {count}."
    )
  return tuple(
    _part([parts[i] for i in rows]) for rows in np.split(order, [first, second])
  )


def _part(documents):
  targets = np.concatenate(documents)
  starts = np.zeros(len(targets), bool)
  starts[np.cumsum([0, *map(len, documents[:-1])])] = True
  inputs = np.where(starts, 0, np.roll(targets, 1)).astype(targets.dtype)
  return datasets.ArrayDataset(
    inputs[None],
    targets[None],
    extras=datasets.Extras(document_starts=starts[None]),
  )
