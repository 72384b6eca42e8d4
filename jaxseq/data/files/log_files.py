"""Event logs in files: CSV with a row for each event, and XES.

From XES the names of traces, and the names and times of their events, are read,
but no attributes nested in others. A document type, which can define entities,
is rejected. The events of a case are sorted by time.
"""

from collections.abc import Mapping
import csv
import gzip
import hashlib
import io
import os
from typing import NamedTuple
from xml.parsers import expat
import zlib

from absl import logging
import numpy as np

from jaxseq import limits
from jaxseq import validate
from jaxseq.data import _row_groups
from jaxseq.data import _time_stamps
from jaxseq.data import datasets
from jaxseq.data import table_layouts
from jaxseq.data.files import _compressed
from jaxseq.data.files import columns as text_columns
from jaxseq.data.files import text_forms

_XES = (".xes", ".gz")
_EVENT_KEYS = ("concept:name", "lifecycle:transition")
# Attribute of times in XES, and column of times in tables made from XES.
_TIME = "time:timestamp"


class Event(NamedTuple):
  """An event of a case.

  Attributes:
    activity: name of the activity.
    transition: lifecycle transition of the activity, or "".
    time: time as written in the file, or "".
    line: line in the file, for messages.
  """

  activity: str
  transition: str
  time: str
  line: int


def read(
  path: str | os.PathLike,
  columns: Mapping[str, str],
  digest: str | None = None,
) -> tuple[list[str], list[list[str]], str]:
  """Reads the cases of a log, in the order of their first events.

  Args:
    path: see `sources.logs.load`.
    columns: names of a table's columns "case" and "activity", "transition" if
      a symbol is an activity with its transition, and optionally "time"; if it
      is not given, "time:timestamp" is read if the file has it.
    digest: see `sources.logs.load`.

  Returns:
    Names of the cases, the symbols of each, and the sha256 of the file.

  Raises:
    ValueError: naming the place of an invalid entry.
    MissingData: if there is no such file.
  """
  place = datasets.find_file(path, "give the file of a log as path")
  content = limits.read_bytes(place)
  sha256 = hashlib.sha256(content).hexdigest()
  if digest not in (None, sha256):
    raise validate.error(f"{place}: digest", sha256, f"{digest!r}")
  if place.suffix in _XES:
    names, cases = _read_xes(place, content, columns)
  else:
    names, cases = _read_csv(place, content, columns)
  cases = _in_time(place, cases, columns.get("time"))
  joined = "transition" in columns
  symbols = [
    [f"{x.activity}/{x.transition}" if joined else x.activity for x in case]
    for case in cases
  ]
  return names, symbols, sha256


def _in_time(place, cases, given):
  """Sorts the events of each case by time; equal times keep their order."""
  events = [event for case in cases for event in case]
  words = [event.time for event in events]
  if given is None and not any(words):
    return cases

  def where(row):
    return f"{place}, line {events[row].line}: {given or _TIME!r}"

  try:
    stamps = _time_stamps.parse(words, where)
  except ValueError as error:
    if given is not None:
      raise
    logging.warning(
      "%s The events of a case stay in the order of the file; correct the"
      " times, or name another column by the option time.",
      error,
    )
    return cases
  rows = np.split(np.arange(len(events)), np.cumsum([*map(len, cases)])[:-1])
  _row_groups.tell_moved(str(place), rows, stamps, "its case")
  if _steps(stamps, rows, -1) and not _steps(stamps, rows, 1):
    # The log is newest first, so simultaneous events are reversed, too.
    rows = [row[::-1] for row in rows]
  rows = [row[np.argsort(stamps[row], kind="stable")] for row in rows]
  return [[events[i] for i in row] for row in rows]


def _steps(stamps, rows, sign):
  """Counts steps to a later time within cases; to an earlier if sign is -1."""
  later = (np.sign(np.diff(_time_stamps.seconds(stamps[row]))) for row in rows)
  return sum(int((steps == sign).sum()) for steps in later)


def _read_csv(place, content, columns):
  """Names and cases of a table, in the order of their first events."""
  form = text_forms.of_file(place, text_forms.OPEN)
  with _compressed.opened(place) as (stream, _):
    # Decode line by line: the whole text may take four times the bytes.
    text = io.TextIOWrapper(stream, form.encoding, newline="")
    rows = csv.DictReader(text, delimiter=form.delimiter)
    try:
      return _cases(place, rows, columns)
    except UnicodeDecodeError:
      text_columns.decoded(content, place)  # Raises an error with the place.
      raise
    except csv.Error as error:
      said = f"{place}, line {rows.line_num}: {error}."
      raise ValueError(said) from error


def _cases(place, rows, columns):
  """Reads names and cases from the rows of a table."""
  names = list(rows.fieldnames or ())
  for option, name in columns.items():
    if names.count(name) != 1:
      expected = (
        f"one column {name!r}, or the name of another one as the option "
        f"{option} (--config.data_options.{option}=NAME)"
      )
      raise validate.error(f"{place}: columns", rows.fieldnames, expected)
  time = columns.get("time", _TIME if names.count(_TIME) == 1 else None)
  wanted = [name for option, name in columns.items() if option != "time"]
  cases: dict[str, list[Event]] = {}
  others: dict[str, list[str]] = {}
  order: dict[str, list[int]] = {}
  for number, row in enumerate(rows):
    position = f"{place}, line {rows.line_num}"
    # Surplus entries are under the key None; missing entries have value None.
    count = sum(x is not None for x in row.values()) - (None in row)
    count += len(row.get(None, ()))
    if count != len(names):
      raise ValueError(f"{position}: got {count} of {len(names)} entries.")
    key, name, *step = (row[column] for column in wanted)
    if not key or not name or not all(step):
      got = {column: row[column] for column in wanted}
      raise validate.error(position, got, "values")
    at = "" if time is None else row[time]
    event = Event(name, step[0] if step else "", at, rows.line_num)
    cases.setdefault(key, []).append(event)
    if not number and time is None:
      others = {x: [] for x in names if x not in wanted and _is_time(x, row[x])}
    if others:
      order.setdefault(key, []).append(number)
      for column, words in others.items():
        words.append(row[column])
  if not cases:
    raise ValueError(f"{place}: got no rows, expected at least one.")
  _tell_falling(place, others, [*map(np.array, order.values())])
  return list(cases), list(cases.values())


def _is_time(name, word):
  """True if an entry looks like one of a column of times."""
  try:
    stamp = _time_stamps.parse([word], str)
  except ValueError:
    return False
  return stamp.dtype.kind == "M" or name.lower() in table_layouts.TIMES


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


def _read_xes(place, content, columns):
  """Names and cases of an XES log, in its order; unnamed ones get numbers."""
  if place.suffix == ".gz":
    content = _decompressed(place, content)
  parser = expat.ParserCreate()
  log = _Log(place, parser, columns.get("time", _TIME))
  parser.StartDoctypeDeclHandler = log.refuse
  parser.StartElementHandler = log.start
  parser.EndElementHandler = log.end
  try:
    parser.Parse(content, True)
  except (expat.ExpatError, LookupError, ValueError) as error:
    if str(error).startswith(str(place)):
      raise  # The handler's error, which names the place.
    raise ValueError(f"{place} is no XML: {error}.") from None
  if not log.cases:
    raise ValueError(f"{place}: got no trace, expected those of a log in XES.")
  return log.names, log.cases


class _Log:
  """Collects names and cases of a log from its XML elements."""

  def __init__(self, place, parser, time):
    self.place = place
    self.names: list[str] = []
    self.cases: list[list[Event]] = []
    self._parser = parser
    # The event attributes to read.
    self._keys = {("string", key) for key in _EVENT_KEYS} | {("date", time)}
    self._time = time
    self._open: list[str] = []
    self._event: dict[str, str] = {}

  def refuse(self, name, *_):
    raise validate.error(f"{self.place}: DOCTYPE", name, "none")

  def start(self, tag, attributes):
    parent = self._open[-1] if self._open else ""
    self._open.append(tag)
    key, value = attributes.get("key"), attributes.get("value")
    if tag == "trace":
      self.names.append(str(len(self.cases)))
      self.cases.append([])
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
    self.cases[-1].append(
      Event(
        event["concept:name"],
        event.get("lifecycle:transition", ""),
        event.get(self._time, ""),
        self._parser.CurrentLineNumber,
      )
    )


def _decompressed(place, content):
  """Decompresses gzip content, within bounds."""
  most = max(limits.FREE, limits.RATIO * len(content))
  try:
    with gzip.open(io.BytesIO(content)) as file:
      text = file.read(most + 1)
  except (OSError, EOFError, zlib.error) as error:
    raise ValueError(f"{place} is no file of gzip: {error}.") from None
  limits.check_growth(place, len(text), len(content))
  return text
