"""Event logs in files: tables with a row for each event, and XES.

From XES the names of traces, and the names and times of their events, are read,
but no attributes nested in others. A document type, which can define entities,
is rejected. The events of a case are sorted by time.
"""

from collections.abc import Callable
from collections.abc import Mapping
import hashlib
import pathlib
from typing import NamedTuple
from xml.parsers import expat

from absl import logging
import numpy as np

from jaxseq import limits
from jaxseq import validate
from jaxseq.data import _row_groups
from jaxseq.data import _time_stamps
from jaxseq.data import table_layouts
from jaxseq.data.files import _compressed
from jaxseq.data.files import table_files
from jaxseq.data.files import text_forms

_EVENT_KEYS = ("concept:name", "lifecycle:transition")
# Attribute of times in XES, and column of times in tables made from XES.
_TIME = "time:timestamp"
# What a file of XML begins with, after a byte order mark.
_XML = (b"<", b"\xff\xfe<", b"\xfe\xff\0<")


class Log(NamedTuple):
  """The cases of a log, in the order of their first events.

  Attributes:
    names: names of the cases.
    cases: the symbols of each case.
    digest: sha256 of the file; None for frames and several files.
    date_format: format of the dates, see `text_forms.Form`.
  """

  names: tuple[str, ...]
  cases: list[list[str]]
  digest: str | None
  date_format: str | None


class _Events(NamedTuple):
  """The events of a file.

  Attributes:
    source: the file, for messages.
    names: names of the cases.
    rows: the events (n_i,) of each case.
    activity: activity of each event.
    transition: lifecycle transition of each event, or "".
    time: time of each event as written in the file, or "".
    place: returns the location of an event, for messages.
  """

  source: str
  names: tuple[str, ...]
  rows: list[np.ndarray]
  activity: list[str]
  transition: list[str]
  time: list[str]
  place: Callable[[int], str]


def read(
  path: table_files.Path,
  columns: Mapping[str, str],
  digest: str | None = None,
  form: text_forms.Form = text_forms.OPEN,
) -> Log:
  """Reads the cases of a log.

  Args:
    path: see `sources.logs.load`; a frame is read as a table.
    columns: names of a table's columns "case" and "activity", "transition" if
      a symbol is an activity with its transition, and optionally "time"; if it
      is not given, "time:timestamp" is read if the file has it.
    digest: see `sources.logs.load`.
    form: format of tables; fields that are None are detected.

  Raises:
    ValueError: naming the place of an invalid entry.
    MissingData: if there is no such file.
  """
  files = table_files.find(path)
  sha256 = _digest(files)
  if digest not in (None, sha256):
    raise validate.error(f"{files[0]}: digest", sha256, f"{digest!r}")
  if len(files) == 1 and _is_xes(files[0]):
    events = _read_xes(files[0], columns)
  else:
    events = _read_table(path, files, columns, form)
  rows, date_format = _in_time(events, columns.get("time"), form)
  symbols = events.activity
  if "transition" in columns:
    symbols = [*map("/".join, zip(symbols, events.transition))]
  cases = [[symbols[row] for row in one] for one in rows]
  return Log(events.names, cases, sha256, date_format)


def _digest(files):
  """The sha256 of a file; None for frames and several files."""
  if len(files) != 1 or not isinstance(files[0], pathlib.Path):
    return None
  with open(files[0], "rb", opener=limits.regular) as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _is_xes(path):
  if not isinstance(path, pathlib.Path):
    return False
  if ".xes" in path.suffixes[-2:]:
    return True
  with _compressed.opened(path) as (content, _):
    start = content.read(64).removeprefix(b"\xef\xbb\xbf")
  return start.lstrip().startswith(_XML)


def _in_time(events, given, form):
  """The events of each case in the order of time, and the dates' format."""
  if given is None and not any(events.time):
    return events.rows, form.date_format

  def where(row):
    return f"{events.place(row)}: column {given or _TIME!r}"

  try:
    stamps = _time_stamps.parse(events.time, where, form=form)
  except ValueError as error:
    if given is not None:
      raise
    logging.warning(
      "%s The events of a case stay in the order of the file; correct the"
      " times, or name another column by the option time.",
      error,
    )
    return events.rows, form.date_format
  rows = events.rows
  _row_groups.tell_moved(events.source, rows, stamps, "its case")
  if _steps(stamps, rows, -1) and not _steps(stamps, rows, 1):
    # The log is newest first, so simultaneous events are reversed, too.
    rows = [row[::-1] for row in rows]
  found = _time_stamps.date_format(events.time, where, form.date_format)
  return [row[np.argsort(stamps[row], kind="stable")] for row in rows], found


def _steps(stamps, rows, sign):
  """Counts steps to a later time within cases; to an earlier if sign is -1."""
  later = (np.sign(np.diff(_time_stamps.seconds(stamps[row]))) for row in rows)
  return sum(int((steps == sign).sum()) for steps in later)


def _read_table(path, files, columns, form):
  """The events of tables or a frame."""
  names = table_files.header(files[0], form)
  columns = dict(columns)
  if _TIME in names:
    columns.setdefault("time", _TIME)
  words = [*columns.values()]
  others = []
  if "time" not in columns:
    first = table_files.first_row(files[0], form)
    others = [name for name, word in first.items() if _is_time(name, word)]
    others = [name for name in others if name not in words]
  wanted = dict.fromkeys((*words, *others))
  table = table_files.read(files, [*wanted], (), form=form)
  for option, noun in (
    *(("case", "a case"), ("activity", "an activity")),
    ("transition", "a transition"),
  ):
    if option in columns:
      table_files.check_named(table, columns[option], noun)
  cases, rows = _row_groups.group(table.words[columns["case"]])
  source = table_files.describe(path)
  _tell_falling(source, {name: table.words[name] for name in others}, rows)
  blank = [""] * len(table.line)
  activity, transition, time = (
    table.words[columns[option]] if option in columns else blank
    for option in ("activity", "transition", "time")
  )
  return _Events(source, cases, rows, activity, transition, time, table.place)


def _is_time(name, word):
  """True if an entry looks like one of a column of times."""
  try:
    stamp = _time_stamps.parse([word], str)
  except ValueError:
    return False
  return _time_stamps.are_dates(stamp) or name.lower() in table_layouts.TIMES


def _tell_falling(place, columns, rows):
  """Warns of time columns that mostly decrease from row to row of a case."""
  for name, words in columns.items():
    try:
      stamps = _time_stamps.parse(words, str)
    except ValueError:
      continue
    if _steps(stamps, rows, -1) > _steps(stamps, rows, 1):
      logging.warning(
        "%s: the column %r falls from row to row of a case: the newest event"
        " seems to stand first, and is read so; give the option time = %r"
        " (--config.data_options.time=%s) to put events in the order of time.",
        *(place, name, name, name),
      )


def _read_xes(place, columns):
  """The events of an XES log, in its order; unnamed cases get numbers."""
  parser = expat.ParserCreate()
  log = _Log(place, parser, columns.get("time", _TIME))
  parser.StartDoctypeDeclHandler = log.refuse
  parser.StartElementHandler = log.start
  parser.EndElementHandler = log.end
  try:
    with _compressed.opened(place) as (content, _):
      parser.ParseFile(content)
  except (expat.ExpatError, LookupError, ValueError) as error:
    if str(error).startswith(str(place)):
      raise  # The handler's error, which names the place.
    raise ValueError(f"{place} is no XML: {error}.") from None
  if not log.sizes:
    raise ValueError(f"{place}: got no trace, expected those of a log in XES.")
  ends = np.cumsum(log.sizes)
  return _Events(
    str(place),
    tuple(log.names),
    np.split(np.arange(ends[-1]), ends[:-1]),
    *(log.activity, log.transition, log.time),
    lambda row: f"{place}, line {log.line[row]}",
  )


class _Log:
  """Collects the cases and events of a log from its XML elements."""

  def __init__(self, place, parser, time):
    self.place = place
    self.names: list[str] = []
    self.sizes: list[int] = []
    self.activity: list[str] = []
    self.transition: list[str] = []
    self.time: list[str] = []
    self.line: list[int] = []
    self._parser = parser
    # The event attributes to read.
    self._keys = {("string", key) for key in _EVENT_KEYS} | {("date", time)}
    self._time_key = time
    self._open: list[str] = []
    self._event: dict[str, str] = {}

  def refuse(self, name, *_):
    raise validate.error(f"{self.place}: DOCTYPE", name, "none")

  def start(self, tag, attributes):
    parent = self._open[-1] if self._open else ""
    self._open.append(tag)
    key, value = attributes.get("key"), attributes.get("value")
    if tag == "trace":
      self.names.append(str(len(self.sizes)))
      self.sizes.append(0)
    elif tag == "event":
      self._event = {}
    elif (tag, key) not in self._keys or value is None:
      return
    elif parent == "event":
      self._event[key] = value
    elif parent == "trace" and key == "concept:name":
      self.names[-1] = value

  def end(self, tag):
    self._open.pop()
    if tag != "event":
      return
    event = self._event
    if self._open[-1:] != ["trace"] or "concept:name" not in event:
      expected = "an event with a concept:name, in a trace"
      raise validate.error(f"{self.place}: event", event, expected)
    self.sizes[-1] += 1
    self.activity.append(event["concept:name"])
    self.transition.append(event.get("lifecycle:transition", ""))
    self.time.append(event.get(self._time_key, ""))
    self.line.append(self._parser.CurrentLineNumber)
