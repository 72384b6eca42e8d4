"""Series in tables: one row per element ("long"), or one per series ("wide").

    id,time,x,y,label          id,x_0,x_1,x_2,y_0,y_1,y_2,label
    a,0.0,1.5,2,walk           a,1.5,1.7,1.6,2,2,3,walk
    a,0.5,1.7,2,walk           b,0.3,,,4,,,run
    b,0.0,0.3,4,run

Series may be of different lengths. In a wide table the columns of a channel are
its name and a number; without numbers all columns are one channel, in their
order. Steps after the last value are not part of a series.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import pathlib
import re
from types import MappingProxyType
from typing import Literal

import numpy as np

from jaxseq import validate
from jaxseq.data import _fields
from jaxseq.data import _row_groups
from jaxseq.data import _time_stamps
from jaxseq.data import recordings
from jaxseq.data import series_frames
from jaxseq.data.files import table_files
from jaxseq.data.files import text_forms

_NUMBERED = re.compile(r"(.*?)[ _.:/-]*([0-9]{1,9})")
_ONE_CHANNEL = "value"
# Usual names of columns that are not channels, and the options for them.
TIMES = dict.fromkeys(series_frames.TIMES, "time")
_ROLES = {
  **TIMES,
  **dict.fromkeys(("label", "class", "target"), "label"),
  **dict.fromkeys(("id", "series_id"), "id"),
  "split": "split",
}


@dataclasses.dataclass(frozen=True)
class Columns:
  """Names of columns that are not channels, and further options.

  Attributes:
    layout: "long", a row for each element in time, or "wide", for each series.
    id: column that names the series of a row. Without it each file of a long
      table is a series, and the rows of a wide one are numbered.
    time: column of time stamps, dates or numbers; long tables only. It sorts
      the elements of a series; otherwise they keep the order of the file.
    label: columns of the class, or of the number or numbers to predict.
    channels: columns to read, in order; all others if empty.
    ignore: columns to leave out.
    delimiter: between columns; if None a comma, or a tab in a .tsv file.
    encoding: of texts, such as "cp1252"; detected per file if None.
    decimal: decimal sign, "." or ","; detected per file if None.
    date_format: of dates, such as "%d.%m.%Y"; detected if None.
    window: length of consecutive chunks to cut series into; a shorter rest at
      the end is dropped. Whole series if None.
  """

  layout: Literal["long", "wide"] = "long"
  _: dataclasses.KW_ONLY
  id: str | None = None
  time: str | None = None
  label: tuple[str, ...] = ()
  channels: tuple[str, ...] = ()
  ignore: tuple[str, ...] = ()
  delimiter: str | None = None
  encoding: str | None = None
  decimal: str | None = None
  date_format: str | None = None
  window: int | None = None

  def __post_init__(self):
    for name in ("label", "channels", "ignore"):
      object.__setattr__(self, name, as_names(name, getattr(self, name)))
    validate.literals(self)
    _fields.check(self)
    if self.window is not None:
      validate.integer("window", self.window, 1)
    if self.layout == "wide" and self.time is not None:
      raise validate.error("time", self.time, "None for a wide table")
    used = [*self.label, *self.channels]
    used += [name for name in (self.id, self.time) if name is not None]
    if len(set(used)) < len(used):
      twice = next(name for name in used if used.count(name) > 1)
      raise ValueError(f"columns: got {twice!r} twice, expected one use of it.")

  @property
  def form(self) -> text_forms.Form:
    """Format of the tables."""
    return text_forms.Form(
      self.delimiter, self.encoding, self.decimal, self.date_format
    )


def as_names(name: str, value: object) -> tuple[str, ...]:
  """Converts one name, several or None to a tuple of names.

  Args:
    name: name of the option, for messages.
    value: a string of names with commas, a sequence of names, or None.

  Raises:
    ValueError: if the value is of another type.
  """
  if value is None:
    return ()
  if isinstance(value, str):
    return tuple(word.strip() for word in value.split(",") if word.strip())
  names = tuple(value) if isinstance(value, Sequence) else None
  if names is None or not all(isinstance(word, str) for word in names):
    raise validate.error(name, value, "names of columns")
  return names


def read(
  paths: Sequence[table_files.Path],
  columns: Columns,
  *,
  words: Sequence[str] = (),
  step_numbers: Sequence[str] = (),
  optional: Sequence[str] = (),
  dates: bool | None = None,
) -> recordings.Recordings:
  """Reads series from tables.

  Args:
    paths: one or several sets of files, see `table_files.find`; equal ids in
      two of them are two series.
    columns: roles of the columns.
    words: further columns with one entry for each series.
    step_numbers: further columns with a number for each element; long only.
    optional: columns of `words` and `step_numbers` that may be absent.
    dates: whether time stamps have to be dates, or numbers; either if None.

  Returns:
    The series, in the order of their first rows.

  Raises:
    ValueError: naming the file, line and column with an invalid value.
    MissingData: if there is no such file.
  """
  path_files = [table_files.find(path) for path in paths]
  files = [file for some in path_files for file in some]
  parts = np.repeat(np.arange(len(path_files)), list(map(len, path_files)))
  names = table_files.header(files[0], columns.form)
  others = {columns.id, columns.time, *columns.label, *columns.ignore}
  others |= {*words, *step_numbers}
  channels = columns.channels
  if not channels:
    channels = tuple(name for name in names if name not in others)
    check_roles(files[0], channels)
  if not channels:
    raise ValueError(
      f"{files[0]}: got no column of values beside {', '.join(names)}, "
      "expected at least one channel."
    )
  wanted = [name for name in (columns.id, columns.time) if name is not None]
  table = table_files.read(
    files,
    words=list(dict.fromkeys([*wanted, *words])),
    numbers=list(dict.fromkeys([*channels, *step_numbers])),
    optional=optional,
    form=columns.form,
  )
  # The channels were found in the first file's columns only.
  for file in files[1:] if not columns.channels else ():
    more = set(table_files.header(file, columns.form)) - set(names)
    if more:
      raise ValueError(
        f"{file}: got the column {min(more)!r}, which {files[0]} lacks, "
        "expected the same columns in all files."
      )
  given = table, parts[table.file], columns, channels, words, step_numbers
  if columns.layout == "wide":
    whole = _from_wide(*given)
  else:
    whole = _from_long(*given, dates)
  return whole if columns.window is None else _pieces(whole, columns.window)


def _pieces(whole, window):
  """Cuts series into windows that do not overlap."""
  rows, starts = [], []
  for number, values in enumerate(whole.values):
    count = len(values) // window
    rows += [number] * count
    starts += range(0, count * window, window)
  if not rows:
    longest = max(map(len, whole.values))
    expected = f"at most {longest}, the elements of the longest series"
    raise validate.error("window", window, expected)

  def cut(arrays):
    return [arrays[i][start : start + window] for i, start in zip(rows, starts)]

  pieces = np.array(rows)
  elements = None if whole.elements is None else cut(whole.elements)
  return whole._replace(
    ids=tuple(f"{whole.ids[i]}:{start}" for i, start in zip(rows, starts)),
    values=cut(whole.values),
    stamps=None if whole.stamps is None else cut(whole.stamps),
    entries={
      name: [entries[i] for i in rows]
      for name, entries in whole.entries.items()
    },
    numbers={name: cut(arrays) for name, arrays in whole.numbers.items()},
    part=whole.part[pieces],
    rows=whole.rows[pieces],
    elements=elements,
    own=pieces,
  )


def check_roles(
  file: pathlib.Path,
  channels: Sequence[str],
  roles: Mapping[str, str] = MappingProxyType(_ROLES),
) -> None:
  """Rejects channels with names that suggest another role.

  Args:
    file: for messages.
    channels: columns that are channels by default.
    roles: the option for each such name.

  Raises:
    ValueError: naming such a column and the options that give it a role.
  """
  for name in channels:
    role = roles.get(name.lower())
    if role is not None:
      raise ValueError(
        f"{file}: got the column {name!r} among the channels, expected an "
        f"option: {role} = {name!r} (--config.data_options.{role}={name}), "
        f"ignore = {name!r}, or channels with it."
      )


def _from_long(table, part, columns, channels, words, step_numbers, dates):
  """Builds the series of a table with a row for each element."""
  if columns.id is None:
    if len(table.files) == 1:
      raise validate.error(
        "id",
        None,
        f"the column of {table.files[0]} that says which series a row belongs "
        "to, or several files with one series each",
      )
    ids = [table.files[number].stem for number in table.file]
    if len({file.stem for file in table.files}) < len(table.files):
      ids = [str(table.files[number]) for number in table.file]
  else:
    ids = table.words[columns.id]
    _check_present(table, columns.id)
  stamps = None
  if columns.time is not None:
    stamps = _time_stamps.parse(
      table.words[columns.time],
      lambda row: table.place(row, columns.time),
      dates,
      columns.form,
    )
  keys, cut = _row_groups.group(zip(part.tolist(), ids), stamps)
  ids = tuple(word for _, word in keys)
  if stamps is not None:
    _check_increasing(table, columns.time, stamps, cut, ids)
  values = np.stack([table.numbers[name] for name in channels], axis=1)
  firsts = np.array([rows.min() for rows in cut])
  return recordings.Recordings(
    ids,
    [values[rows] for rows in cut],
    channels,
    None if stamps is None else [stamps[rows] for rows in cut],
    {
      name: table_files.constant(table, name, cut, ids)
      for name in words
      if name in table.words
    },
    {
      name: [table.numbers[name][rows] for rows in cut]
      for name in step_numbers
      if name in table.numbers
    },
    part[firsts],
    firsts,
    cut,
    table,
    np.arange(len(ids)),
    ids,
  )


def _check_present(table, name):
  """Rejects rows without the name of their series."""
  for row, word in enumerate(table.words[name]):
    if not word:
      raise ValueError(
        f"{table.place(row, name)}: got nothing, expected the series that the "
        "row belongs to."
      )


def _check_increasing(table, name, stamps, cut, ids):
  """Rejects duplicate times in a series."""
  for word, rows in zip(ids, cut):
    same = stamps[rows][1:] == stamps[rows][:-1]
    if same.any():
      row = int(rows[1:][np.argmax(same)])
      raise ValueError(
        f"{table.place(row, name)}: got the time {stamps[row]} twice in "
        f"series {word!r}, expected each once."
        f"{_time_stamps.repeated(table.words[name][row])}"
      )


def _from_wide(table, part, columns, channels, words, step_numbers):
  """Builds the series of a table with a row for each series."""
  if step_numbers:
    raise validate.error(
      "target", "step", "another one for a wide table, which has no steps"
    )
  count = len(table.line)
  ids = tuple(map(str, range(count)))
  if columns.id is not None:
    ids = tuple(table.words[columns.id])
    _check_present(table, columns.id)
    seen = {}
    for row, word in enumerate(ids):
      if seen.setdefault((part[row], word), row) != row:
        raise ValueError(
          f"{table.place(row, columns.id)}: got {word[:40]!r} twice, expected "
          "one row for each series; or the option layout = 'long'."
        )
  names, places = _numbered(channels, table.files[0])
  values = np.full((count, len(places[names[0]]), len(names)), np.nan)
  for number, name in enumerate(names):
    for step, column in enumerate(places[name]):
      values[:, step, number] = table.numbers[column]
  filled = ~np.isnan(values).all(axis=-1)
  lengths = np.where(
    filled.any(axis=1),
    filled.shape[1] - np.argmax(filled[:, ::-1], axis=1),
    0,
  )
  if not lengths.all():
    row = int(np.argmin(lengths))
    raise ValueError(f"{table.place(row)}: got a series without any value.")
  return recordings.Recordings.of(
    [row[:length] for row, length in zip(values, lengths)],
    {name: table.words[name] for name in words if name in table.words},
    channels=names,
    table=table,
    ids=ids,
    part=part,
  )


def _numbered(channels, file: pathlib.Path):
  """The columns of each channel of a wide table, in the order of time."""
  columns: dict[str, dict[int, str]] = {}
  for column in channels:
    match = _NUMBERED.fullmatch(column)
    if match is None:
      # A single channel, whose columns have other names.
      return (_ONE_CHANNEL,), {_ONE_CHANNEL: list(channels)}
    steps = columns.setdefault(match[1] or _ONE_CHANNEL, {})
    if int(match[2]) in steps:
      other = steps[int(match[2])]
      raise ValueError(
        f"{file}: got the columns {other!r} and {column!r}, expected one "
        f"column for step {match[2]}."
      )
    steps[int(match[2])] = column
  first = next(iter(columns))
  for name, steps in columns.items():
    if steps.keys() != columns[first].keys():
      step = min(steps.keys() ^ columns[first].keys())
      raise ValueError(
        f"{file}: got the step {step} of only one of the channels {first!r} "
        f"and {name!r}, expected the same steps of all; options channels and "
        "ignore say which columns are channels."
      )
  ordered = {
    name: [steps[step] for step in sorted(steps)]
    for name, steps in columns.items()
  }
  return tuple(ordered), ordered
