"""Event logs: the sequence of activities of each case.

    splits = data.load("event_log", path="receipt.csv")
    splits = data.load("event_log", path="bpic2012.xes.gz", transitions=True)

A log is a table with a row for each event, or XES, the XML of the IEEE
1849-2016, optionally compressed. The events of a case are sorted by time, if
there are times. The logs of Receipt and BPI'12 are in the source distribution
of pm4py 2.2.32, whose code is not used:

    pip download --no-deps --no-binary :all: pm4py==2.2.32
    tar xzf pm4py-2.2.32.tar.gz --wildcards '*/tests/input_data/*'
"""

from collections.abc import Sequence
import dataclasses
import functools
from typing import Any
from typing import ClassVar

import numpy as np

from jaxseq import validate
from jaxseq.data import _row_groups
from jaxseq.data import datasets
from jaxseq.data import padding
from jaxseq.data.files import log_files
from jaxseq.data.files import table_files
from jaxseq.data.files import text_forms
from jaxseq.data.sources import base

# The symbol after the last activity of a case.
END = "(end)"


@dataclasses.dataclass(frozen=True)
class LogSource(base.TableSource):
  """Cases of a log, with numbers for activities.

  `prepare` takes cases: for each the names of its activities, in order. All
  count as unfinished: the last target of each is unknown.

  Attributes:
    activities: names of the training activities, numbered from 1 on; the end of
      a case has the number after them. Names include transitions if used.
    case: column of a table that names the case of a row.
    activity: column of the activities.
    transition: column of the activities' lifecycle transitions.
    time: column of the times, which sort the events of a case; if None
      "time:timestamp", if a file has it.
    transitions: whether an activity and its transition are one symbol.
  """

  kind: ClassVar[str] = "log"
  forms: ClassVar[tuple[str, ...]] = ("event_log",)

  _: dataclasses.KW_ONLY
  activities: tuple[str, ...] = ()
  case: str = "case:concept:name"
  activity: str = "concept:name"
  transition: str = "lifecycle:transition"
  time: str | None = None
  transitions: bool = False

  @property
  def vocab_size(self) -> int:
    """Number of symbols: 0, the activities, and the end."""
    return len(self.activities) + 2

  @property
  def reads_frames(self) -> bool:
    """True if `read` accepts frames."""
    return self.reader is not None

  def log(
    self, path: table_files.Path, digest: str | None = None
  ) -> log_files.Log:
    """Reads a log file, see `log_files.read`."""
    columns = {"case": self.case, "activity": self.activity}
    if self.transitions:
      columns["transition"] = self.transition
    if self.time is not None:
      columns["time"] = self.time
    return log_files.read(path, columns, digest, self.form)

  @functools.cached_property
  def _numbers(self) -> dict[str, int]:
    """Numbers of the activities, by name."""
    return {name: n for n, name in enumerate(self.activities, 1)}

  def encode(self, case: Sequence[str], name: str = "case") -> np.ndarray:
    """Returns 0 and the numbers of n activities, (n + 1,) int32.

    Raises:
      ValueError: if there is no activity, or one that is not in the training.
    """
    if isinstance(case, str) or not len(case):
      got = "no event" if not len(case) else case
      raise validate.error(name, got, "one or more")
    for one in case:
      if one not in self._numbers:
        validate.choice(f"{name}: activity", one, self.activities)
    return np.array([0, *(self._numbers[one] for one in case)], np.int32)

  def _prepare(self, values, lengths, times, targets):
    del lengths, times
    if targets is not None:
      raise validate.error("targets", type(targets).__name__, "None")
    return traces([self.encode(x, f"case {n}") for n, x in enumerate(values)])

  def _read(self, path: Any) -> base.Examples:
    log, numbers = self.log(path), self._numbers
    place = f"{table_files.describe(path)}: column {self.activity!r}"
    steps = [step for case in log.cases for step in case]
    noun = "an activity of the training"
    _row_groups.known(steps, numbers, lambda _: place, noun)
    rows = [[0, *(numbers.get(x, -1) for x in case)] for case in log.cases]
    return base.Examples(log.names, _known(traces([*map(np.int32, rows)])))


def traces(rows: Sequence[np.ndarray], end: int = -1) -> datasets.ArrayDataset:
  """Returns cases as inputs, and the next activities as targets.

  Args:
    rows: encoded cases, see `LogSource.encode`.
    end: target after the last activity; unknown if -1.
  """
  inputs, lengths = padding.pad_sequences(rows)
  following = [np.append(row[1:], np.int32(end)) for row in rows]
  targets, _ = padding.pad_sequences(following)
  return datasets.ArrayDataset(inputs, targets, lengths)


def _known(dataset):
  """Leaves out the inputs that are -1; targets stay beside the others."""
  rows = [
    (row[:size][row[:size] >= 0], wanted[:size][row[:size] >= 0])
    for row, wanted, size in zip(*dataset[:3])
  ]
  inputs, lengths = padding.pad_sequences([row for row, _ in rows])
  targets, _ = padding.pad_sequences([wanted for _, wanted in rows])
  return datasets.ArrayDataset(inputs, targets, lengths)


def load(
  path: table_files.Path,
  *,
  case: str = "case:concept:name",
  activity: str = "concept:name",
  transition: str = "lifecycle:transition",
  time: str | None = None,
  transitions: bool = False,
  delimiter: str | None = None,
  encoding: str | None = None,
  decimal: str | None = None,
  date_format: str | None = None,
  digest: str | None = None,
  valid_fraction: float = 0.2,
  test_fraction: float = 1 / 3,
  seed: int = 0,
) -> datasets.Splits:
  """Loads the traces of a log, to predict the next activity.

  Args:
    path: a table, such as a CSV file or a frame, several, or a file of XES.
    case: column that names the case of a row.
    activity: column of the activities.
    transition: column of lifecycle transitions of activities, such as "start".
    time: column of the times, dates or numbers, which sort the events of a
      case; if None "time:timestamp", if the file has it.
    transitions: whether an activity and its transition are one symbol, or the
      activity alone.
    delimiter: between columns; if None a comma, or a tab in a .tsv file.
    encoding: of texts, such as "cp1252"; detected per file if None.
    decimal: decimal sign, "." or ","; detected per file if None.
    date_format: of dates, such as "%d.%m.%Y"; detected if None.
    digest: sha256 that the file must have; not checked if None.
    valid_fraction: share for validation of the cases not for testing.
    test_fraction: share of all cases for testing.
    seed: seed of the random split.

  Returns:
    The splits, see `make_splits`.

  Raises:
    ValueError: naming the place of an invalid entry.
    MissingData: if there is no such file.
  """
  source = LogSource(
    reader="event_log",
    case=case,
    activity=activity,
    transition=transition,
    time=time,
    transitions=transitions,
    **text_forms.fields(delimiter, encoding, decimal, date_format),
  )
  log = source.log(path, digest)
  source = dataclasses.replace(source, date_format=log.date_format)
  place, shares = table_files.describe(path), (valid_fraction, test_fraction)
  splits = make_splits(log.cases, place, log.digest, *shares, seed, source)
  counts = {
    "rows": sum(map(len, log.cases)),
    "cases": len(log.cases),
    "activities": len(splits.info.tokens) - 2,
  }
  info = dataclasses.replace(splits.info, summary={"counts": counts})
  return splits._replace(info=info)


def loans(*, cases: int = 300, seed: int = 0) -> datasets.Splits:
  """Generates the log of a small process with a choice, a loop and long memory.

  An application is checked again and again while papers are missing; the
  decision depends on the way it came in.

  Args:
    cases: number of cases.
    seed: seed of the log and of its split.

  Returns:
    The splits, see `make_splits`.
  """
  validate.integer("cases", cases, 8)
  rng = np.random.default_rng(seed)
  rows = []
  for _ in range(cases):
    way = str(rng.choice(["web", "branch"]))
    trace = [f"apply ({way})", "check"]
    while rng.random() < 0.4:
      trace += ["ask", "check"]
    likely = 0.9 if way == "branch" else 0.2
    decided = "accept" if rng.random() < likely else "refuse"
    rows.append([*trace, decided, "tell"])
  return make_splits(rows, "generated", None, 0.2, 1 / 3, seed)


def make_splits(
  cases: Sequence[Sequence[str]],
  source: str,
  digest: str | None = None,
  valid_fraction: float = 0.2,
  test_fraction: float = 1 / 3,
  seed: int = 0,
  preparation: LogSource | None = None,
) -> datasets.Splits:
  """Splits whole traces at random.

  Args:
    cases: the activities of each case, in order.
    source: origin of the cases.
    digest: digest of the file.
    valid_fraction: share for validation of the cases not for testing.
    test_fraction: share of all cases for testing.
    seed: seed of the random split.
    preparation: source with the columns of the cases, if they have a table.

  Returns:
    The splits: inputs (n, time) int32, 0 and then the activities from 1 on, and
    targets (n, time) int32, the activities and then the end, the number after
    those of all activities; both 0 in padding. Activities are numbered by name;
    info.tokens has them.

  Raises:
    ValueError: if a trace is empty, or a part would be.
  """
  names = sorted({name for one in cases for name in one})
  preparation = dataclasses.replace(
    preparation or LogSource(), activities=tuple(names)
  )
  rows = [
    preparation.encode(one, f"case {number}")
    for number, one in enumerate(cases)
  ]
  count = len(rows)
  held_out = round(test_fraction * count)
  valid = round(valid_fraction * (count - held_out))
  if min(held_out, valid, count - held_out - valid) < 1:
    shares = f"{valid_fraction} and {test_fraction}"
    expected = f"shares that leave cases of {count} to each part"
    raise validate.error("valid_fraction, test_fraction", shares, expected)
  order = np.random.default_rng(seed).permutation(count)
  end = len(names) + 1
  parts = [
    traces([rows[number] for number in numbers], end)
    for numbers in np.split(order, [count - held_out - valid, count - held_out])
  ]
  info = datasets.Info(
    "What was done in a case; which activity is next, or is it the end?",
    source,
    "that of the log",
    vocab_size=end + 1,
    tokens=("", *names, END),
    digest=digest,
    preparation=preparation,
  )
  return datasets.Splits(*parts, info)
