"""Files of event logs: CSV, with a row for each event, and XES.

Of XES the names of traces and of their events are read, and no attribute that
others hold. A document type, with entities of its own, is refused.
"""

from collections.abc import Mapping
import csv
import gzip
import hashlib
import io
import os
from xml.parsers import expat
import zlib

from jaxseq import _limits
from jaxseq import _validate
from jaxseq.data import datasets
from jaxseq.data.files import _columns

_XES = (".xes", ".gz")
_EVENT_KEYS = ("concept:name", "lifecycle:transition")
# The activities of a case and their transitions, in their order.
Case = list[tuple[str, str]]


def read(
  path: str | os.PathLike,
  columns: Mapping[str, str],
  digest: str | None = None,
) -> tuple[list[str], list[list[str]], str]:
  """Reads the cases of a log, in the order in which they first come.

  Args:
    path: see `sources.logs.load`.
    columns: names of a table's columns "case" and "activity", and "transition"
      where a symbol is an activity and its transition.
    digest: see `sources.logs.load`.

  Returns:
    Names of the cases, the symbols of each, and the sha256 of the file.

  Raises:
    ValueError: naming the place that is not as expected.
    MissingData: if there is no such file.
  """
  place = datasets.find_file(path, "give the file of a log as path")
  content = _limits.read_bytes(place)
  sha256 = hashlib.sha256(content).hexdigest()
  if digest not in (None, sha256):
    raise _validate.error(f"{place}: digest", sha256, f"{digest!r}")
  if place.suffix in _XES:
    names, cases = _read_xes(place, content)
  else:
    names, cases = _read_csv(place, content, columns)
  symbols = [
    [f"{name}/{step}" if "transition" in columns else name for name, step in x]
    for x in cases
  ]
  return names, symbols, sha256


def _read_csv(place, content, columns):
  """Names and cases of a table, in the order in which they first come."""
  # Line by line: a text of its own may take four times the bytes.
  text = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline="")
  rows = csv.DictReader(text)
  try:
    return _cases(place, rows, columns)
  except UnicodeDecodeError:
    _columns.decoded(content, place)  # It says where.
    raise
  except csv.Error as error:
    said = f"{place}, line {rows.line_num}: {error}."
    raise ValueError(said) from error


def _cases(place, rows, columns):
  """Names and cases of the rows of a table."""
  wanted = list(columns.values())
  names = list(rows.fieldnames or ())
  for option, name in columns.items():
    if names.count(name) != 1:
      expected = (
        f"one column {name!r}, or the name of another one as the option "
        f"{option} (--config.data_options.{option}=NAME)"
      )
      raise _validate.error(f"{place}: columns", rows.fieldnames, expected)
  cases: dict[str, Case] = {}
  for row in rows:
    where = f"{place}, line {rows.line_num}"
    # What has no name is under None, and so is what a name has none of.
    count = sum(x is not None for x in row.values()) - (None in row)
    count += len(row.get(None, ()))
    if count != len(names):
      raise ValueError(f"{where}: got {count} of {len(names)} entries.")
    key, name, *step = (row[column] for column in wanted)
    if not key or not name or not all(step):
      got = {column: row[column] for column in wanted}
      raise _validate.error(where, got, "values")
    cases.setdefault(key, []).append((name, step[0] if step else ""))
  return list(cases), list(cases.values())


def _read_xes(place, content):
  """Names and cases of a log in XES, in its order; a number without a name."""
  if place.suffix == ".gz":
    content = _decompressed(place, content)
  log, parser = _Log(place), expat.ParserCreate()
  parser.StartDoctypeDeclHandler = log.refuse
  parser.StartElementHandler = log.start
  parser.EndElementHandler = log.end
  try:
    parser.Parse(content, True)
  except (expat.ExpatError, LookupError, ValueError) as error:
    if str(error).startswith(str(place)):
      raise  # Of an element, with its place.
    raise ValueError(f"{place} is no XML: {error}.") from None
  if not log.cases:
    raise ValueError(f"{place}: got no trace, expected those of a log in XES.")
  return log.names, log.cases


class _Log:
  """Names and cases of a log, as its elements come."""

  def __init__(self, place):
    self.place = place
    self.names: list[str] = []
    self.cases: list[Case] = []
    self._open: list[str] = []
    self._event: dict[str, str] = {}

  def refuse(self, name, *_):
    raise _validate.error(f"{self.place}: DOCTYPE", name, "none")

  def start(self, tag, attributes):
    parent = self._open[-1] if self._open else ""
    self._open.append(tag)
    key, value = attributes.get("key"), attributes.get("value")
    if tag == "trace":
      self.names.append(str(len(self.cases)))
      self.cases.append([])
    elif tag == "event":
      self._event = {}
    elif tag != "string" or key not in _EVENT_KEYS or value is None:
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
      raise _validate.error(f"{self.place}: event", event, expected)
    step = event.get("lifecycle:transition", "")
    self.cases[-1].append((event["concept:name"], step))


def _decompressed(place, content):
  """The content of a file of gzip, if it is not out of proportion."""
  most = max(_limits.FREE, _limits.RATIO * len(content))
  try:
    with gzip.open(io.BytesIO(content)) as file:
      text = file.read(most + 1)
  except (OSError, EOFError, zlib.error) as error:
    raise ValueError(f"{place} is no file of gzip: {error}.") from None
  _limits.check_growth(place, len(text), len(content))
  return text
