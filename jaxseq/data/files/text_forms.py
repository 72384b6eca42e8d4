"""Formats of text tables: encoding, separators, and compression.

Options that are None are detected in the content of a file, and the log names
the result. Files are read through `opened`, which bounds the size of compressed
ones.
"""

import codecs
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import csv
import dataclasses
import functools
import io
import os
import pathlib
import re
from typing import Any
from typing import NamedTuple

from absl import logging

from jaxseq import validate
from jaxseq.data.files import _compressed
from jaxseq.data.files import columns

_SAMPLE, _PIECE = 2**16, 2**20
# Text codecs that are not character sets, or that are slow.
_NO_SETS = ("idna", "punycode", "utf-7", "unicode-escape", "raw-unicode-escape")
# Bytes that never occur in Western Windows texts.
_ODD = bytes((*range(9), 11, *range(14, 32), 127, 0x81, 0x8D, 0x8F, 0x90, 0x9D))
_COMMA = re.compile(
  r"[+-]?(?:[0-9]{1,3}(?:\.[0-9]{3})+|[0-9]*),[0-9]+(?:[eE][+-]?[0-9]+)?"
)
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+")
# The first line of Excel's files that names the delimiter.
_STATED = re.compile(r'"?sep=([^\r\n"])"?\r?\n', re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


@dataclasses.dataclass(frozen=True)
class Form:
  """Format of text tables; None for fields to detect in the content.

  Attributes:
    delimiter: between values, such as ";".
    encoding: such as "cp1252"; UTF-8 is tried first.
    decimal: decimal sign, "." or ",".
    date_format: of dates that are not written as 2024-01-31, such as
      "%d.%m.%Y", in the codes of `datetime.strptime`.
  """

  delimiter: str | None = None
  encoding: str | None = None
  decimal: str | None = None
  date_format: str | None = None

  def __post_init__(self):
    sign = self.delimiter
    if sign is not None and (len(sign) != 1 or sign in '"\r\n'):
      raise validate.error("delimiter", sign, "one character, such as ';'")
    validate.choice("decimal", self.decimal, (None, ".", ","))
    if self.encoding is not None:
      try:
        name = codecs.lookup(self.encoding).name
        if name in _NO_SETS or "".encode(self.encoding) is None:
          raise LookupError(name)
      except (LookupError, ValueError):
        expected = "the name of a character set, such as 'cp1252'"
        raise validate.error("encoding", self.encoding, expected) from None
    date = self.date_format
    if date is not None and not ("%" in date and len(date) < 64):
      expected = "signs of strptime, such as '%d.%m.%Y'"
      raise validate.error("date_format", date, expected)


# The form in which all fields are detected.
OPEN = Form()


def fields(
  delimiter: str | None,
  encoding: str | None,
  decimal: str | None,
  date_format: str | None,
) -> dict[str, Any]:
  """Returns the checked fields of a `Form` by name, for source fields."""
  form = Form(delimiter, encoding, decimal, date_format)
  return dataclasses.asdict(form)


class Text(NamedTuple):
  """Format of one file.

  Attributes:
    delimiter: between values.
    encoding: encoding of the text.
    decimal: decimal sign.
    compression: such as "gzip"; None for an uncompressed text.
    stated: whether the first line only names the delimiter, as in "sep=;".
  """

  delimiter: str
  encoding: str
  decimal: str
  compression: str | None
  stated: bool


def of_file(path: pathlib.Path, form: Form) -> Text:
  """Returns the format of a file, from the options or else its content.

  Raises:
    ValueError: if the file is a workbook, or is damaged.
    OSError: if it cannot be read.
  """
  state = os.stat(path)
  return _of_content(path, (state.st_mtime_ns, state.st_size), form)


@contextlib.contextmanager
def opened(path: pathlib.Path, form: Form) -> Iterator[columns.Lines]:
  """Opens a table; ValueErrors in the block name the current line."""
  text = of_file(path, form)
  with _compressed.opened(path) as (content, _):
    wrapped = io.TextIOWrapper(
      content, text.encoding, errors="replace", newline=""
    )
    with columns.lines(path, text=wrapped, blank=True) as lines:
      if text.stated:
        next(lines)
      yield lines


def with_points(
  path: pathlib.Path, lines: Sequence[int], words: Sequence[str], name: str
) -> list[str]:
  """Replaces decimal commas by points in a column of numbers.

  Raises:
    ValueError: if a number has a point that no comma follows.
  """
  changed = []
  for line, word in zip(lines, words):
    if _COMMA.fullmatch(word.strip()):
      word = word.replace(".", "").replace(",", ".")
    elif "." in word:
      raise ValueError(
        f"{path}, line {line}: column {name!r}: got {word[:40]!r}, expected a "
        "number with a decimal comma and without points. Write all numbers in "
        "one form; if points stand before decimals, give the option decimal = "
        "'.'."
      )
    changed.append(word)
  return changed


def hint(word: str) -> str:
  """Returns advice for a number with a comma; "" for other words."""
  if not _COMMA.fullmatch(word.strip()):
    return ""
  return (
    " If commas stand before decimals, give the option decimal = ','; if they "
    "stand between thousands, leave them out."
  )


@functools.lru_cache(256)
def _of_content(path, state, form):
  """Returns the format of a file; cached by its modification time and size."""
  del state
  with _compressed.opened(path) as (content, compression):
    encoding, head = _encoding(content, form.encoding)
  sample = head.decode(encoding, "replace")
  if len(head) == _SAMPLE:
    sample = sample.rpartition("\n")[0] or sample
  plain = pathlib.Path(path.stem) if compression else path
  usual = "\t" if plain.suffix == ".tsv" else ","
  stated = _STATED.match(sample)
  if stated:
    sample = sample[stated.end() :]
  found = stated[1] if stated else _delimiter(sample, usual)
  delimiter = form.delimiter or found
  decimal = form.decimal or _decimal(sample, delimiter)
  parts = [f"by {compression}"] if compression else []
  if not form.encoding and encoding != "utf-8-sig":
    parts.append(f"in {encoding}")
  if not form.delimiter and delimiter != usual:
    sign = "tabs" if delimiter == "\t" else repr(delimiter)
    parts.append(f"with {sign} between values")
  if not form.decimal and decimal == ",":
    parts.append("with decimal commas")
  if parts:
    logging.warning(
      "%s: read as a table %s, by its content; if that is wrong, give the"
      " options encoding, delimiter and decimal.",
      *(path, ", ".join(parts)),
    )
  return Text(delimiter, encoding, decimal, compression, bool(stated))


def _encoding(content, given):
  """The encoding of a byte stream, and its first bytes."""
  head = content.read(_SAMPLE)
  if given is not None:
    utf8 = codecs.lookup(given).name == "utf-8"
    return "utf-8-sig" if utf8 else given, head
  if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
    return "utf-16", head
  decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
  broken = letters = odd = False
  piece = head
  while piece:
    text = decoder.decode(piece)
    if not text.isascii():
      broken |= "\ufffd" in text
      letters |= not text.replace("\ufffd", "").isascii()
      odd |= any(map(piece.__contains__, _ODD))
    piece = content.read(_PIECE)
  broken |= bool(decoder.decode(b"", True))
  # Valid UTF-8 letters among other bytes mean a damaged UTF-8 file.
  guessed = broken and not letters and not odd
  return "cp1252" if guessed else "utf-8-sig", head


def _delimiter(sample, usual):
  """The character between the names in the first line."""
  names = next((row for row in _rows(sample, usual) if any(row)), [])
  if len(names) == 1:
    for sign in (";", "\t", "|", ","):
      if sign in names[0]:
        return sign
  return usual


def _decimal(sample, delimiter):
  """The decimal sign: a comma if columns of numbers have commas."""
  rows = [row for row in _rows(sample, delimiter) if any(row)][1:]
  width = len(rows[0]) if rows else 0
  commas, points = [], False
  for column in zip(*(row for row in rows if len(row) == width)):
    words = [word.strip() for word in column]
    words = [word for word in words if word not in columns.MISSING]
    some = [word for word in words if _COMMA.fullmatch(word)]
    rest = [word for word in words if not _COMMA.fullmatch(word)]
    if all(map(_NUMBER.fullmatch, rest)):
      commas += some
      points |= any("." in word for word in rest)
  # 1,234 may be a thousand, unless commas cannot be separators.
  unclear = delimiter != ";" and all(map(_THOUSANDS.fullmatch, commas))
  return "," if commas and not points and not unclear else "."


def _rows(sample, delimiter):
  """Parses the rows of a text until the first error."""
  rows: list[list[str]] = []
  with contextlib.suppress(csv.Error):
    for row in csv.reader(io.StringIO(sample, ""), delimiter=delimiter):
      rows.append(row)
  return rows
