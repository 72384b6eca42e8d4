"""A table of each kind of data: a file to learn from, and one that comes later.

A kind of your own is another entry of `TABLES` if tables hold it, and of
`ARRAYS`; `contract_test.py` and `odd_forms_test.py` hand over such data.
"""

from collections.abc import Callable
import json
import pathlib
from typing import Any
from typing import NamedTuple

import numpy as np

from jaxseq import data
from jaxseq.data.sources import graphs
from jaxseq.data.sources import interactions
from jaxseq.data.sources import letters
from jaxseq.data.sources import logs
from jaxseq.data.sources import paragraphs
from jaxseq.data.sources import registry

RNG = np.random.default_rng(0)
KINDS = tuple(registry.KINDS.names())


class Case(NamedTuple):
  """A kind of data in tables.

  Attributes:
    name: of the data set's loader.
    options: of the loader.
    train: the lines of its file, names first.
    later: rows of a file that comes later.
    names: the column of classes, items, nodes or the like.
    values: columns of numbers.
  """

  name: str
  options: dict[str, Any]
  train: list[str]
  later: list[str]
  names: str | None = None
  values: tuple[str, ...] = ()

  @property
  def time(self) -> str:
    """The column of times."""
    return self.options["time"]

  def column(self, name: str) -> int:
    """Returns the place of a column."""
    return self.train[0].split(",").index(name)

  def changed(
    self, name: str, change: Callable[[str], str], parts=("train", "later")
  ) -> "Case":
    """Returns the case with other entries of a column, in some of its files."""
    place, lines = self.column(name), {}

    def other(line):
      words = line.split(",")
      words[place] = change(words[place])
      return ",".join(words)

    for part in parts:
      first = 1 if part == "train" else 0
      rows = getattr(self, part)
      lines[part] = [*rows[:first], *map(other, rows[first:])]
    return self._replace(**lines)


def _series():
  rows = [
    f"{name},{step * 10},{RNG.normal():.3f},5,{RNG.normal():.3f},{label}"
    for name, label, count in zip(
      "abcdefgh", ("run", "walk") * 4, (5, 3, 4, 5, 2, 3, 4, 1)
    )
    for step in range(count)
  ]
  later = [
    f"{name},{step * 10},{step + 0.5},5,{step - 0.25},run"
    for name, count in zip("pqr", (2, 1, 9))
    for step in range(count)
  ]
  options = {"id": "id", "time": "time", "label": "label", "valid_fraction": 0}
  train = ["id,time,x,still,y,label", *rows]
  return Case("table", options, train, later, "label", ("x", "still", "y"))


def _events():
  rows = [
    f"{name},{2 * (step + 1)},{'xy'[step % 2]}"
    for name in "abcdefgh"
    for step in range(4)
  ]
  later = ["p,1,x", "p,2,y", "q,5,x", *(f"r,{3 * i + 1},y" for i in range(9))]
  options = {"stream": "user", "time": "at", "mark": "kind", "start": 0}
  return Case("event_table", options, ["user,at,kind", *rows], later, "kind")


def _forecast():
  def line(day, month=1):
    return f"2024-{month:02}-{day:02},{RNG.normal():.3f},7,{RNG.normal():.3f}"

  options = {"time": "day", "input_length": 4, "horizon": 2}
  train = ["day,load,still,wind", *(line(day) for day in range(1, 32))]
  later = [line(day, 2) for day in range(1, 8)]
  values = ("load", "still", "wind")
  return Case("forecast_table", options, train, later, None, values)


def _panel():
  def line(name, day, month=1):
    values = f"{RNG.normal():.3f},7,{RNG.normal():.3f}"
    return f"{name},2024-{month:02}-{day:02},{values},{name * 2}"

  options = {"series": "shop", "time": "day", "static": "region"}
  options |= {"input_length": 4, "horizon": 2}
  rows = [line(name, day) for day in range(1, 32) for name in "ab"]
  train = ["shop,day,load,still,wind,region", *rows]
  later = [line("a", day, 2) for day in range(1, 9)]
  later += [line("b", day, 2) for day in range(3, 9)]
  values = ("load", "still", "wind")
  return Case("forecast_table", options, train, later, "shop", values)


def _interactions():
  rows = [
    f"{name},{step},i{step * 3 % 5}" for name in "abcd" for step in range(5)
  ]
  later = ["p,0,i3", "p,2,i1", "q,5,i0", *(f"r,{i},i{i % 4}" for i in range(9))]
  train = ["user,time,item", *rows]
  options = {"time": "time", "gap": 1.0}
  return Case("interaction_table", options, train, later, "item")


def _graph():
  rows = [f"{'abcdef'[i % 6]},{'abcdef'[i * i % 5]},{i}" for i in range(30)]
  later = [f"{'abc'[i % 3]},{'fed'[i % 3]},{40 + 2 * i}" for i in range(7)]
  train = ["source,destination,time", *rows]
  return Case("graph_table", {"time": "time"}, train, later, "destination")


def _log():
  steps = {"a": "in pack out", "b": "in out", "c": "in pack pack out"}
  rows = [
    f"{name}{number},{place},{step}"
    for number in range(4)
    for name, line in steps.items()
    for place, step in enumerate(line.split())
  ]
  later = [
    "p,1,in",
    "p,2,pack",
    "q,5,in",
    *(f"r,{i},pack" for i in range(1, 9)),
  ]
  options = {"case": "order", "activity": "step", "time": "time"}
  return Case("event_log", options, ["order,time,step", *rows], later, "step")


TABLES = {
  "series": _series(),
  "events": _events(),
  "forecast": _forecast(),
  "interactions": _interactions(),
  "graph": _graph(),
  "log": _log(),
  "panel": _panel(),
}


def _prepared(source, values):
  """Examples of arrays that have no times."""
  return source.prepare(values)


def _prepared_in_time(source, values):
  """Examples of streams with an event at every whole time."""
  times = [np.arange(1, len(value) + 1) for value in values]
  return source.prepare(values, times=times)


class Arrays(NamedTuple):
  """Examples in memory of a kind of data.

  Attributes:
    source: of them.
    values: some examples, as `prepare` takes them.
    empty: one that holds nothing.
    unknown: one that holds what the training had not; None if it may hold all.
    prepare: (source, values) -> the data set.
  """

  source: data.Source
  values: Any
  empty: Any = None
  unknown: Any = None
  prepare: Callable[[data.Source, Any], data.ArrayDataset] = _prepared


SERIES = [np.ones((length, 1)) for length in (4, 2, 5)]
ARRAYS = {
  "events": Arrays(
    data.sources.EventSource(classes=("a", "b"), horizon=9.0),
    [["a", "b"], ["b"], ["a", "a", "b"]],
    [],
    ["c"],
    _prepared_in_time,
  ),
  "forecast": Arrays(
    data.sources.WindowSource(channels=("x",), length=2), SERIES, SERIES[0][:0]
  ),
  "graph": Arrays(
    graphs.GraphSource(nodes=("a", "b"), first="0.0", last="0.0"),
    [("a", "b"), ("b", "a"), ("b", "")],
    ("", ""),
    ("c", "a"),
    lambda source, values: source.prepare(values, times=np.ones(len(values))),
  ),
  "images": Arrays(
    data.sources.ImageSource(image_size=(4, 5)),
    list(RNG.integers(0, 255, (3, 4, 5)).astype(np.uint8)),
    np.zeros((0, 5), np.uint8),
    np.zeros((5, 4), np.uint8),
  ),
  "interactions": Arrays(
    interactions.InteractionSource(items=("a", "b")),
    [["a", "b"], ["b"], ["a", "a", "b"]],
    [],
    ["c"],
  ),
  "letters": Arrays(
    letters.LetterSource(), ["ACG", "A", "GG<mask>U"], "", "AXX"
  ),
  "log": Arrays(
    logs.LogSource(activities=("a", "b")),
    [["a", "b"], ["b"], ["a", "a", "b"]],
    [],
    ["c"],
  ),
  "panel": Arrays(
    data.sources.PanelSource(channels=("x",), length=2), SERIES, SERIES[0][:0]
  ),
  "paragraphs": Arrays(
    paragraphs.ParagraphSource(words=3),
    [["one two", "three"], ["a b c d"], ["x", "y", "z"]],
    [],
  ),
  "series": Arrays(
    data.sources.SeriesSource(channels=("x",), length=3), SERIES, SERIES[0][:0]
  ),
  "text": Arrays(
    data.sources.TextSource(vocab_size=256),
    ["ab", b"a longer one", "\u00e4"],
    "",
    [256, 0],
  ),
  "tokens": Arrays(
    data.sources.TokenSource(vocab_size=5, length=3, classes=("a",)),
    [[1, 2], [3], [4, 4, 4, 4, 4]],
    [],
    [5],
  ),
}


def write(path: pathlib.Path, lines: list[str], encoding="utf-8"):
  """Writes lines to a file."""
  path.write_text("\n".join(lines) + "\n", encoding=encoding)
  return path


def learn(folder: pathlib.Path, case: Case) -> data.Source:
  """Returns the source of a training file, after it was JSON."""
  path = write(folder / "train.csv", case.train)
  splits = data.load(case.name, path=path, **case.options)
  for part in filter(None, splits[:3]):
    for array in (part.inputs, part.targets):
      assert np.isfinite(array).all()
  source = splits.info.preparation
  fields = json.loads(json.dumps(source.to_json(), allow_nan=False))
  assert data.sources.from_json(fields) == source
  return data.sources.from_json(fields)


def later(
  folder: pathlib.Path, case: Case, source: data.Source
) -> data.Examples:
  """Returns what a source reads in the later file of a case."""
  return source.read(write(folder / "later.csv", [case.train[0], *case.later]))


def same(one: data.Examples, other: data.Examples) -> None:
  """Checks that examples are the same to the bit."""
  assert one.ids == other.ids
  for a, b in zip(
    [*one.dataset[:3], *one.dataset.extras],
    [*other.dataset[:3], *other.dataset.extras],
  ):
    np.testing.assert_array_equal(a, b)
