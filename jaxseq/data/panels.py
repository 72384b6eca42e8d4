"""Panels: tables of many series, one below the other.

    date,shop,sales,price,holiday,region
    2024-01-01,A,31,2.5,New Year,north
    2024-01-01,B,12,2.4,New Year,south
    2024-01-02,A,40,2.5,,north

Where columns are known ahead, the last rows of a series may lack all values:
they are times to forecast, and have the known columns alone.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import NamedTuple

import numpy as np

from jaxseq import _validate
from jaxseq.data import _calendars
from jaxseq.data import _row_groups
from jaxseq.data import _time_stamps
from jaxseq.data import table_layouts
from jaxseq.data.files import table_files
from jaxseq.data.files import text_forms
from jaxseq.data.sources import windows


class Member(NamedTuple):
  """A series of a panel, up to its last value; perhaps with rows behind it.

  Attributes:
    name: of the series; "" of one alone.
    values: (time, channels) float64, NaN where a value is missing.
    times: (time and later,) float64 or datetime64; None if there are none.
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
    calendar: of all times, where they are not all one step apart.
    table: for the places of rows.
    date_format: of its dates, see `text_forms.Form`.
  """

  members: list[Member]
  channels: tuple[str, ...]
  calendar: _calendars.Calendar | None
  table: table_files.Table
  date_format: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Columns:
  """Names of columns, and how rows follow each other.

  Attributes:
    series: of the names of series; None of one series alone.
    time: of dates or numbers, by which the rows are put in order; None if the
      rows are in order.
    channels: of values; all others if empty.
    ignore: that are left out.
    known: that are known ahead.
    static: that have one entry for each series.
    form: how texts are written.
    steps: what becomes of times that are not one step apart, see
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
      raise _validate.error("steps", self.steps, expected)


def read(
  path: table_files.Path,
  columns: Columns,
  dates: bool | None = None,
  calendar: _calendars.Calendar | None = None,
) -> Panel:
  """Reads the series of a table.

  Args:
    path: a file, or several, see `table_files.find`.
    columns: which columns hold what.
    dates: whether times have to be dates, or numbers; either if None.
    calendar: that times have to follow which are not one step apart; any that
      is clear if None.

  Raises:
    ValueError: naming the file, line and column that is not as expected.
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
    own = {column: words[column][rows] for column in along}
    count = len(series.values)
    if count > len(rows):
      # Rows that were added have what the whole series has.
      own = {x: np.repeat(entry[:1], count) for x, entry in own.items()}
      rows = rows[np.minimum(np.arange(count), len(rows) - 1)]
    member = Member(name, series.values, series.times, own, rows)
    members.append(_without_future(member, columns, files[0]))
  return Panel(members, channels, found, table, date_format)


def _refuse_twice(table, columns, times, names, cut):
  """Refuses two rows of one series at one time."""
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
  """The calendar of all series, where they are not all one step apart."""
  if steps == "ignore":
    return _calendars.find(*times)
  if all(map(_time_stamps.is_regular, times)) or steps == "insert":
    return None
  found = _calendars.find(*times)
  return None if found == "irregular" else found


def _without_future(member, columns, file):
  """A series without the values of times to come, which are unknown."""
  known = ~np.isnan(member.values).all(axis=1)
  if not known.any():
    named = f"series {member.name!r}: " if member.name else ""
    raise ValueError(f"{file}: {named}got no value, expected some.")
  if not columns.known:
    return member
  count = len(known) - int(np.argmax(known[::-1]))
  return member._replace(values=member.values[:count])
