"""Event sequences in files with a row per sequence: lists of times and marks.

EasyTPP has `time_since_start` and `type_event`, in JSON (lines, or one array)
or in a pickle, which is never unpickled: a dict with `dim_process` and for each
part a list of sequences, each a list of dicts, one per event. HoTPP has Parquet
files with `timestamps` and `labels`.
"""

from collections.abc import Mapping
import glob
import os
import pathlib
from typing import Any
from typing import NamedTuple

import numpy as np

from jaxseq import _json
from jaxseq import limits
from jaxseq import validate
from jaxseq.data import _event_streams
from jaxseq.data import _part_splits
from jaxseq.data import datasets
from jaxseq.data import pickles
from jaxseq.data.files import _parquet_files
from jaxseq.data.files import table_files

_PICKLES = (".pkl", ".pickle")
_TEXTS = (".json", ".jsonl")
SUFFIXES = (*_PICKLES, *_TEXTS, *_parquet_files.SUFFIXES)
# Default columns of times and marks: EasyTPP's and HoTPP's.
_USUAL = (("time_since_start", "type_event"), ("timestamps", "labels"))
# The number of marks, in each row.
_MARKS = "dim_process"
_PARTS = ("train", "dev", "test")
# Most kinds of events; each becomes a name.
_MOST = 2**20


class _Rows(NamedTuple):
  """Rows of a file, or of a part of one: columns of lists or values."""

  name: str
  split: str
  columns: Mapping[str, list[Any]]


class Lists(NamedTuple):
  """Event sequences and the number of marks.

  Attributes:
    streams: each begins with its first event, at 0; `words` has their "split",
      which may be empty.
    num_marks: number in the files, or one more than the greatest mark.
    time: column of the times.
    mark: column of the marks.
  """

  streams: _event_streams.Streams
  num_marks: int
  time: str
  mark: str


def read(
  path: str | os.PathLike,
  *,
  time: str | None = None,
  mark: str | None = None,
  stream: str | None = None,
  ties: _event_streams.Ties = "refuse",
) -> Lists:
  """Reads sequences; `stream` is a column of names, if there is one.

  Raises:
    ValueError: naming the file, row and column with an invalid value.
    MissingData: if there is no file.
  """
  parts = [rows for file in _find(path) for rows in _contents(file)]
  names = set().union(*(rows.columns for rows in parts))
  usual = next((pair for pair in _USUAL if pair[0] in names), _USUAL[0])
  time, mark = time or usual[0], mark or usual[1]
  table = _places(parts, time)
  times, marks, ids, splits, most, row = [], [], [], [], [0], 0
  for rows in parts:
    for name in (time, mark, *([stream] if stream else [])):
      if name not in rows.columns:
        raise ValueError(
          f"{rows.name}: there is no column {name!r}, expected one of "
          f"{', '.join(map(repr, sorted(rows.columns)))}."
        )
    for number, (stamps, kinds) in enumerate(
      zip(rows.columns[time], rows.columns[mark])
    ):
      at = _array(stamps, table.place(row, time), float)
      kind = _array(kinds, table.place(row, mark), int)
      if len(kind) != len(at):
        raise ValueError(
          f"{table.place(row, mark)}: got {len(kind)} marks, expected "
          f"{len(at)}, as many as times."
        )
      if _MARKS in rows.columns:
        size = rows.columns[_MARKS][number]
        validate.number(f"{table.place(row, mark)}: {_MARKS}", size, 1, _MOST)
        if kind.max() >= size:
          raise ValueError(
            f"{table.place(row, mark)}: got the mark {kind.max()}, expected "
            f"marks below {size}, the {_MARKS}."
          )
        most.append(int(size))
      most.append(int(kind.max()) + 1)
      times.append(at - at[0])
      marks.append(list(map(str, kind.tolist())))
      ids.append(str(rows.columns[stream][number] if stream else row))
      splits.append(rows.split)
      row += 1
  for number, at in enumerate(times):
    if (np.diff(at) < 0).any():
      event = int(np.argmin(np.diff(at) >= 0)) + 1
      raise ValueError(
        f"{table.place(number, time)}: got {at[event]:g} after "
        f"{at[event - 1]:g} as the time of event {event}, expected times that "
        "increase."
      )
  streams = _event_streams.Streams(
    tuple(ids),
    times,
    marks,
    {"split": splits},
    [np.full(len(at), number) for number, at in enumerate(times)],
    table,
  )
  streams = _event_streams.apart(streams, time, ties)
  return Lists(streams, max(most), time, mark)


def _find(path):
  """The files of a folder or pattern, or the one file."""
  place = pathlib.Path(path)
  if place.is_dir():
    files = sorted(f for f in place.iterdir() if f.suffix in SUFFIXES)
    for file in files:
      limits.check_within(file, place)
  else:
    files = sorted(map(pathlib.Path, glob.glob(str(path))))
  if not files:
    raise datasets.MissingData(
      f"there is no file {path}: expected one, or a folder of some that end in "
      f"{', '.join(SUFFIXES)}."
    )
  return files


def _contents(path):
  """Yields the rows of a file by parts; its name may name its part."""
  split = next(
    (word for word in _part_splits.WORDS if path.stem.lower().startswith(word)),
    "",
  )
  if path.suffix in _parquet_files.SUFFIXES:
    yield _Rows(str(path), split, _parquet(path))
    return
  try:
    content = limits.read_bytes(path)
    if path.suffix in _PICKLES:
      parts = _pickled(content)
    else:
      parts = {"": _dicts(content)}
  except (ValueError, UnicodeDecodeError) as error:
    kind = "pickle" if path.suffix in _PICKLES else "JSON"
    raise ValueError(f"{path} is no {kind} of sequences: {error}.") from error
  wanted = split if split in parts else None
  for name, rows in parts.items():
    if rows and (wanted is None or name == wanted):
      place = f"{path}: {name}" if name else str(path)
      columns = _columns(place, rows)
      yield _Rows(place, name or split, columns)


def _dicts(content):
  """The rows of a JSON text."""
  text = content.decode()
  if text.lstrip().startswith("["):
    return _json.loads(text)
  return [_json.loads(line) for line in text.splitlines() if line.strip()]


def _pickled(content):
  """The rows of each part of a pickle of EasyTPP."""
  whole = pickles.loads(content)
  if not isinstance(whole, dict):
    raise ValueError("it is no dict")
  parts, total = {}, 0
  for name in _PARTS:
    parts[name] = rows = []
    for events in whole.get(name) or ():
      if not isinstance(events, list) or not events:
        raise ValueError(f"a sequence of {name!r} is no list of events")
      total += len(events)
      # A pickle may refer to one list many times.
      if total > len(content):
        raise ValueError("it has more events than bytes")
      if not all(isinstance(event, dict) for event in events):
        raise ValueError(f"an event of {name!r} is no dict")
      row = {
        key: [event.get(key) for event in events]
        for key in ("time_since_start", "type_event")
        if key in events[0]
      }
      if _MARKS in whole:
        row[_MARKS] = whole[_MARKS]
      rows.append(row)
  if not any(parts.values()):
    raise ValueError(f"it has none of the parts {', '.join(_PARTS)}")
  return parts


def _columns(place, rows):
  """Columns of rows that are dicts with the same names."""
  if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
    raise ValueError(f"{place}: got other rows, expected objects with names.")
  for number, row in enumerate(rows):
    if set(row) != set(rows[0]):
      name = sorted(set(row) ^ set(rows[0]))[0]
      raise ValueError(
        f"{place}, row {number}: got a column {name!r} here or in row 0 alone, "
        "expected the same columns in all."
      )
  return {name: [row[name] for row in rows] for name in rows[0]}


def _parquet(path):
  """Columns of a Parquet file, lists as arrays."""
  columns = {}
  with _parquet_files.opened(path) as file:
    held = os.path.getsize(path)
    metadata = file.metadata
    size = sum(
      metadata.row_group(n).total_byte_size
      for n in range(metadata.num_row_groups)
    )
    limits.check_growth(path, size + 8 * metadata.num_rows, held)
    table = file.read()
    table.validate(full=True)
    for name in table.column_names:
      column = table.column(name).combine_chunks()
      if not hasattr(column, "offsets"):
        columns[name] = column.to_pylist()
        continue
      # The ranges of missing lists are empty.
      values = column.values.to_numpy(zero_copy_only=False)
      ends = column.offsets.to_numpy()
      columns[name] = [values[a:b] for a, b in zip(ends, ends[1:])]
  return columns


def _places(parts, time):
  """A table that locates each row by its number in its file."""
  counts = [len(rows.columns.get(time, ())) for rows in parts]
  return table_files.Table(
    {},
    {},
    (),
    # For texts the table would report lines, which are not rows here.
    tuple(rows.name for rows in parts),  # pyrefly: ignore
    np.repeat(np.arange(len(parts)), counts),
    np.concatenate([np.arange(count) for count in counts]),
  )


def _array(values, place, kind):
  """Converts a non-empty list of numbers to int64 or float64."""
  try:
    array = np.asarray(values, np.float64)
  except (TypeError, ValueError) as error:
    raise ValueError(f"{place}: got no list of numbers.") from error
  if array.ndim != 1 or not len(array):
    raise ValueError(f"{place}: got no event, expected a list with some.")
  wrong = ~np.isfinite(array)
  if kind is int:
    wrong |= (array < 0) | (array != np.round(array)) | (array >= _MOST)
  if wrong.any():
    event = int(np.argmax(wrong))
    expected = "a whole number from 0 on" if kind is int else "a finite number"
    raise ValueError(
      f"{place}: got {array[event]:g} for event {event}, expected {expected}."
    )
  return array.astype(np.int64) if kind is int else array
