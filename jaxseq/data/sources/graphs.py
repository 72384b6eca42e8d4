"""Events of a graph in tables: source, destination and time.

    splits = data.load("graph_table", path="follows.csv")
    later = splits.info.preparation.read("later.csv")

`data.event_graphs` loads the training data; this module reads later events.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any
from typing import ClassVar

from absl import logging
import numpy as np

from jaxseq import validate
from jaxseq.data import _raw_arrays
from jaxseq.data import _time_stamps
from jaxseq.data import datasets
from jaxseq.data.files import table_files
from jaxseq.data.sources import base

# Times later than so many durations of the training data suggest another unit
# of time.
_FAR = 100


@dataclasses.dataclass(frozen=True)
class GraphSource(base.TableSource):
  """Events (source, destination) after those of the training, sorted by time.

  `prepare` takes rows (source, destination, *features), nodes by name or, if
  they have no names, by number, and the time of each row. The destination may
  be None or "": such a row is a query for the destination, not an event. Nodes
  that no training event has get the numbers after all others, in the order of
  their appearance.

  Attributes:
    nodes: names of the nodes 1, 2, ...
    destinations: number of nodes that are destinations and come first, if
      these are of another kind than sources; None if they are of one kind.
    source: column of a table that names the node an event comes from.
    destination: column of the node it goes to, which a file may lack.
    time: column of the times, dates or numbers.
    features: columns of further numbers of an event.
    first: time of the first training event, from which all are counted.
    last: time of the last one; earlier events cannot be read.
  """

  kind: ClassVar[str] = "graph"
  forms: ClassVar[tuple[str, ...]] = ("graph_table",)

  _: dataclasses.KW_ONLY
  nodes: tuple[str, ...] | None = None
  destinations: base.Count | None = None
  source: str = "source"
  destination: str = "destination"
  time: str = "time"
  features: tuple[str, ...] | None = None
  first: str | None = None
  last: str | None = None

  def name(self, node: int) -> str:
    """Returns the name of a node."""
    return str(node) if self.nodes is None else self.nodes[node - 1]

  def between(self, times: np.ndarray) -> "GraphSource":
    """Returns the source for training events at some times."""
    ends = (times.min(), times.max())
    dates = _time_stamps.are_dates(times)
    first, last = (str(x) if dates else repr(float(x)) for x in ends)
    return dataclasses.replace(self, first=first, last=last)

  def table(
    self, path: Any, optional: Sequence[str] = ()
  ) -> tuple[table_files.Table, np.ndarray, np.ndarray | None]:
    """Reads a table of events, with their times and features.

    Args:
      path: a file, a folder or a pattern of files, or several.
      optional: columns that may be absent.

    Returns:
      The table, its stamps (rows,), and (rows, k) float64 or None.

    Raises:
      ValueError: naming the file, line and column with an invalid value.
    """
    table = table_files.read(
      table_files.find(path),
      list(dict.fromkeys((self.source, self.destination, self.time))),
      self.features or (),
      optional,
      self.form,
    )
    table_files.check_named(table, self.source, "a node")
    for name in self.features or ():
      lacks = ~np.isfinite(table.numbers[name])
      if lacks.any():
        place = table.place(int(np.argmax(lacks)), name)
        raise ValueError(f"{place}: got nothing, expected a number.")
    stamps = _time_stamps.parse(
      table.words[self.time],
      lambda row: table.place(row, self.time),
      self._dates,
      self.form,
    )
    if not self.features:
      return table, stamps, None
    columns = [table.numbers[name] for name in self.features]
    return table, stamps, np.stack(columns, axis=1)

  @property
  def _dates(self):
    """True if times are dates, see `between`; None before training."""
    return None if self.first is None else "T" in self.first

  def _prepare(self, values, lengths, times, targets):
    if targets is not None:
      raise validate.error("targets", type(targets).__name__, "None")
    rows = _raw_arrays.rows(values, lengths)
    if times is None or len(times) != len(rows):
      got = None if times is None else len(times)
      raise validate.error("times", got, f"{len(rows)}, one for each row")
    width = 2 + len(self.features or ())
    for number, row in enumerate(rows):
      if len(row) != width:
        expected = f"{width} entries: source, destination and features"
        raise validate.error(f"row {number}", f"{len(row)} entries", expected)
    stamps = _time_stamps.as_array(times)
    falls = stamps[1:] < stamps[:-1]
    if falls.any():
      row = int(np.argmax(falls)) + 1
      expected = f"{stamps[row - 1]} or later: rows are in the order of time"
      raise validate.error(f"row {row}: time", str(stamps[row]), expected)
    features = None
    if self.features:
      try:
        features = np.array([[float(x) for x in row[2:]] for row in rows])
      except (TypeError, ValueError):
        expected = "numbers in every row"
        raise validate.error("features", "other entries", expected) from None
      lacks = ~np.isfinite(features).all(axis=1)
      if lacks.any():
        row = int(np.argmax(lacks))
        raise ValueError(f"row {row}: got nothing, expected a number.")
    sources, destinations = ([row[i] for row in rows] for i in range(2))
    for number, name in enumerate(sources):
      if name is None or name == "":
        expected = "the name of a node"
        raise validate.error(f"row {number}: source", name, expected)
    return self._events(
      *(sources, destinations, stamps, features, np.arange(len(rows))),
      lambda row: f"row {row}",
    )

  def _read(self, path: Any) -> base.Examples:
    table, stamps, features = self.table(path, (self.destination,))
    order = np.argsort(stamps, kind="stable")
    nothing = [""] * len(stamps)
    destinations = table.words.get(self.destination, nothing)
    sources = table.words[self.source]
    dataset = self._events(
      sources, destinations, stamps, features, order, table.place
    )
    ids = tuple(str(row) for row in order)
    return base.Examples(ids, dataset, any(destinations))

  def _events(self, sources, destinations, stamps, features, order, place):
    """Returns the events in order; `place` locates one of them in messages."""
    ends = _time_stamps.parse(
      [self.first or "0", self.last or "0"], str, bool(self._dates)
    )
    if ends.dtype.kind != stamps.dtype.kind:
      kinds = {"M": "dates", "f": "numbers"}
      expected = f"{kinds[ends.dtype.kind]}, as in training"
      raise validate.error("times", kinds[stamps.dtype.kind], expected)
    early = stamps < ends[1]
    if early.any():
      row = int(np.argmax(early))
      expected = f"{ends[1]} or later: the training ended there"
      raise validate.error(f"{place(row)}: time", str(stamps[row]), expected)
    seconds = _time_stamps.seconds(stamps) - _time_stamps.seconds(ends)[0]
    whole = np.ptp(_time_stamps.seconds(ends))
    if whole and len(stamps) and seconds.min() > _FAR * whole:
      logging.warning(
        "%s: time: got %s, %g times as long after the beginning of the training"
        " as the training lasts; give times in the unit of the training's.",
        *(place(order[0]), stamps[order[0]], seconds.min() / whole),
      )
    numbers = self._numbers(
      [sources[row] for row in order], [destinations[row] for row in order]
    )
    if self.nodes is not None:
      self._tell_new(numbers, lambda row: place(order[row]))
    extras = datasets.Extras(
      times=seconds[order, None],
      features=None if features is None else features[order].astype(np.float32),
    )
    unknown = np.zeros((len(order), 1), np.int32)
    return datasets.ArrayDataset(numbers, unknown, extras=extras)

  def _tell_new(self, numbers, place):
    """Warns of nodes that no training event has."""
    new = (numbers > len(self.nodes or ())).any(axis=1)
    if new.any():
      logging.warning(
        "%s: got a node that no event of the training has (in %d of %d rows):"
        " such nodes have no past. If they are known, write their names as the"
        " training file has them.",
        *(place(int(np.argmax(new))), int(new.sum()), len(new)),
      )

  def _numbers(self, sources: Sequence[Any], destinations: Sequence[Any]):
    """Returns the nodes of events, (n, 2) int32; 0 for no destination."""
    if self.nodes is None:
      pairs = [[s, d or 0] for s, d in zip(sources, destinations)]
      try:
        nodes = np.array(pairs, np.int64).reshape(-1, 2)
      except (TypeError, ValueError):
        expected = "numbers from 1 on, as in training"
        raise validate.error("nodes", "names", expected) from None
      if (nodes < (1, 0)).any():
        raise validate.error("nodes", int(nodes.min()), "numbers from 1 on")
      return nodes.astype(np.int32)
    num_sources = self.destinations or 0
    places = {
      name: n + 1
      for n, name in enumerate(self.nodes[num_sources:], num_sources)
    }
    goals = places
    if self.destinations is not None:
      goals = {name: n + 1 for n, name in enumerate(self.nodes[:num_sources])}
    count, rows = len(self.nodes), []
    for pair in zip(sources, destinations):
      row = [0, 0]
      for column, (name, numbers) in enumerate(zip(pair, (places, goals))):
        if name is None or name == "":
          continue
        if str(name) not in numbers:
          count += 1
          numbers[str(name)] = count
        row[column] = numbers[str(name)]
      rows.append(row)
    return np.array(rows, np.int32).reshape(-1, 2)
