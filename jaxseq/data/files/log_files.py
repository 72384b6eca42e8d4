"""Files of event logs: CSV, with a row for each event, and XES.

Of XES the names of traces and of their events are read by their keys, nothing
else of XML: no entity but characters, no other file.
"""

from collections.abc import Mapping
import csv
import gzip
import hashlib
import html
import io
import os
import re
import zlib

from jaxseq import _limits
from jaxseq import _validate
from jaxseq.data import datasets

_XES = (".xes", ".gz")
_PART = re.compile(
  r"<(/?)(trace|event)\b[^>]*>"
  r'|<string\s+key="(concept:name|lifecycle:transition)"\s+value="([^"]*)"'
)
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
  content = place.read_bytes()
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
  text = io.StringIO(content.decode("utf-8-sig", errors="replace"), newline="")
  rows = csv.DictReader(text)
  wanted = list(columns.values())
  for option, name in columns.items():
    if name not in (rows.fieldnames or ()):
      expected = (
        f"a column {name!r}, or the name of another one as the option "
        f"{option} (--config.data_options.{option}=NAME)"
      )
      raise _validate.error(f"{place}: columns", rows.fieldnames, expected)
  cases: dict[str, Case] = {}
  for row in rows:
    key, name, *step = (row[column] for column in wanted)
    if not key or not name or not all(step):
      got = {column: row[column] for column in wanted}
      raise _validate.error(f"{place}, line {rows.line_num}", got, "values")
    cases.setdefault(key, []).append((name, step[0] if step else ""))
  return list(cases), list(cases.values())


def _read_xes(place, content):
  """Names and cases of a log in XES, in its order; a number without a name."""
  if place.suffix == ".gz":
    content = _decompressed(place, content)
  text = content.decode("utf-8", errors="replace")
  names: list[str] = []
  cases: list[Case] = []
  event: dict[str, str] | None = None
  unnamed = False
  for match in _PART.finditer(text):
    closes, kind, key, value = match.groups()
    if key is not None:
      if event is not None:
        event[key] = html.unescape(value)
      elif unnamed and key == "concept:name":
        names[-1], unnamed = html.unescape(value), False
    elif kind == "trace":
      unnamed = not closes
      if unnamed:
        names.append(str(len(cases)))
        cases.append([])
    elif not closes:
      event = {}
    elif event is not None:
      if not cases or "concept:name" not in event:
        expected = "an event with a concept:name, in a trace"
        raise _validate.error(f"{place}: event", event, expected)
      step = event.get("lifecycle:transition", "")
      cases[-1].append((event["concept:name"], step))
      event = None
  if not cases:
    raise ValueError(f"{place}: got no trace, expected those of a log in XES.")
  return names, cases


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
