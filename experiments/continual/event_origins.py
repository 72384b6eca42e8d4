"""Event streams by their origin: which process generated a stream?

    splits = data.load("event_origins", classes=6)
    splits = data.load("event_origins", paths=("shop_a.csv", "shop_b.csv"))

An example is a stream as a series: one channel for the gaps between events, and
one for each kind of event. Its class is the process, or the table, that it
comes from. Networks can learn to classify more and more of them.
"""

from collections.abc import Sequence
import itertools

import numpy as np

from jaxseq import validate
from jaxseq.data import datasets
from jaxseq.data import point_processes
from jaxseq.data.files import table_files
from jaxseq.data.sources import events

# The shortest first.
_UNITS = ("second", "minute", "hour", "day")

# The kind of event that each of three kinds excites.
_ORDERS = tuple(itertools.permutations(range(3)))
_RATE = 0.15


def load(
  *,
  classes: int = 6,
  strength: float = 0.75,
  train: int = 300,
  test: int = 100,
  horizon: float = 20.0,
  length: int = 48,
  paths: Sequence[table_files.Path] | None = None,
  stream: str = "stream",
  time: str = "time",
  mark: str | None = None,
  seed: int = 0,
) -> datasets.Splits:
  """Returns streams of Hawkes processes, or of tables, with their origin.

  In each process events of each of three kinds excite events of one kind, their
  own or another; the pairs differ between processes. The mean number of events,
  and of events of each kind, is the same in all.

  Args:
    classes: number of processes, 2 to 6.
    strength: mean number of events that an event excites, below 1.
    train: streams of each process for training.
    test: streams of each process for testing.
    horizon: end of observation of each stream.
    length: maximum number of events of a stream; the first ones are kept.
    paths: tables of events in place of processes, two or more.
    stream: column of the stream in tables, see `sources.events.load`.
    time: column of the time in tables.
    mark: column of the kind of event in tables.
    seed: seed of all random choices.

  Returns:
    Train and test, without a validation part. Inputs (n, events, 1 + kinds) are
    log(1 + gap / mean gap) and the one-hot kind of the event; lengths (n,),
    targets (n,) the class. For processes the description states how many test
    streams their exact likelihoods classify correctly.

  Raises:
    ValueError: if an option is out of range, or a file is invalid.
    MissingData: if a file is missing.
  """
  validate.positive("length", length)
  if paths is not None:
    if len(paths) < 2:
      raise validate.error("paths", paths, "two tables or more")
    columns = {"stream": stream, "time": time, "mark": mark, "seed": seed}
    sets = _of_tables(paths, columns)
    place = ", ".join(map(table_files.describe, paths))
    return of_streams(sets, length, "Streams of which table?", place)
  validate.integer("classes", classes, 2, len(_ORDERS))
  processes = [
    point_processes.Hawkes(
      (_RATE,) * 3,
      tuple(map(tuple, (strength * np.eye(3)[list(order)]).tolist())),
    )
    for order in _ORDERS[:classes]
  ]
  counts = {"train": train, "valid": 1, "test": test, "horizon": horizon}
  sets = [
    point_processes.load(process, seed * classes + number, **counts)
    for number, process in enumerate(processes)
  ]
  guesses = [_most_likely(processes, one.test, horizon, length) for one in sets]
  right = np.mean([x == number for number, x in enumerate(guesses)])
  text = f"Streams of which process? The exact likelihoods give {right:.3f}."
  return of_streams(sets, length, text, "simulated by thinning")


def _of_tables(paths, columns):
  """Loads the sets of event tables, with times in one unit."""
  sets = [events.load(path, **columns) for path in paths]
  units = {one.info.preparation.unit for one in sets}
  if len(units) == 1:
    return sets
  if None in units:
    expected = "tables with dates, or all with numbers, as times"
    raise validate.error("paths", paths, expected)
  # Loaded alone, each table gets the unit that fits its gaps.
  unit = min(units, key=_UNITS.index)
  return [events.load(path, **columns, unit=unit) for path in paths]


def of_streams(
  sets: Sequence[datasets.Splits], length: int, description: str, where: str
) -> datasets.Splits:
  """Returns streams of several sets, with the number of the set as class.

  Args:
    sets: sets of events, from any source.
    length: see `load`.
    description: description of the data.
    where: origin of the data.

  Returns:
    The splits, see `load`.
  """
  names = [
    one.info.classes or tuple(map(str, range(one.info.num_classes)))
    for one in sets
  ]
  kinds = sorted(set().union(*names))
  gaps = np.concatenate(
    [one.train.inputs[datasets.inside(one.train)].ravel() for one in sets]
  )
  scale = float(gaps.mean()) or 1.0

  places = [np.array([kinds.index(x) for x in words]) for words in names]

  def part(name):
    rows, lengths = zip(
      *(
        _series(getattr(one, name), place, len(kinds), scale, length)
        for one, place in zip(sets, places)
      )
    )
    targets = np.repeat(np.arange(len(rows)), list(map(len, rows)))
    return datasets.ArrayDataset(
      np.concatenate(rows), targets.astype(np.int32), np.concatenate(lengths)
    )

  info = datasets.Info(
    description, where, "that of the events", num_classes=len(sets)
  )
  return datasets.Splits(part("train"), None, part("test"), info)


def _series(part, places, kinds, scale, length):
  """Series and lengths of the first events of the streams that have any."""
  some = part.lengths > 0
  inputs, marks = part.inputs[some, :length, 0], part.targets[some, :length]
  lengths = np.minimum(part.lengths[some], length).astype(np.int32)
  hot = np.eye(kinds, dtype=np.float32)[places[marks]]
  gaps = np.log1p(inputs / scale)[..., None]
  real = np.arange(inputs.shape[1]) < lengths[:, None]
  series = np.concatenate([gaps, hot], axis=-1)
  series = np.where(real[..., None], series, 0)
  missing = length - series.shape[1]
  return np.pad(series, ((0, 0), (0, missing), (0, 0))), lengths


def _most_likely(processes, part, horizon, length):
  """The most likely process (n,) of each stream's first events."""
  times = np.asarray(part.extras.times, float)
  observed = point_processes.Events(times, part.targets, part.lengths, horizon)
  terms = [process.log_density(observed).events for process in processes]
  return np.argmax([x[:, :length].sum(axis=1) for x in terms], axis=0)
