"""Temporal graphs: interactions of a source and a destination node at a time.

    splits = data.load("graph_table", path="follows.csv")
    splits = data.load("ml_100k_graph")
    splits = data.load("tgb_seq", path="GoogleLocal")

An event is an example: inputs (n, 2) int32 are its source and its destination,
nodes from 1 on, extras.times (n, 1) float64 its time in seconds since the first
or in the table's numbers, and extras.features (n, k) float32 further columns of
the table. Targets are (n, candidates) int32, other destinations from which a
model has to tell that of the event; they are 0 in the training part, which
needs no candidates. The events of all parts follow each other in time.
"""

from collections.abc import Sequence
import dataclasses
import os
import pathlib

import numpy as np

from jaxseq import validate
from jaxseq.data import _npy
from jaxseq.data import _row_groups
from jaxseq.data import _time_stamps
from jaxseq.data import datasets
from jaxseq.data import summaries
from jaxseq.data import value_checks
from jaxseq.data.files import movielens
from jaxseq.data.files import table_files
from jaxseq.data.files import text_forms
from jaxseq.data.sources import graphs
from jaxseq.data.sources import interactions

_TGB_COLUMNS = "src", "dst", "time", "split"
# Nodes are TGB-Seq's numbers plus 1, and have to fit in int32.
_NODES = 2**31 - 1
_NODE = "whole numbers from 0 on, below 2^31 - 1"
_AXES = "event", "column"
# Most candidates of all events together, at 8 bytes each.
_CANDIDATES = 2**29


def load(
  path: table_files.Path,
  *,
  source: str = "source",
  destination: str = "destination",
  time: str = "time",
  features: tuple[str, ...] = (),
  delimiter: str | None = None,
  encoding: str | None = None,
  decimal: str | None = None,
  date_format: str | None = None,
  bipartite: bool = False,
  valid_fraction: float = 0.15,
  test_fraction: float = 0.15,
  candidates: int = 100,
  seed: int = 0,
) -> datasets.Splits:
  """Loads the events of a table; simultaneous events keep its order.

  Args:
    path: a file, a folder or a pattern of files, or several.
    source: column that names the node an event comes from.
    destination: column of the node it goes to.
    time: column of the times, dates or numbers.
    features: columns of further numbers of an event.
    delimiter: between columns; if None a comma, or a tab in a .tsv file.
    encoding: of texts, such as "cp1252"; detected per file if None.
    decimal: decimal sign, "." or ","; detected per file if None.
    date_format: of dates, such as "%d.%m.%Y"; detected if None.
    bipartite: whether sources and destinations are nodes of two kinds, so that
      equal names do not mean one node.
    valid_fraction: share of the events for validation, after those for
      training.
    test_fraction: share of the events for testing, the last ones.
    candidates: number of other destinations per validation and test event,
      drawn with repetitions from all destinations of the table.
    seed: seed of the candidates.

  Returns:
    The splits, see `of_events`.

  Raises:
    ValueError: naming the file, line and column with an invalid value.
    MissingData: if a file, or for Parquet the package pyarrow, is missing.
  """
  prepared = graphs.GraphSource(
    reader="graph_table",
    source=source,
    destination=destination,
    time=time,
    features=tuple(features) or None,
    **text_forms.fields(delimiter, encoding, decimal, date_format),
  )
  table, stamps, values = prepared.table(path)
  prepared = dataclasses.replace(
    prepared,
    date_format=_time_stamps.date_format(table.words[time], str, date_format),
  )
  table_files.check_named(table, destination, "a node")
  place = table_files.describe(path)
  everything = [np.arange(len(stamps))]
  _row_groups.tell_moved(place, everything, stamps, "the table")
  return of_events(
    table.words[source],
    table.words[destination],
    stamps,
    place,
    prepared,
    features=values,
    bipartite=bipartite,
    valid_fraction=valid_fraction,
    test_fraction=test_fraction,
    candidates=candidates,
    seed=seed,
  )


def ml_100k_graph(
  *,
  valid_fraction: float = 0.15,
  test_fraction: float = 0.15,
  candidates: int = 100,
  seed: int = 0,
) -> datasets.Splits:
  """Loads the ratings of MovieLens-100k as events from users to films.

  Args:
    valid_fraction: share of the events for validation.
    test_fraction: share of the events for testing, the last ones.
    candidates: number of other destinations per validation and test event.
    seed: seed of the candidates.

  Returns:
    The splits, see `of_events`.

  Raises:
    MissingData: if recbole is not installed.
  """
  return of_events(
    *movielens.ratings(),
    "recbole's ml-100k",
    bipartite=True,
    valid_fraction=valid_fraction,
    test_fraction=test_fraction,
    candidates=candidates,
    seed=seed,
  )


def tgb_seq(
  path: str | os.PathLike, *, candidates: int = 100, seed: int = 0
) -> datasets.Splits:
  """Loads a data set of TGB-Seq from its folder, with parts and candidates.

  Source: Yi et al., arXiv:2502.02975. NAME.csv has the columns src, dst, time
  and split. NAME_test_ns.npy and NAME_valid_ns.npy, if present, hold candidates
  of the test and validation events, NAME_edge_feat features. Arrays are mapped,
  not read whole.

  Args:
    path: folder, with the name of the data set.
    candidates: number of candidates, for parts without a file of them.
    seed: seed of these candidates.

  Returns:
    The splits; nodes are the file's numbers plus 1.

  Raises:
    MissingData: if there is no NAME.csv.
    ValueError: if a column is missing, or a node or an array is invalid.
  """
  folder = pathlib.Path(path)
  table = folder / f"{folder.name}.csv"
  datasets.find_file(table, "TGB-Seq's folders hold one with their own name")
  rows = table_files.read((table,), (), _TGB_COLUMNS)
  _check_numbers(rows)
  src, dst, times, split = (rows.numbers[name] for name in _TGB_COLUMNS)
  order = np.argsort(times, kind="stable")
  nodes = np.stack([src, dst], axis=1).astype(np.int64)[order]
  part = split[order].astype(int)
  if np.any(np.diff(part) < 0) or set(np.unique(part)) != {0, 1, 2}:
    expected = "0, then 1, then 2 in the order of time"
    raise validate.error(f"{table}: split", sorted(set(part)), expected)
  others: list[np.ndarray | None] = []
  for number, name in enumerate(("valid", "test"), 1):
    # Rows of these files follow the table, which sorting by time may reorder.
    of_part = (np.cumsum(split == number) - 1)[order][part == number]
    file = folder / f"{folder.name}_{name}_ns.npy"
    array = _array(file, len(of_part))
    if array is not None:
      value_checks.refuse(str(file), array, _is_no_node, _AXES, None, _NODE)
      array = array[of_part].astype(np.int32) + 1
    others.append(array)
  features = _array(folder / f"{folder.name}_edge_feat.npy", len(order))
  if features is not None:
    # Only features that are out of order have to be copied.
    features = features[order].astype(np.float32)
  return make_splits(
    nodes + 1,
    times[order],
    part,
    str(folder),
    int(nodes.max()) + 1,
    features,
    others,
    candidates,
    seed,
  )


def _is_no_node(values):
  """True for values that are not node numbers."""
  whole = np.rint(values) == values
  return ~(whole & (values >= 0) & (values < _NODES))


def _check_numbers(rows):
  """Rejects a TGB-Seq table with a missing number or an invalid node."""
  for name, values in rows.numbers.items():
    wrong, expected = ~np.isfinite(values), "a number"
    if name in ("src", "dst"):
      wrong, expected = _is_no_node(values), _NODE
    elif name == "split":
      wrong, expected = ~np.isin(values, (0, 1, 2)), "0, 1 or 2"
    if wrong.any():
      row = int(np.argmax(wrong))
      place = rows.place(row, name)
      raise validate.error(place, values[row].item(), expected)


def _array(path, count):
  """Maps the array of a file with `count` rows; None if there is no file."""
  if not path.is_file():
    return None
  try:
    array = _npy.open_map(path)
  except ValueError as error:
    raise ValueError(
      f"{path} is no array that can be read: {error}."
    ) from error
  if array.dtype.kind not in "iuf":
    raise validate.error(str(path), f"dtype {array.dtype}", "numbers")
  if array.ndim != 2 or len(array) != count:
    expected = f"({count}, columns), a row for each event"
    raise validate.error(str(path), f"shape {array.shape}", expected)
  return array


def of_events(
  sources: Sequence[str],
  destinations: Sequence[str],
  times: np.ndarray,
  place: str,
  source: graphs.GraphSource | None = None,
  *,
  features: np.ndarray | None = None,
  bipartite: bool = False,
  valid_fraction: float = 0.15,
  test_fraction: float = 0.15,
  parts: np.ndarray | None = None,
  candidates: int = 100,
  seed: int = 0,
) -> datasets.Splits:
  """Builds the splits from events in memory, in any order.

  Args:
    sources: (events,) names.
    destinations: (events,) names.
    times: (events,) numbers or dates.
    place: origin of the events, for descriptions and messages.
    source: the columns of the table, if the events come from one.
    features: (events, k), or None.
    bipartite: see `load`.
    valid_fraction: share of the events for validation.
    test_fraction: share of the events for testing.
    parts: (events,) part of each event in the order of time, 0 for training, 1
      for validation and 2 for testing; by the shares if None.
    candidates: number of other destinations per validation and test event.
    seed: seed of the candidates.

  Returns:
    The splits; nodes have numbers from 1 on in the order of their names, with
    destinations before sources if they are of two kinds.
  """
  order = np.argsort(times, kind="stable")
  begins, ends = np.asarray(sources)[order], np.asarray(destinations)[order]
  if bipartite:
    to, head = np.unique(ends, return_inverse=True)
    tails, tail = np.unique(begins, return_inverse=True)
    tail, names, num_sources = (
      tail + len(to),
      np.concatenate([to, tails]),
      len(to),
    )
  else:
    names, number = np.unique(np.stack([begins, ends]), return_inverse=True)
    (tail, head), num_sources = number.reshape(2, -1), None
  times = _time_stamps.as_array(times)
  stamps = _time_stamps.seconds(times)[order]
  prepared = dataclasses.replace(
    source or graphs.GraphSource(),
    nodes=tuple(map(str, names)),
    destinations=num_sources,
  )
  if parts is None:
    parts = interactions.by_time(stamps, valid_fraction, test_fraction)
  splits = make_splits(
    np.stack([tail, head], axis=1) + 1,
    stamps,
    parts,
    place,
    len(names),
    None if features is None else features[order].astype(np.float32),
    candidates=candidates,
    seed=seed,
    source=prepared.between(times),
  )
  summary = summaries.of_rows(times[order], parts, nodes=len(names))
  return splits._replace(info=dataclasses.replace(splits.info, summary=summary))


def make_splits(
  nodes: np.ndarray,
  times: np.ndarray,
  part: np.ndarray,
  place: str,
  count: int,
  features: np.ndarray | None = None,
  others: Sequence[np.ndarray | None] = (None, None),
  candidates: int = 100,
  seed: int = 0,
  source: graphs.GraphSource | None = None,
) -> datasets.Splits:
  """Divides events into the parts of a data set.

  Args:
    nodes: (events, 2) sources and destinations, from 1 on, by time.
    times: (events,), non-decreasing.
    part: (events,) 0 for training, 1 for validation, 2 for testing;
      non-decreasing.
    place: origin of the events, for descriptions and messages.
    count: number of all nodes.
    features: (events, k) float32, or None.
    others: candidates of the validation and of the test events; drawn if None.
    candidates: number of candidates to draw for each event.
    seed: seed of these candidates.
    source: reader of later events; without it nodes are numbers there.

  Raises:
    ValueError: if there is no event to train on or to test with, or there are
      fewer than two destinations.
  """
  sizes = np.bincount(part, minlength=3)
  most = _CANDIDATES // max(1, *sizes[1:])
  validate.integer("candidates", candidates, 1, max(1, most))
  if not sizes[0] or not sizes[2]:
    got = f"{sizes[0]} for training and {sizes[2]} for testing"
    raise validate.error(f"{place}: events", got, "some of both")
  destinations = np.unique(nodes[:, 1])
  if len(destinations) < 2:
    raise validate.error(f"{place}: destinations", 1, "two or more")
  rng = np.random.default_rng(seed)
  source = source or graphs.GraphSource().between(np.asarray(times, float))
  times = times - times[:1]
  sets: list[datasets.ArrayDataset | None] = []
  for number, size in enumerate(sizes):
    rows = part == number
    end = nodes[rows, 1:]
    if not number:
      targets = np.zeros((size, 1), np.int32)
    elif (drawn := others[number - 1]) is not None:
      targets = drawn
    else:
      targets = draw(rng, end, destinations, candidates)
    extras = datasets.Extras(
      times=times[rows, None],
      features=None if features is None else features[rows],
    )
    arrays = (x.astype(np.int32) for x in (nodes[rows], targets))
    part_set = datasets.ArrayDataset(*arrays, extras=extras)
    sets.append(part_set if size else None)
  info = datasets.Info(
    f"{len(nodes)} events of {count} nodes; where does the next one go?",
    place,
    "that of the files",
    vocab_size=count + 1,
    preparation=source,
  )
  return datasets.Splits(*sets, info)


def draw(
  rng: np.random.Generator,
  destination: np.ndarray,
  destinations: np.ndarray,
  count: int,
) -> np.ndarray:
  """Draws other destinations uniformly, with repetitions.

  TGB-Seq's sampler draws any number from the first destination to before the
  last one; here nodes that are only sources are left out.

  Args:
    rng: random generator.
    destination: (n, 1) destinations of the events, which are not drawn.
    destinations: (m,) all destinations, sorted.
    count: number of draws for each event.

  Returns:
    Drawn destinations (n, count).
  """
  shape = len(destination), count
  others = rng.integers(0, len(destinations) - 1, shape)
  others += others >= np.searchsorted(destinations, destination)
  return destinations[others]
