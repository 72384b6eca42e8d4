"""Rows of text tables: names in the first line, then values."""

from collections.abc import Iterator
import csv
import pathlib

from jaxseq.data.files import text_forms

# Number of rows to convert at a time.
CHUNK = 2**14


def names(path: pathlib.Path, form: text_forms.Form) -> list[str]:
  """Returns the column names in the first line."""
  delimiter = text_forms.of_file(path, form).delimiter
  with text_forms.opened(path, form) as lines:
    found = [x.strip() for x in _first(csv.reader(lines, delimiter=delimiter))]
    _check_letters(found)
    return found


def chunks(
  path: pathlib.Path, width: int, form: text_forms.Form
) -> Iterator[tuple[list[int], list[list[str]]]]:
  """Yields chunks of rows with their line numbers."""
  delimiter = text_forms.of_file(path, form).delimiter
  numbers, rows, blank = [], [], []
  with text_forms.opened(path, form) as lines:
    reader = csv.reader(lines, delimiter=delimiter)
    _first(reader)
    for row in reader:
      if _is_blank(row):
        blank.append(lines.number)
        continue
      if width == 1:
        # Blank lines are rows with a missing value, unless the file ends.
        numbers += blank
        rows += [[""]] * len(blank)
      blank = []
      if len(row) != width:
        raise ValueError(f"got {len(row)} of {width} entries.")
      _check_letters(row)
      numbers.append(lines.number)
      rows.append(row)
      if len(rows) >= CHUNK:
        yield numbers, rows
        numbers, rows = [], []
  if rows:
    yield numbers, rows


def _first(reader):
  """Returns the first non-blank row, or an empty one."""
  return next((row for row in reader if not _is_blank(row)), [])


def _is_blank(row):
  """True for an empty line; a quoted empty text is an entry."""
  return not row or (len(row) == 1 and row[0].isspace())


def _check_letters(words):
  """Rejects entries with bytes of another encoding."""
  if any("\ufffd" in word for word in words):
    raise ValueError(
      "got bytes that are no UTF-8, expected such a text. Give the option "
      "encoding, such as 'cp1252'."
    )
