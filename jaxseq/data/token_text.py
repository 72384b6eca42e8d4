"""Token files as data sets, and texts as token files.

    token_text.write("corpus", "texts.jsonl", tokenizer="tokenizer.json")
    splits = data.load(
      "token_file", path="corpus.bin", tokenizer="tokenizer.json"
    )

The training part stays on disk and is read on demand.
"""

from collections.abc import Iterator
import itertools
import os
import pathlib

import numpy as np

from jaxseq import _json
from jaxseq import limits
from jaxseq import validate
from jaxseq.data import datasets
from jaxseq.data import text_tokens
from jaxseq.data import token_file
from jaxseq.data.sources import text

# Most tokens of the validation and of the test part, which are in memory.
HELD_OUT = 2**22
_ENDS = (".bin", ".idx")


def load(
  path: str | os.PathLike,
  *,
  tokenizer: str | os.PathLike | None = None,
  vocab_size: int | None = None,
  documents: bool = False,
  digest: str | None = None,
  valid_fraction: float = 0.05,
  test_fraction: float = 0.05,
) -> datasets.Splits:
  """Loads a token file, see `token_file`, for modeling.

  Args:
    path: path of the `.bin` or the `.idx`, or of both without suffix.
    tokenizer: the tokenizer.json of the package tokenizers that made the
      tokens, to read and write texts; bytes if None.
    vocab_size: number of tokens; if None that of the tokenizer, or 256 for a
      file of bytes.
    documents: whether training reads whole documents, as many as fit in a row,
      each from a fresh state; otherwise equal windows over all documents in
      order. The splits are the same.
    digest: digest that the file must have, see `TokenFile.digest`; not checked
      if None.
    valid_fraction: share of the tokens for validation, next to last; at most
      4 million.
    test_fraction: share for testing, at the end; at most 4 million.

  Returns:
    The splits: targets (1, n). The training part is memory-mapped, with inputs
    the same array and with document_offsets; the others are in memory, with
    document_starts.

  Raises:
    ValueError: if a file is damaged, has another digest or is too short, or
      the number of tokens is not given.
    FileNotFoundError: if there is no such file.
  """
  # Only the making of rows depends on it, not the splits.
  del documents
  place = _stem(path)
  coder, content = text.tokenizer_of(tokenizer)
  file = token_file.TokenFile(place)
  found = file.digest()
  if digest not in (None, found):
    raise validate.error(f"{place}.bin: digest", found, f"{digest!r}")
  if vocab_size is None:
    if coder is not None:
      vocab_size = coder.get_vocab_size()
    elif file.tokens.dtype == np.uint8:
      vocab_size = 256
    else:
      expected = "the number of tokens, or a tokenizer"
      raise validate.error("vocab_size", None, expected)
  train, valid, test = _divided(file, valid_fraction, test_fraction)
  unit = "byte" if (coder, vocab_size) == (None, 256) else "token"
  info = datasets.Info(
    f"A text {unit} by {unit}, on the disk; which is next?",
    f"{place}.bin",
    "that of the files",
    num_classes=vocab_size,
    vocab_size=vocab_size,
    digest=found,
    preparation=text.TextSource(
      vocab_size=vocab_size,
      tokenizer=content,
      reader=None if unit == "token" and coder is None else "text_files",
    ),
  )
  return datasets.Splits(train, valid, test, info)


def write(
  path: str | os.PathLike,
  texts: str | os.PathLike,
  *,
  tokenizer: str | os.PathLike | None = None,
  pattern: str = "**/*",
  field: str = "text",
) -> token_file.TokenFile:
  """Writes texts as a token file, see `token_file.write`.

  Args:
    path: path of the `.bin` or the `.idx`, or of both without suffix.
    texts: a file, a folder, or a pattern such as "notes/*.md". Each line of a
      file that ends in `.jsonl` is an object with a text, and each other file
      is a text. Each text is a document.
    tokenizer: a tokenizer.json of the package tokenizers; bytes if None.
    pattern: pattern of the files in a folder.
    field: name of the text in a line.

  Returns:
    The file: with tokens of 8, 16 or 32 bits, by the size of the vocabulary.

  Raises:
    ValueError: if a text is invalid, or there is no text.
    MissingData: if a file, or the package of the tokenizer, is missing.
  """
  coder, _ = text.tokenizer_of(tokenizer)
  files = [file for _, file in text.find(texts, pattern)]
  count = 256 if coder is None else coder.get_vocab_size()
  kinds = [
    kind for kind in (np.uint8, np.uint16) if count - 1 <= np.iinfo(kind).max
  ]
  token_file.write(
    _stem(path), _documents(files, coder, field), (*kinds, np.int32)[0]
  )
  return token_file.TokenFile(_stem(path))


def _stem(path):
  """Removes the suffix of one of the two files."""
  place = pathlib.Path(path)
  return place.with_suffix("") if place.suffix in _ENDS else place


def _documents(
  files: list[pathlib.Path], coder: object | None, field: str
) -> Iterator[np.ndarray]:
  """Yields the tokens of each text; there has to be at least one."""
  some = False
  for lined, group in itertools.groupby(files, _has_lines):
    if lined:
      documents = (x for file in group for x in _lines(file, coder, field))
    else:
      documents = text_tokens.of_files(list(group), coder)
    for document in documents:
      some = True
      yield document
  if not some:
    raise ValueError(f"{files[0]}: got no lines, expected texts.")


def _has_lines(file):
  """True if each line of a file is a JSON object with a text."""
  return file.suffix == ".jsonl"


def _lines(file, coder, field):
  """Yields the tokens of the text in each line of a file."""
  with open(file, "rb", opener=limits.regular) as lines:
    for number, line in enumerate(lines, 1):
      if line.strip():
        name = f"{file}, line {number}"
        yield text_tokens.encode(_text(line, field, name), coder, name)


def _text(line, field, name):
  """Returns the text of a JSON line, in UTF-8."""
  try:
    fields = _json.loads(line.strip(), long=True)
  except ValueError as error:
    reason = " ".join(str(error).split()).replace("line 1 column", "column")
    raise ValueError(f"{name}: it is no JSON: {reason}.") from None
  validate.instance(name, fields, dict, "an object")
  content = fields.get(field)
  validate.instance(f"{name}: {field}", content, str, "a text")
  try:
    return content.encode()
  except UnicodeEncodeError as error:
    expected = "characters of Unicode"
    raise validate.error(f"{name}: {field}", error.reason, expected) from None


def _divided(file, valid_fraction, test_fraction):
  """Splits a file in its own order."""
  total = len(file.tokens)
  shares = {"valid_fraction": valid_fraction, "test_fraction": test_fraction}
  for name, share in shares.items():
    validate.number(name, share, 0, 1)
  valid, test = (min(round(x * total), HELD_OUT) for x in shares.values())
  first, second = total - valid - test, total - test
  if not 0 < first < second < total:
    raise ValueError(
      f"valid_fraction and test_fraction: got {valid_fraction} and "
      f"{test_fraction}, expected positive shares that leave tokens to each "
      f"part of the {total}."
    )
  last = int(np.searchsorted(file.starts, first))
  # A document across the border is split.
  offsets = np.append(file.starts[:last], first)
  train = file.tokens[None, :first]
  return (
    datasets.ArrayDataset(
      train, train, extras=datasets.Extras(document_offsets=offsets[None])
    ),
    _held_out(file, first, second),
    _held_out(file, second, total),
  )


def _held_out(file, first, last):
  """Reads a part into memory."""
  targets = np.array(file.tokens[first:last], copy=True)
  starts = np.zeros(len(targets), bool)
  begins = file.starts[np.searchsorted(file.starts, first) :]
  starts[begins[begins < last] - first] = True
  starts[0] = True
  inputs = np.roll(targets, 1)
  inputs[starts] = text_tokens.START
  return datasets.ArrayDataset(
    inputs[None],
    targets[None],
    extras=datasets.Extras(document_starts=starts[None]),
  )
