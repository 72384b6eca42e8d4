"""Byte corpora: the King James Bible, and Python's standard library.

A corpus is split in its own order: the first 90 % are for training, the next
5 % for validation and the last 5 % for testing. Inputs and targets are the same
bytes, one apart; every byte of a part but the very first of the corpus is a
target once. Bits per byte are nats / ln 2, over all targets of a part.
"""

from collections.abc import Iterable
from collections.abc import Sequence
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sysconfig

import numpy as np

from jaxseq import limits
from jaxseq import validate
from jaxseq.data import datasets

# Output of the program `bible` of Debian's bible-kjv 4.39.
KJV_BYTES = 4404412
KJV_SHA256 = "cd45f0c9cedab8e4439bd6486c8952c77cc8b0ecc5d1f6ae3513f2039f47229d"
BIBLE_LEVELS = ("book", "chapter")
# The reference that begins the line of a verse: book, chapter, verse.
_PLACE = re.compile(rb"(\d?[A-Za-z]+)(\d+):(\d+)\s")
_KJV_COMMAND = ("-f", "gen1:1-rev22:21")


def kjv_bytes(path: str | os.PathLike | None = None) -> bytes:
  """Returns the text of the King James Bible, one verse a line.

  Args:
    path: file with the text; if None, the program `bible` prints it.

  Returns:
    The text, 4404412 bytes of ASCII.

  Raises:
    ValueError: if the text is not that of Debian's bible-kjv 4.39, naming the
      difference.
    MissingData: if there is no such file or program.
  """
  if path is not None:
    command = f"`bible {' '.join(_KJV_COMMAND)}`"
    advice = f"give what {command} prints, or apt-get install bible-kjv"
    path = datasets.find_file(path, advice)
    return _check_kjv(limits.read_bytes(path), str(path))
  program = shutil.which("bible")
  if program is None:
    raise datasets.MissingData(
      "the program `bible`, which holds the text, is not installed: apt-get "
      "install bible-kjv."
    )
  result = subprocess.run(
    [program, *_KJV_COMMAND],
    stdin=subprocess.DEVNULL,
    capture_output=True,
    check=False,
    timeout=120,
  )
  if result.returncode or not result.stdout:
    words = result.stderr.decode(errors="replace").strip()
    raise datasets.MissingData(
      f"the program {program} printed no text ({words or 'no message'}): "
      "apt-get install bible-kjv bible-kjv-text."
    )
  return _check_kjv(result.stdout, program)


def _check_kjv(content, source):
  digest = hashlib.sha256(content).hexdigest()
  if digest != KJV_SHA256:
    raise ValueError(
      f"{source} is not the text of Debian's bible-kjv 4.39: {len(content)} "
      f"bytes with sha256 {digest} where {KJV_BYTES} with {KJV_SHA256} are "
      "expected. Results on it cannot be compared."
    )
  return content


def split_tokens(
  data: bytes | np.ndarray, valid: float = 0.05, test: float = 0.05
) -> tuple[datasets.ArrayDataset, datasets.ArrayDataset, datasets.ArrayDataset]:
  """Splits a corpus in its own order.

  Args:
    data: bytes, or tokens (n,).
    valid: share of the validation part, next to last.
    test: share of the test part, the last.

  Returns:
    Training, validation and test parts: inputs and targets (1, n). A part's
    first input is the last byte or token of the part before it.

  Raises:
    ValueError: if a part would be empty.
  """
  if isinstance(data, bytes):
    data = np.frombuffer(data, np.uint8)
  first = len(data) - round((valid + test) * len(data))
  second = len(data) - round(test * len(data))
  if not 1 < first < second < len(data):
    raise ValueError(
      f"valid and test: got {valid} and {test}, expected positive shares that "
      f"leave bytes to each part of the {len(data)}."
    )
  return tuple(
    datasets.ArrayDataset(
      data[None, start - 1 : end - 1], data[None, start:end]
    )
    for start, end in ((1, first), (first, second), (second, len(data)))
  )


def kjv(
  path: str | os.PathLike | None = None, documents: str | None = None
) -> datasets.Splits:
  """Loads the King James Bible as bytes.

  Args:
    path: see `kjv_bytes`.
    documents: "book" or "chapter": these are documents, which are
      shuffled and not cut, see `split_documents`. One text if None.

  Returns:
    The splits: inputs and targets (1, bytes) uint8, with document_starts if
    there are documents.

  Raises:
    ValueError: if the text is another, or has no such documents.
    MissingData: if the text is missing.
  """
  content = kjv_bytes(path)
  if documents is None:
    parts = split_tokens(content)
  else:
    parts = split_documents(_documents_of_bible(content, documents))
  info = datasets.Info(
    "The King James Bible byte by byte; which byte is next?",
    "Debian's bible-kjv 4.39",
    "public domain",
    num_classes=256,
    vocab_size=256,
    # Bits per byte: gzip and bzip2 on the whole text, 5-grams on the test part.
    baselines={"gzip -9": 2.37, "bzip2": 1.70, "5-gram": 2.27},
  )
  return datasets.Splits(*parts, info)


def _documents_of_bible(content: bytes, level: str) -> list[bytes]:
  """Cuts the King James Bible, a verse per line, at one of `BIBLE_LEVELS`."""
  validate.choice("documents", level, BIBLE_LEVELS)
  depth = BIBLE_LEVELS.index(level) + 1
  documents, before = [], None
  for number, line in enumerate(content.splitlines(keepends=True), 1):
    match = _PLACE.match(line)
    if match is None:
      expected = "a place at its beginning, such as 'Ge1:1'"
      raise validate.error(f"line {number} of the text", line[:20], expected)
    place = match.groups()[:depth]
    if place != before:
      documents.append([])
    documents[-1].append(line)
    before = place
  return [b"".join(lines) for lines in documents]


def bible_chapters(content: bytes) -> list[list[list[str]]]:
  """Returns the verses by book and chapter, without their references.

  Raises:
    ValueError: if a line does not begin with a reference.
  """

  def verses(chapter):
    lines = chapter.decode("ascii").splitlines()
    return [line.partition(" ")[2].strip() for line in lines]

  return [
    list(map(verses, _documents_of_bible(book, "chapter")))
    for book in _documents_of_bible(content, "book")
  ]


def split_documents(
  documents: Sequence[bytes | np.ndarray],
  valid: float = 0.05,
  test: float = 0.05,
  seed: int = 0,
) -> tuple[datasets.ArrayDataset, datasets.ArrayDataset, datasets.ArrayDataset]:
  """Splits documents at random; extras.document_starts marks their starts."""
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


def _python_documents(root):
  """Returns (name, content) of each source file, sorted by name."""
  folder = root
  root = pathlib.Path(root or sysconfig.get_path("stdlib"))
  # Installed packages and caches are not part of the library.
  skipped = {"__pycache__", "dist-packages", "site-packages"}
  paths = {
    path.relative_to(root).as_posix(): path
    for path in root.rglob("*.py")
    if not skipped & set(path.relative_to(root).parts[:-1])
  }
  if not paths:
    raise datasets.MissingData(
      f"{root} has no Python source files: install Python's standard library, "
      "or give its folder as root."
    )
  if folder is not None:
    # The running interpreter's own library may have its files elsewhere.
    for path in paths.values():
      limits.check_within(path, root)
  return [(name, limits.read_bytes(paths[name])) for name in sorted(paths)]


def _manifest_digest(manifest: Iterable[tuple[str, str]]) -> str:
  """Returns one sha256 for a manifest, to be stated with results."""
  lines = "".join(f"{digest}  {name}\n" for name, digest in manifest)
  return hashlib.sha256(lines.encode()).hexdigest()


def python_source(
  root: str | os.PathLike | None = None,
  digest: str | None = None,
  documents: bool = False,
) -> datasets.Splits:
  """Loads Python's standard library as bytes.

  Args:
    root: folder of the library; that of the running interpreter if None.
    digest: digest that the manifest must have; the corpus differs between
      interpreters, so a comparison should state it. Not checked if None.
    documents: whether files are documents, of very different lengths, which are
      shuffled and not cut, see `split_documents`.

  Returns:
    The splits: inputs and targets (1, bytes) uint8, with document_starts if
    there are documents. info has the manifest and its digest.

  Raises:
    ValueError: if the manifest has another digest.
    MissingData: if there are no source files.
  """
  files = _python_documents(root)
  manifest = tuple(
    (name, hashlib.sha256(content).hexdigest()) for name, content in files
  )
  corpus_digest = _manifest_digest(manifest)
  if digest is not None and digest != corpus_digest:
    raise ValueError(
      f"digest: got {digest}, expected that of the {len(manifest)} files "
      f"found, {corpus_digest}: another version of Python has another corpus."
    )
  pieces = [f"# {name}\n".encode() + content for name, content in files]
  if documents:
    parts = split_documents(pieces)
  else:
    parts = split_tokens(b"".join(pieces))
  info = datasets.Info(
    "Python source code byte by byte; which byte is next?",
    "the standard library of the running Python",
    "PSF-2.0",
    num_classes=256,
    vocab_size=256,
    manifest=manifest,
    digest=corpus_digest,
  )
  return datasets.Splits(*parts, info)
