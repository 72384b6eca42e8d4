"""Event logs: what was done in each case, one activity after another.

    splits = data.load("event_log", path="receipt.csv")
    splits = data.load("event_log", path="bpic2012.xes.gz", transitions=True)

A log is a CSV file, with a row for each event in the order of time, or XES, the
XML of the IEEE 1849-2016, perhaps compressed by gzip. The logs of Receipt and
BPI'12 are in the source distribution of pm4py 2.2.32, whose code is not read:

    pip download --no-deps --no-binary :all: pm4py==2.2.32
    tar xzf pm4py-2.2.32.tar.gz --wildcards '*/tests/input_data/*'
"""

from collections.abc import Sequence
import dataclasses
import os

import numpy as np

from jaxseq import _validate
from jaxseq.data import datasets
from jaxseq.data import padding
from jaxseq.data.sources import logs


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
  columns = logs.LogSource(
    reader="event_log",
    case=case,
    activity=activity,
    transition=transition,
    transitions=transitions,
  )
  _, cases, found = columns.log(path, digest)
  shares = valid_fraction, test_fraction
  return make_splits(cases, str(path), found, *shares, seed, columns)


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
  preparation: logs.LogSource | None = None,
) -> datasets.Splits:
  """Divides traces at random, whole.

  Args:
    cases: the activities of each, in their order.
    source: where they come from.
    digest: of the file.
    valid_fraction: share of the cases that are not for testing.
    test_fraction: share of all cases.
    seed: of the division.
    preparation: the columns that cases come from, if they come from a table.

  Returns:
    The splits: inputs (n, time) int32, 0 and then the activities from 1 on, and
    targets (n, time) int32, the activities and then the end, the number behind
    those of all activities; both 0 in padding. Numbers of activities follow
    their names; info.tokens has them.

  Raises:
    ValueError: a trace is empty, or a part would be.
  """
  names = sorted({name for one in cases for name in one})
  preparation = dataclasses.replace(
    preparation or logs.LogSource(), activities=tuple(names)
  )
  encode = preparation.encode
  traces = [encode(one, f"case {n}") for n, one in enumerate(cases)]
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
    inputs, lengths = padding.pad_sequences(chosen)
    targets, _ = padding.pad_sequences([np.append(x[1:], end) for x in chosen])
    return datasets.ArrayDataset(
      inputs.astype(np.int32), targets.astype(np.int32), lengths
    )

  info = datasets.Info(
    "What was done in a case; which activity is next, or is it the end?",
    source,
    "that of the log",
    vocab_size=end + 1,
    tokens=("", *names, logs.END),
    digest=digest,
    preparation=preparation,
  )
  return datasets.Splits(*map(part, parts), info)
