"""Panels: tables of many series, one below the other.

    date,shop,sales,price,holiday,region
    2024-01-01,A,31,2.5,New Year,north
    2024-01-01,B,12,2.4,New Year,south
    2024-01-02,A,40,2.5,,north

If columns are known ahead, the last rows of a series may lack all values: these
are times to forecast, with only the known columns.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import NamedTuple

import numpy as np

from jaxseq import validate
from jaxseq.data import _calendars
from jaxseq.data import _row_groups
from jaxseq.data import _time_stamps
from jaxseq.data import table_layouts
from jaxseq.data.files import table_files
from jaxseq.data.files import text_forms
from jaxseq.data.sources import windows


class Member(NamedTuple):
  """A series of a panel, up to its last value, and rows to forecast after it.

  Attributes:
    name: name of the series; "" if it is the only one.
    values: (time, channels) float64, NaN where a value is missing.
    times: (time and later,) float64 or datetime64; None without a time column.
    words: arrays (time and later,) of the known and static columns.
    rows: (time and later,) numbers of the rows in the table.
  """

  name: str
  values: np.ndarray
  times: np.ndarray | None = None
  words: Mapping[str, np.ndarray] = {}
  rows: np.ndarray = np.zeros(0, int)


class Panel(NamedTuple):
  """The series of a table.

  Attributes:
    members: the series.
    channels: names of the channels.
    calendar: calendar of all times, if they are not all one step apart.
    table: table that locates rows, for messages.
    date_format: format of its dates, see `text_forms.Form`.
  """

  members: list[Member]
  channels: tuple[str, ...]
  calendar: _calendars.Calendar | None
  table: table_files.Table
  date_format: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Columns:
  """Names of columns, and the order and steps of rows.

  Attributes:
    series: column of the series' names; None for a single series.
    time: column of dates or numbers that sorts the rows; None if the rows are
      in order.
    channels: columns of values; all others if empty.
    ignore: columns to leave out.
    known: columns that are known ahead.
    static: columns with one entry for each series.
    form: format of the table's texts.
    steps: handling of times that are not one step apart, see
      `sources.windows.read`.
  """

  series: str | None = None
  time: str | None = None
  channels: tuple[str, ...] = ()
  ignore: tuple[str, ...] = ()
  known: tuple[str, ...] = ()
  static: tuple[str, ...] = ()
  form: text_forms.Form = text_forms.OPEN
  steps: windows.Steps = "refuse"

  def __post_init__(self):
    used = [x for x in (self.series, self.time) if x is not None]
    used += [*self.channels, *self.ignore, *self.known, *self.static]
    if len(set(used)) < len(used):
      twice = next(name for name in used if used.count(name) > 1)
      raise ValueError(f"columns: got {twice!r} twice, expected one use of it.")
    if self.known and self.steps == "insert":
      expected = "'refuse' or 'ignore': added rows have no known values"
      raise validate.error("steps", self.steps, expected)


def read(
  path: table_files.Path,
  columns: Columns,
  dates: bool | None = None,
  calendar: _calendars.Calendar | None = None,
) -> Panel:
  """Reads the series of a table.

  Args:
    path: a file, or several, see `table_files.find`.
    columns: roles of the columns.
    dates: whether times have to be dates, or numbers; either if None.
    calendar: required calendar of times that are not one step apart; any that
      is clear if None.

  Raises:
    ValueError: naming the file, line and column with an invalid value.
    MissingData: if there is no such file.
  """
  files = table_files.find(path)
  along = (*columns.known, *columns.static)
  others = [x for x in (columns.series, columns.time) if x is not None]
  channels = columns.channels
  if not channels:
    names = table_files.header(files[0], columns.form)
    left = {*others, *along, *columns.ignore}
    channels = tuple(name for name in names if name not in left)
    table_layouts.check_roles(files[0], channels, windows.ROLES)
  if not channels:
    raise ValueError(f"{files[0]}: got no column of values, expected some.")
  table = table_files.read(
    files,
    words=[*others, *along],
    numbers=channels,
    form=columns.form,
  )
  times, date_format = None, None
  if columns.time is not None:
    date_format = _time_stamps.date_format(
      table.words[columns.time], str, columns.form.date_format
    )
    times = _time_stamps.parse(
      table.words[columns.time],
      lambda row: table.place(row, columns.time),
      dates,
      columns.form,
    )
  owners: Sequence[str] = [""] * len(table.line)
  if columns.series is not None:
    table_files.check_named(table, columns.series, "a series")
    owners = table.words[columns.series]
  names, cut = _row_groups.group(owners, times)
  values = np.stack([table.numbers[name] for name in channels], axis=1)
  words = {name: np.array(table.words[name], object) for name in along}
  found, members = calendar, []
  if times is not None:
    _refuse_twice(table, columns, times, names, cut)
    if calendar is None:
      found = _calendar(columns.steps, [times[rows] for rows in cut])
  for column in columns.static:
    table_files.constant(table, column, cut, names)
  for name, rows in zip(names, cut):
    series = windows.Series(values[rows], channels, None)
    if times is not None:
      series = windows.spaced(
        series._replace(times=times[rows]),
        columns.steps,
        found or "steps",
        lambda number, rows=rows: table.place(int(rows[number]), columns.time),
      )
    along_columns = {column: words[column][rows] for column in along}
    count = len(series.values)
    if count > len(rows):
      # Inserted rows repeat the entries of the whole series.
      along_columns = {
        x: np.repeat(entry[:1], count) for x, entry in along_columns.items()
      }
      rows = rows[np.minimum(np.arange(count), len(rows) - 1)]
    member = Member(name, series.values, series.times, along_columns, rows)
    members.append(_without_future(member, columns, files[0]))
  return Panel(members, channels, found, table, date_format)


def _refuse_twice(table, columns, times, names, cut):
  """Rejects two rows of one series at the same time."""
  for name, rows in zip(names, cut):
    twice = times[rows][1:] == times[rows][:-1]
    if twice.any():
      row = int(rows[1:][np.argmax(twice)])
      series = f" in series {name!r}" if columns.series else ""
      raise ValueError(
        f"{table.place(row, columns.time)}: got {times[row]} twice{series}, "
        "expected one row for each time. Put rows of one time together, or "
        "name the column of the series in the option series."
        f"{_time_stamps.repeated(table.words[columns.time][row])}"
      )


def _calendar(steps, times):
  """The calendar of all series; None if they all have one step."""
  if steps == "ignore":
    return _calendars.find(*times)
  if all(map(_time_stamps.is_regular, times)) or steps == "insert":
    return None
  found = _calendars.find(*times)
  return None if found == "irregular" else found


def _without_future(member, columns, file):
  """Drops the missing values of a series at times to forecast."""
  known = ~np.isnan(member.values).all(axis=1)
  if not known.any():
    named = f"series {member.name!r}: " if member.name else ""
    raise ValueError(f"{file}: {named}got no value, expected some.")
  if not columns.known:
    return member
  count = len(known) - int(np.argmax(known[::-1]))
  return member._replace(values=member.values[:count])
