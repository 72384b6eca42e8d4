"""Cases of event logs, of which the activities so far are read."""

from collections.abc import Sequence
import dataclasses
import functools
import os
from typing import Any
from typing import ClassVar

import numpy as np

from jaxseq import _validate
from jaxseq.data import datasets
from jaxseq.data import padding
from jaxseq.data.files import log_files
from jaxseq.data.sources import base

# The symbol behind the last activity of a case.
END = "(end)"


@dataclasses.dataclass(frozen=True)
class LogSource(base.Source):
  """Cases of a log, whose activities have numbers.

  `prepare` takes cases: of each the names of its activities, in their order.
  None of them is taken to be over: the last target of each is unknown.

  Attributes:
    activities: names of those of the training, from number 1 on; the end of a
      case has the number behind them. With transitions they are in the names.
    case: column of a table that names the case of a row.
    activity: column of the activities.
    transition: column of the step in an activity's life.
    transitions: whether an activity and its transition are one symbol.
  """

  kind: ClassVar[str] = "log"
  forms: ClassVar[tuple[str, ...]] = ("event_log",)

  _: dataclasses.KW_ONLY
  activities: tuple[str, ...] = ()
  case: str = "case:concept:name"
  activity: str = "concept:name"
  transition: str = "lifecycle:transition"
  transitions: bool = False

  def log(
    self, path: str | os.PathLike, digest: str | None = None
  ) -> tuple[list[str], list[list[str]], str]:
    """Reads a file of a log, see `log_files.read`."""
    columns = {
      "case": self.case,
      "activity": self.activity,
      "transition": self.transition,
    }
    return log_files.read(
      path, **columns, transitions=self.transitions, digest=digest
    )

  @functools.cached_property
  def _numbers(self) -> dict[str, int]:
    """Numbers of the activities."""
    return {name: n for n, name in enumerate(self.activities, 1)}

  def encode(self, case: Sequence[str], name: str = "case") -> np.ndarray:
    """Returns 0 and the numbers of n activities, (n + 1,) int32.

    Raises:
      ValueError: if there is none, or one that the training did not have.
    """
    if isinstance(case, str) or not len(case):
      got = "no event" if not len(case) else case
      raise _validate.error(name, got, "one or more")
    for one in case:
      if one not in self._numbers:
        _validate.choice(f"{name}: activity", one, self.activities)
    return np.array([0, *(self._numbers[one] for one in case)], np.int32)

  def _prepare(self, values, lengths, times, targets):
    del lengths, times
    if targets is not None:
      raise _validate.error("targets", type(targets).__name__, "None")
    return self._dataset(values, [f"case {n}" for n in range(len(values))])

  def _dataset(self, cases, names):
    """The cases as inputs, and what has followed each of their activities."""
    rows = [self.encode(*pair) for pair in zip(cases, names)]
    inputs, lengths = padding.pad_sequences(rows)
    following = [np.append(row[1:], np.int32(-1)) for row in rows]
    return datasets.ArrayDataset(
      inputs, padding.pad_sequences(following)[0], lengths
    )

  def _read(self, path: Any) -> base.Examples:
    names, cases, _ = self.log(path)
    places = [f"{path}: case {name!r}" for name in names]
    return base.Examples(tuple(names), self._dataset(cases, places))
