"""Compressed files, detected by their first bytes and read within bounds."""

import bz2
from collections.abc import Iterator
import contextlib
import gzip
import io
import lzma
import os
import pathlib
from typing import IO
import zipfile
import zlib

from jaxseq import limits
from jaxseq.data import packages

# Suffixes that are not part of a table's own name.
SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zip")
_KINDS = {
  b"\x1f\x8b": "gzip",
  b"BZh": "bzip2",
  b"\xfd7zXZ\x00": "xz",
  b"\x28\xb5\x2f\xfd": "zstd",
  b"PK\x03\x04": "zip",
}
# First bytes of Excel workbooks before 2007; later ones are zip files.
_OLD_WORKBOOK = b"\xd0\xcf\x11\xe0"
# Errors of damaged files, besides those of pyarrow, which are OSErrors.
_ERRORS = (
  EOFError,
  NotImplementedError,
  OSError,
  RuntimeError,
  lzma.LZMAError,
  zipfile.BadZipFile,
  zlib.error,
)


class _Bounded(io.RawIOBase):
  """A stream that raises if it grows out of proportion to its file."""

  def __init__(self, stream, path, size, kind):
    self._stream, self._path, self._size = stream, path, size
    self._kind, self._count = kind, 0

  def readable(self) -> bool:
    return True

  def readinto(self, buffer) -> int:
    try:
      piece = self._stream.read(len(buffer))
    except _ERRORS as error:
      raise _damaged(self._path, self._kind, error) from error
    self._count += len(piece)
    limits.check_growth(self._path, self._count, self._size)
    buffer[: len(piece)] = piece
    return len(piece)


def _damaged(path, kind, error):
  said = " ".join(str(error).split()).rstrip(".")
  return ValueError(f"{path} is no whole {kind} file: {said}.")


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[tuple[IO[bytes], str | None]]:
  """Opens the content of a file, and names its compression, if any.

  Raises:
    ValueError: if the file is a workbook, damaged, or a zip file of several
      files; while reading, if it is damaged or grows out of proportion.
    MissingData: if pyarrow is needed and not installed.
    OSError: if the file cannot be opened.
  """
  with open(path, "rb", opener=limits.regular) as file:
    head = file.read(8)
    file.seek(0)
    if head.startswith(_OLD_WORKBOOK):
      raise _workbook(path)
    matches = [x for sign, x in _KINDS.items() if head.startswith(sign)]
    if not matches:
      yield file, None
      return
    (kind,) = matches
    try:
      stream = _OPENERS[kind](path, file)
    except _ERRORS as error:
      raise _damaged(path, kind, error) from error
    size = os.fstat(file.fileno()).st_size
    with stream:
      bounded = _Bounded(stream, path, size, kind)
      yield io.BufferedReader(bounded, 2**20), kind


def _zstd(path, file):
  """Returns a decompressing stream of an open file."""
  arrow = packages.imported(
    "pyarrow", "jaxseq[table]", f"{path} is compressed by zstd"
  )
  return arrow.CompressedInputStream(arrow.PythonFile(file), "zstd")


def _zip(path, file):
  """Returns a stream of the only file in an open archive."""
  whole = zipfile.ZipFile(file)
  names = whole.namelist()
  if "[Content_Types].xml" in names:
    raise _workbook(path)
  names = [x for x in names if not x.endswith("/") and "__MACOSX" not in x]
  if len(names) != 1:
    raise ValueError(
      f"{path}: got {len(names)} files in a zip file, expected one table. "
      "Unpack it, and give the folder."
    )
  return whole.open(names[0])


# Functions of a path and its open file that return a decompressing stream.
_OPENERS = {
  "gzip": lambda path, file: gzip.open(file),
  "bzip2": lambda path, file: bz2.open(file),
  "xz": lambda path, file: lzma.open(file),
  "zstd": _zstd,
  "zip": _zip,
}


def _workbook(path):
  return ValueError(
    f"{path}: got a workbook of Excel, expected a text. Save its sheet as CSV."
  )
