"""Event logs: what was done in each case, one activity after another.

    splits = data.load("event_log", path="receipt.csv")
    splits = data.load("event_log", path="bpic2012.xes.gz", transitions=True)

A log is a CSV file, with a row for each event in the order of time, or XES, the
XML of the IEEE 1849-2016, perhaps compressed by gzip. Of XES the names of
traces' events are read by their keys, nothing else of XML: no entity but
characters, no other file. The logs of Receipt and BPI'12 are in the source
distribution of pm4py 2.2.32, whose code is not read:

    pip download --no-deps --no-binary :all: pm4py==2.2.32
    tar xzf pm4py-2.2.32.tar.gz --wildcards '*/tests/input_data/*'
"""

from collections.abc import Sequence
import csv
import gzip
import hashlib
import html
import io
import os
import pathlib
import re
import zlib

import numpy as np

from jaxseq import _limits
from jaxseq import _validate
from jaxseq.data import datasets
from jaxseq.data import padding

_XES = (".xes", ".gz")
_PART = re.compile(
  r"<(/?)(trace|event)\b[^>]*>"
  r'|<string\s+key="(concept:name|lifecycle:transition)"\s+value="([^"]*)"'
)


def load(
  path: str | os.PathLike,
  *,
  case: str = "case:concept:name",
  activity: str = "concept:name",
  transition: str = "lifecycle:transition",
  transitions: bool = False,
  digest: str | None = None,
  valid_fraction: float = 0.2,
  test_fraction: float = 1 / 3,
  seed: int = 0,
) -> datasets.Splits:
  """Loads the traces of a log, to predict the activity that comes next.

  Args:
    path: a `.csv`, `.xes` or `.xes.gz` file.
    case: column that names the case of a row.
    activity: column of the activities.
    transition: column of the step in an activity's life, such as "start".
    transitions: whether an activity and its transition are one symbol; the
      activity alone if not.
    digest: sha256 that the file must have; not checked if None.
    valid_fraction: share of the cases that are not for testing.
    test_fraction: share of all cases.
    seed: of the division.

  Returns:
    The splits, see `make_splits`.

  Raises:
    ValueError: naming the place that is not as expected.
    MissingData: if there is no such file.
  """
  place = datasets.find_file(path, "give the file of a log as path")
  content = place.read_bytes()
  found = hashlib.sha256(content).hexdigest()
  if digest not in (None, found):
    raise _validate.error(f"{place}: digest", found, f"{digest!r}")
  if place.suffix in _XES:
    cases = _read_xes(place, content)
  else:
    cases = _read_csv(place, content, case, activity, transition, transitions)
  if not transitions:
    cases = [[name for name, _ in one] for one in cases]
  else:
    cases = [[f"{name}/{step}" for name, step in one] for one in cases]
  return make_splits(
    cases, str(place), found, valid_fraction, test_fraction, seed
  )


def loans(*, cases: int = 300, seed: int = 0) -> datasets.Splits:
  """Makes the log of a small process, with a choice, a loop and a long memory.

  An application is checked, again and again while papers are missing; how it is
  decided depends on where it came in.

  Args:
    cases: how many.
    seed: of the log and its division.

  Returns:
    The splits, see `make_splits`.
  """
  _validate.integer("cases", cases, 8)
  rng = np.random.default_rng(seed)
  traces = []
  for _ in range(cases):
    way = str(rng.choice(["web", "branch"]))
    trace = [f"apply ({way})", "check"]
    while rng.random() < 0.4:
      trace += ["ask", "check"]
    likely = 0.9 if way == "branch" else 0.2
    decided = "accept" if rng.random() < likely else "refuse"
    traces.append([*trace, decided, "tell"])
  return make_splits(traces, "generated", None, 0.2, 1 / 3, seed)


def make_splits(
  cases: Sequence[Sequence[str]],
  source: str,
  digest: str | None = None,
  valid_fraction: float = 0.2,
  test_fraction: float = 1 / 3,
  seed: int = 0,
) -> datasets.Splits:
  """Divides traces at random, whole.

  Args:
    cases: the activities of each, in their order.
    source: where they come from.
    digest: of the file.
    valid_fraction: share of the cases that are not for testing.
    test_fraction: share of all cases.
    seed: of the division.

  Returns:
    The splits: inputs (n, time) int32, 0 and then the activities from 1 on, and
    targets (n, time) int32, the activities and then the end, the number behind
    those of all activities; both 0 in padding. Numbers of activities follow
    their names; info.tokens has them.

  Raises:
    ValueError: a trace is empty, or a part would be.
  """
  for number, one in enumerate(cases):
    if not one:
      raise _validate.error(f"case {number}", "no event", "one or more")
  names = sorted({name for one in cases for name in one})
  numbers = {name: i + 1 for i, name in enumerate(names)}
  traces = [np.array([numbers[x] for x in one], np.int32) for one in cases]
  count = len(traces)
  held_out = round(test_fraction * count)
  valid = round(valid_fraction * (count - held_out))
  if min(held_out, valid, count - held_out - valid) < 1:
    shares = f"{valid_fraction} and {test_fraction}"
    expected = f"shares that leave cases of {count} to each part"
    raise _validate.error("valid_fraction, test_fraction", shares, expected)
  order = np.random.default_rng(seed).permutation(count)
  parts = np.split(order, [count - held_out - valid, count - held_out])
  end = len(names) + 1

  def part(rows):
    chosen = [traces[row] for row in rows]
    inputs, lengths = padding.pad_sequences(
      [np.insert(x, 0, 0) for x in chosen]
    )
    targets, _ = padding.pad_sequences([np.append(x, end) for x in chosen])
    return datasets.ArrayDataset(
      inputs.astype(np.int32), targets.astype(np.int32), lengths
    )

  info = datasets.Info(
    "What was done in a case; which activity is next, or is it the end?",
    source,
    "that of the log",
    vocab_size=end + 1,
    tokens=("", *names, "(end)"),
    digest=digest,
  )
  train, valid, test = (part(rows) for rows in parts)
  return datasets.Splits(train, valid, test, info)


def _read_csv(place, content, case, activity, transition, transitions):
  """The cases of a table, in the order in which they first come."""
  text = io.StringIO(content.decode("utf-8-sig", errors="replace"), newline="")
  rows = csv.DictReader(text)
  options = {"case": case, "activity": activity}
  if transitions:
    options["transition"] = transition
  wanted = list(options.values())
  for option, name in options.items():
    if name not in (rows.fieldnames or ()):
      expected = (
        f"a column {name!r}, or the name of another one as the option "
        f"{option} (--config.data_options.{option}=NAME)"
      )
      raise _validate.error(f"{place}: columns", rows.fieldnames, expected)
  cases: dict[str, list[tuple[str, str]]] = {}
  for row in rows:
    key, name, *step = (row[column] for column in wanted)
    if not key or not name or not all(step):
      got = {column: row[column] for column in wanted}
      raise _validate.error(f"{place}, line {rows.line_num}", got, "values")
    cases.setdefault(key, []).append((name, step[0] if step else ""))
  return list(cases.values())


def _read_xes(place: pathlib.Path, content: bytes):
  """The cases of a log in XES, in its order."""
  if place.suffix == ".gz":
    content = _decompressed(place, content)
  text = content.decode("utf-8", errors="replace")
  cases: list[list[tuple[str, str]]] = []
  event: dict[str, str] | None = None
  for match in _PART.finditer(text):
    closes, kind, key, value = match.groups()
    if key is not None:
      if event is not None:
        event[key] = html.unescape(value)
    elif kind == "trace":
      if not closes:
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
  return cases


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
