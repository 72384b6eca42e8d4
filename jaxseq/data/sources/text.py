"""Texts: files or folders of texts, as bytes or as tokens.

splits = data.load("text_files", path="notes")
splits = data.load("text_files", path="a.txt", tokenizer="tokenizer.json")
"""

from collections.abc import Mapping
import dataclasses
import glob
import os
import pathlib
from typing import Any
from typing import ClassVar
from typing import Self

import numpy as np

from jaxseq import limits
from jaxseq import validate
from jaxseq.data import _raw_arrays
from jaxseq.data import _tokenizer_bounds
from jaxseq.data import datasets
from jaxseq.data import padding
from jaxseq.data import text
from jaxseq.data import text_prompts
from jaxseq.data import text_tokens
from jaxseq.data.sources import base


@dataclasses.dataclass(frozen=True)
class TextSource(base.Source):
  """Texts, to predict every byte or token but the first.

  `prepare` takes a str or bytes, several of them, (n, time) integers, or a
  sequence of arrays (time_i,) of them.

  Attributes:
    vocab_size: number of tokens.
    tokens: meaning of each token.
    tokenizer: JSON of a tokenizer of the package tokenizers; None for bytes.
    pattern: pattern of the files to read in a folder.
  """

  kind: ClassVar[str] = "text"
  forms: ClassVar[tuple[str, ...]] = ("text_files",)

  _: dataclasses.KW_ONLY
  vocab_size: base.Count | None = None
  tokens: tuple[str, ...] | None = None
  tokenizer: str | None = None
  pattern: str = "**/*"

  @classmethod
  def of_json(cls, fields: Mapping[str, object]) -> Self:
    """Undoes `to_json`, see `Source.of_json`."""
    source = super().of_json(fields)
    if source.tokenizer is not None:
      _tokenizer_bounds.checked(
        source.tokenizer, "tokenizer", source.vocab_size
      )
    return source

  def _prepare(self, values, lengths, times, targets):
    del times, targets
    if isinstance(values, str | bytes):
      values = [values]
    rows = []
    for number, row in enumerate(_raw_arrays.rows(values, lengths)):
      name = f"text {number}"
      if isinstance(row, str | bytes):
        content = row.encode() if isinstance(row, str) else row
        row = text_tokens.encode(content, self._coder(), name)
      row = _raw_arrays.tokens(name, row, self.vocab_size)
      if len(row) < 2:
        raise ValueError(f"{name}: got {len(row)} tokens, expected at least 2.")
      rows.append(row)
    tokens, counts = padding.pad_sequences(rows)
    counts = None if np.all(counts == tokens.shape[1]) else counts - 1
    return datasets.ArrayDataset(tokens[:, :-1], tokens[:, 1:], counts)

  def read(self, path: Any) -> base.Examples:
    """Reads texts, see `Source.read`."""
    # Byte files have one format, whatever the source of the training data.
    if self.reader is None and self.vocab_size == 256:
      return self._read(path)
    return super().read(path)

  def _read(self, path: Any) -> base.Examples:
    inside = pathlib.PurePath(self.pattern)
    outside = ".." in self.pattern or "\0" in self.pattern
    if outside or inside.is_absolute() or not inside.parts:
      raise validate.error(
        "pattern", self.pattern, "a pattern inside the folder"
      )
    # Each file is an example.
    files = find(path, self.pattern)
    rows = list(text_tokens.of_files([f for _, f in files], self._coder()))
    return base.Examples(
      tuple(name for name, _ in files), self.prepare(rows), True
    )

  def _coder(self):
    """The tokenizer, or None for bytes."""
    if self.tokenizer is None:
      return None
    return text_tokens.read_tokenizer(self.tokenizer)


def find(
  path: str | os.PathLike, pattern: str = "**/*"
) -> tuple[tuple[str, pathlib.Path], ...]:
  """Returns the names and paths of the files of a path, in order."""
  place = pathlib.Path(path)
  if place.is_file():
    return ((place.name, place),)
  if place.is_dir():
    files = [
      file
      for file in sorted(place.glob(pattern))
      if file.is_file()
      and not any(p.startswith(".") for p in file.relative_to(place).parts)
    ]
    for file in files:
      limits.check_within(file, place)
    named = [(file.relative_to(place).as_posix(), file) for file in files]
  else:
    files = sorted(glob.glob(str(path), recursive=True))
    named = [(file, pathlib.Path(file)) for file in files]
    named = [(name, file) for name, file in named if file.is_file()]
  if not named:
    absent = "" if place.exists() else " (it does not exist)"
    raise datasets.MissingData(
      f"{path} is no text, and no folder or pattern of any{absent}: give a "
      f"file, or a folder in which the pattern {pattern!r} finds some, as path."
    )
  return tuple(named)


def tokenizer_of(
  path: str | os.PathLike | None,
) -> tuple[Any | None, str | None]:
  """Reads the file of a tokenizer; (None, None), for bytes, if path is None.

  Returns:
    The tokenizer, see `text_tokens.read_tokenizer`, and the file's content.

  Raises:
    ValueError: if it is not a tokenizer, or too large.
    MissingData: if the file, or the package tokenizers, is missing.
  """
  if path is None:
    return None, None
  place = datasets.find_file(path, "give a tokenizer.json as tokenizer")
  content = limits.read_text(place, limits.JSON)
  return text_tokens.read_tokenizer(content, str(place)), content


def load(
  path: str | os.PathLike,
  *,
  pattern: str = "**/*",
  documents: bool = False,
  repeats: int = 1,
  tokenizer: str | os.PathLike | None = None,
  valid_fraction: float = 0.05,
  test_fraction: float = 0.05,
  seed: int = 0,
) -> datasets.Splits:
  """Loads texts for modeling.

  Args:
    path: a file, a folder, or a pattern such as "notes/*.md".
    pattern: pattern of the files in a folder.
    documents: whether each file is a document, shuffled and not cut; otherwise
      all files in order are one text.
    repeats: number of repetitions of each document, with no fresh state between
      them; 2 for documents that are read twice, see `text_prompts`.
    tokenizer: a tokenizer.json of the package tokenizers; bytes if None.
    valid_fraction: share of the text, or of the documents, for validation.
    test_fraction: share for testing, at the end.
    seed: seed of the order of documents.

  Returns:
    The splits: inputs and targets (1, n) uint8 bytes or int32 tokens, with
    document_starts if there are documents.

  Raises:
    ValueError: if a text is invalid, or too short.
    MissingData: if a file, or the package of the tokenizer, is missing.
  """
  files = find(path, pattern)
  coder, content = tokenizer_of(tokenizer)
  pieces = list(text_tokens.of_files([file for _, file in files], coder))
  if repeats > 1 and not documents:
    raise validate.error("repeats", repeats, "1 without documents")
  pieces = text_prompts.repeat_documents(pieces, repeats)
  if documents:
    parts = text.split_documents(pieces, valid_fraction, test_fraction, seed)
  else:
    parts = text.split_tokens(
      np.concatenate(pieces), valid_fraction, test_fraction
    )
  vocab_size = 256 if coder is None else coder.get_vocab_size()
  unit = "byte" if coder is None else "token"
  info = datasets.Info(
    f"A text {unit} by {unit}; which is next?",
    str(path),
    "that of the files",
    num_classes=vocab_size,
    vocab_size=vocab_size,
    preparation=TextSource(
      vocab_size=vocab_size,
      tokenizer=content,
      pattern=pattern,
      reader="text_files",
    ),
  )
  return datasets.Splits(*parts, info)
