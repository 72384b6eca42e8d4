"""Tables in CSV and Parquet files, one or several with the same columns.

A CSV file has a line of names, then a line for each row, with values between
commas (tabs in a .tsv file), as UTF-8; other formats, and compressed files, see
`text_forms`. A value is missing if it is empty, or NA, NaN, NULL or the like;
True and False are numbers, too. A blank line is a missing value in a table with
one column; otherwise it is skipped. Parquet files need the package pyarrow, the
extra "table". A frame of pandas, or one that Arrow can read, such as polars',
can replace a file; pandas is not imported for that.
"""

from collections.abc import Sequence
import difflib
import glob
import os
import pathlib
from typing import Any
from typing import NamedTuple

import numpy as np

from jaxseq import limits
from jaxseq import validate
from jaxseq.data import datasets
from jaxseq.data import series_frames
from jaxseq.data.files import _compressed
from jaxseq.data.files import _parquet_files
from jaxseq.data.files import _text_rows
from jaxseq.data.files import columns as text_columns
from jaxseq.data.files import text_forms

SUFFIXES = (".csv", ".tsv", ".parquet", ".pq")
# Most column names in a message.
_LISTED = 20


# Frames are allowed, too, but their type would need pandas.
Path = str | os.PathLike | Sequence[str | os.PathLike]


class Frame:
  """Reads a frame like a file; named index levels become columns."""

  suffix, stem = "", "frame"

  def __init__(self, frame: Any):
    frame = series_frames.of_pandas(frame)
    names = [name for name in frame.index.names if name is not None]
    if names and not set(names) & set(frame.columns):
      frame = frame.reset_index()
    self.names = tuple(map(str, frame.columns))
    self._frame = frame

  def __str__(self) -> str:
    return self.stem

  def __len__(self) -> int:
    return len(self._frame)

  def words(self, name: str) -> list[str]:
    """Returns a column as a text file would have it."""
    column = self._frame.iloc[:, self.names.index(name)]
    return [
      "" if lacks else str(value).strip()
      for value, lacks in zip(column, column.isna())
    ]

  def numbers(self, name: str) -> np.ndarray | None:
    """Returns a column as float64; None if it does not hold numbers."""
    column = self._frame.iloc[:, self.names.index(name)]
    if getattr(column.dtype, "kind", "O") not in "iufb":
      return None
    return column.to_numpy(np.float64, na_value=np.nan)


class Table(NamedTuple):
  """Columns of rows, and the location of each row.

  Attributes:
    numbers: arrays (rows,) float64 by column, NaN where a value is missing.
    words: lists (rows,) of str by column, stripped.
    names: all columns of the first file, in its order.
    files: the files.
    file: (rows,) index of the row's file.
    line: (rows,) line in a text file; row number from 0 on in a Parquet file.
  """

  numbers: dict[str, np.ndarray]
  words: dict[str, list[str]]
  names: tuple[str, ...]
  files: tuple[pathlib.Path, ...]
  file: np.ndarray
  line: np.ndarray

  def place(self, row: int, column: str | None = None) -> str:
    """Returns the location of an entry, for messages."""
    path = self.files[self.file[row]]
    text = (
      isinstance(path, pathlib.Path)
      and path.suffix not in _parquet_files.SUFFIXES
    )
    word = "line" if text else "row"
    position = f"{path}, {word} {self.line[row]}"
    return position if column is None else f"{position}: column {column!r}"


def check_named(table: Table, column: str, noun: str) -> None:
  """Rejects empty entries in a column of names.

  Args:
    table: table with the words of the column.
    column: name of the column.
    noun: the named thing for the message, such as "a user".

  Raises:
    ValueError: naming the place of the first empty entry.
  """
  words = table.words[column]
  if "" in words:
    place = table.place(words.index(""), column)
    raise ValueError(f"{place}: got nothing, expected the name of {noun}.")


def find(path: Path) -> tuple[pathlib.Path, ...]:
  """Finds the files of a path, in order.

  Args:
    path: a file, a folder of tables, a pattern such as "runs/*.csv", or several
      of them; or a frame.

  Raises:
    MissingData: if there is no such file.
    ValueError: if a file of a folder leads out of it, or is of no known kind.
  """
  if series_frames.is_frame(path):
    return (Frame(path),)
  if not isinstance(path, str | os.PathLike):
    matches = [file for one in path for file in find(one)]
    if not matches:
      raise validate.error("path", path, "at least one file")
    return tuple(matches)
  place = pathlib.Path(path)
  if place.is_dir():
    files = sorted(
      file
      for file in place.iterdir()
      if _suffix(file) in SUFFIXES and file.is_file()
    )
    for file in files:
      limits.check_within(file, place)
  elif place.is_file():
    files = [place]
  else:
    files = sorted(map(pathlib.Path, glob.glob(str(path), recursive=True)))
    files = [file for file in files if file.is_file()]
  if not files:
    raise datasets.MissingData(
      f"there is no table {path}: expected a file that is there, or a folder "
      f"or pattern of files that end in {', '.join(SUFFIXES)}."
    )
  return tuple(files)


def _suffix(file):
  """The suffix of a file's name, without that of a compression."""
  packed = file.suffix in _compressed.SUFFIXES
  return pathlib.Path(file.stem).suffix if packed else file.suffix


def describe(path: Path) -> str:
  """Describes a path, or several, for messages."""
  if series_frames.is_frame(path):
    return Frame.stem
  if isinstance(path, str | os.PathLike):
    return str(path)
  return ", ".join(map(describe, path))


def header(
  path: str | os.PathLike, form: text_forms.Form = text_forms.OPEN
) -> tuple[str, ...]:
  """Returns the names of a file's columns.

  Args:
    path: the file.
    form: see `read`.

  Raises:
    ValueError: if the names are empty or repeated.
  """
  if isinstance(path, Frame):
    return _checked_names(path, path.names)
  path = pathlib.Path(path)
  if path.suffix in _parquet_files.SUFFIXES:
    with _parquet_files.opened(path) as file:
      return _checked_names(path, file.schema_arrow.names)
  names = _text_rows.names(path, form)
  return _checked_names(f"{path}, line 1", names)


def read(
  paths: Sequence[pathlib.Path],
  words: Sequence[str] = (),
  numbers: Sequence[str] | None = None,
  optional: Sequence[str] = (),
  form: text_forms.Form = text_forms.OPEN,
) -> Table:
  """Reads columns of tables with the same columns.

  Args:
    paths: the files, see `find`.
    words: columns to keep as text.
    numbers: columns of numbers; all others if None.
    optional: columns among them that may be absent from all files.
    form: format of texts; fields that are None are detected in their content.

  Returns:
    The rows of all files.

  Raises:
    ValueError: naming the line and column with an invalid value.
    MissingData: if pyarrow is not installed, and there are Parquet files.
  """
  first = header(paths[0], form)
  names = set(first)
  if numbers is None:
    numbers = [name for name in first if name not in set(words)]
  absent = {name for name in optional if name not in names}
  words = [name for name in words if name not in absent]
  numbers = [name for name in numbers if name not in absent]
  _check_columns(paths[0], (*words, *numbers), first)
  word_entries = {name: [] for name in words}
  values = {name: [] for name in numbers}
  file, line = [], []
  for index, path in enumerate(paths):
    header_row = header(path, form)
    _check_columns(path, (*words, *numbers), header_row)
    for lines, entries in _chunks(path, header_row, words, numbers, form):
      for name in words:
        word_entries[name] += entries[name]
      for name in numbers:
        values[name].append(entries[name])
      file.append(np.full(len(lines), index, np.int32))
      line.append(np.array(lines, np.int64))
  if not line:
    listed = ", ".join(map(str, paths))
    raise ValueError(f"{listed}: got no rows, expected at least one.")
  return Table(
    {name: np.concatenate(parts) for name, parts in values.items()},
    word_entries,
    first,
    tuple(paths),
    np.concatenate(file),
    np.concatenate(line),
  )


def first_row(
  path: Any, form: text_forms.Form = text_forms.OPEN
) -> dict[str, str]:
  """Returns the words of a file's first row by column; none without rows."""
  names = header(path, form)
  for _, entries in _chunks(path, names, names, (), form):
    return {name: words[0] for name, words in entries.items()}
  return {}


def texts(
  path: Path,
  item: str,
  text: Sequence[str],
  form: text_forms.Form = text_forms.OPEN,
  between: str = " ",
) -> dict[str, str]:
  """Returns the texts of items, by item name.

  Args:
    path: path of the table.
    item: column of the items.
    text: columns with words.
    form: format of the table.
    between: separator of the columns in a text; line breaks become spaces.
  """
  table = read(find(path), (item, *text), (), form=form)
  columns = (
    [word.replace("\n", " ") for word in table.words[name]] for name in text
  )
  return dict(zip(table.words[item], map(between.join, zip(*columns))))


def constant(
  table: Table, name: str, cut: Sequence[np.ndarray], ids: Sequence[str]
) -> list[str]:
  """Returns the entry of each series that all of its rows share.

  Args:
    table: the table.
    name: name of the column.
    cut: the rows of each series.
    ids: names of the series.

  Raises:
    ValueError: naming a row whose entry differs from the first.
  """
  entries = table.words[name]
  values = []
  for word, rows in zip(ids, cut):
    first = entries[rows[0]]
    for row in rows:
      if entries[row] != first:
        raise ValueError(
          f"{table.place(int(row), name)}: got {entries[row][:40]!r} where "
          f"{word!r} has {first[:40]!r} before, expected one entry for each "
          "series."
        )
    values.append(first)
  return values


def _check_names(names):
  """Checks that there are column names, without duplicates."""
  if not names:
    raise ValueError("got no line, expected the names of columns.")
  if len(set(names)) < len(names):
    seen = set()
    twice = next(n for n in names if n in seen or seen.add(n))
    raise ValueError(f"got the column {twice!r} twice, expected other names.")
  for place, name in enumerate(names):
    if not name:
      raise ValueError(
        f"column {place + 1} has no name, expected one; pandas leaves its "
        "index out with index=False."
      )
  return tuple(names)


def _check_columns(path, wanted, names):
  """Checks that a file has the columns; the error lists those it has."""
  column_names = set(names)
  name = next((name for name in wanted if name not in column_names), None)
  if name is None:
    return
  # Column names are short: "customer" is no typo of "user".
  close = difflib.get_close_matches(name, names, n=1, cutoff=0.75)
  hint = f" (did you mean {close[0]}?)" if close else ""
  raise ValueError(
    f"{path}: there is no column {name!r}, expected one of {_some(names)}"
    f"{hint}; options of the data say which column is which."
  )


def _chunks(path, names, words, numbers, form):
  """Yields line numbers and the parsed entries of each column."""
  if isinstance(path, Frame):
    if len(path):
      yield _frame_chunk(path, words, numbers)
    return
  if path.suffix in _parquet_files.SUFFIXES:
    yield from _parquet_files.chunks(path, words, numbers, _text_rows.CHUNK)
    return
  places = {name: place for place, name in enumerate(names)}
  commas = text_forms.of_file(path, form).decimal == ","
  for lines, rows in _text_rows.chunks(path, len(names), form):
    cells = list(zip(*rows))
    entries: dict[str, Any] = {
      name: [word.strip() for word in cells[places[name]]] for name in words
    }
    values = {name: cells[places[name]] for name in numbers}
    if commas:
      values = {
        name: text_forms.with_points(path, lines, entries, name)
        for name, entries in values.items()
      }
    _refuse_words(path, list(values.items()))
    for name in numbers:
      entries[name] = _floats(path, lines, values[name], name)
    yield lines, entries


def _frame_chunk(frame, words, numbers):
  """Returns the numbers of a frame's rows, and its parsed entries."""
  lines = list(range(len(frame)))
  entries: dict[str, Any] = {name: frame.words(name) for name in words}
  values = {name: frame.numbers(name) for name in numbers}
  others = {n: frame.words(n) for n, column in values.items() if column is None}
  _refuse_words(frame, list(others.items()))
  for name, column in values.items():
    if column is None:
      column = _floats(frame, lines, others[name], name)
    entries[name] = text_columns.finite(frame, lines, column, name)
  return lines, entries


def _refuse_words(path, entries):
  """Rejects number columns that hold only words, all in one error."""
  names = [
    name
    for name, words in entries
    if not all(word.strip() in text_columns.MISSING for word in words)
    and not any(map(_is_number, words))
  ]
  # The error for a single one is raised where the column is read.
  if len(names) > 1:
    first = next(word for word in dict(entries)[names[0]] if word.strip())
    hint = text_forms.hint(first).strip() or _no_channel(names)
    raise ValueError(
      f"{path}: got words in the columns {_some(names)}, expected numbers. "
      f"{hint}"
    )


def _no_channel(names):
  """Returns advice for columns of words."""
  return (
    "A column of words is no channel: give the option ignore = "
    f"{','.join(names[:_LISTED])!r}, or an option that says what it holds "
    "(id, label, series or known); or make columns of 0 and 1 of its words "
    "first, as pandas.get_dummies does."
  )


def _some(names):
  """Lists the first column names."""
  listed = ", ".join(map(repr, names[:_LISTED]))
  if len(names) > _LISTED:
    listed += f" and {len(names) - _LISTED} more"
  return listed


def _floats(path, lines, numbers, name):
  """Parses a column of numbers to (rows,) float64."""
  try:
    values = np.array(
      [
        float("nan" if word in text_columns.MISSING else word)
        for word in numbers
      ]
    )
    largest = np.nanmax(np.abs(values), initial=0)
    written = np.count_nonzero(np.isnan(values))
    missing = sum(word in text_columns.MISSING for word in numbers)
    if text_columns.holds(largest) and written == missing:
      if not any("_" in word for word in numbers):
        return values
  except ValueError:
    pass
  # Entry by entry, to find the invalid one.
  values = []
  for place, word in enumerate(numbers):
    try:
      values.append(text_columns.number(word, name))
    except ValueError as error:
      hint = text_forms.hint(word)
      if not hint and not any(map(_is_number, numbers)):
        hint = f" {_no_channel([name])}"
      word = "row" if isinstance(path, Frame) else "line"
      position = f"{path}, {word} {lines[place]}"
      raise ValueError(f"{position}: {error}{hint}") from error
  return np.array(values)


def _is_number(word):
  try:
    float(text_columns.TRUTH.get(word.strip(), word))
  except ValueError:
    return False
  return True


def _checked_names(path, names):
  """Checks and returns the names of a Parquet file's columns."""
  try:
    return _check_names(list(names))
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error
