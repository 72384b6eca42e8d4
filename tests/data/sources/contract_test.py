"""All sources: healthy but odd data give the right result, or one sentence.

A case is a kind of data with a file to learn from and one that comes later. A
kind of your own is another entry of `TABLES` or `ARRAYS`.
"""

from collections.abc import Callable
import json
import pathlib
from typing import Any
from typing import NamedTuple

import numpy as np
import pytest

from jaxseq import data

RNG = np.random.default_rng(0)


class Case(NamedTuple):
  """A kind of data.

  Attributes:
    name: of the data set's loader.
    options: of the loader.
    train: the lines of its file, names first.
    later: rows of a file that comes later.
  """

  name: str
  options: dict[str, Any]
  train: list[str]
  later: list[str]


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
  return Case("table", options, ["id,time,x,still,y,label", *rows], later)


def _events():
  rows = [
    f"{name},{2 * (step + 1)},{'xy'[step % 2]}"
    for name in "abcdefgh"
    for step in range(4)
  ]
  later = ["p,0,x", "p,2,y", "q,5,x", *(f"r,{3 * i + 1},y" for i in range(9))]
  options = {"stream": "user", "time": "at", "mark": "kind"}
  return Case("event_table", options, ["user,at,kind", *rows], later)


def _forecast():
  def line(day, month=1):
    return f"2024-{month:02}-{day:02},{RNG.normal():.3f},7,{RNG.normal():.3f}"

  options = {"time": "day", "input_length": 4, "horizon": 2}
  train = ["day,load,still,wind", *(line(day) for day in range(1, 32))]
  later = [line(day, 2) for day in range(1, 8)]
  return Case("forecast_table", options, train, later)


def _interactions():
  rows = [
    f"{name},{step},i{step * 3 % 5}" for name in "abcd" for step in range(5)
  ]
  later = ["p,0,i3", "p,2,i1", "q,5,i0", *(f"r,{i},i{i % 4}" for i in range(9))]
  return Case(
    "interaction_table", {"time": "time"}, ["user,time,item", *rows], later
  )


TABLES = {
  "series": _series(),
  "events": _events(),
  "forecast": _forecast(),
  "interactions": _interactions(),
}


def write(path, lines, encoding="utf-8"):
  path.write_text("\n".join(lines) + "\n", encoding=encoding)
  return path


def learn(folder: pathlib.Path, case: Case) -> data.Source:
  """The source of a training file, after it was JSON."""
  path = write(folder / "train.csv", case.train)
  splits = data.load(case.name, path=path, **case.options)
  for part in filter(None, splits[:3]):
    for array in (part.inputs, part.targets):
      assert np.isfinite(array).all()
  source = splits.info.preparation
  fields = json.loads(json.dumps(source.to_json(), allow_nan=False))
  assert data.sources.from_json(fields) == source
  return data.sources.from_json(fields)


def later(folder, case, source):
  return source.read(write(folder / "later.csv", [case.train[0], *case.later]))


def same(one: data.Examples, other: data.Examples) -> None:
  assert one.ids == other.ids
  for a, b in zip(
    [*one.dataset[:3], *one.dataset.extras],
    [*other.dataset[:3], *other.dataset.extras],
  ):
    np.testing.assert_array_equal(a, b)


tables = pytest.mark.parametrize("kind", TABLES)


@tables
def test_columns_may_stand_in_another_order_among_others(tmp_path, kind):
  case = TABLES[kind]
  source = learn(tmp_path, case)
  wanted = later(tmp_path, case, source)
  rows = [line.split(",") for line in (case.train[0], *case.later)]
  order = np.random.default_rng(1).permutation(len(rows[0]))
  lines = [
    ",".join([row[i] for i in order] + [word])
    for row, word in zip(rows, ["note", *["a word"] * len(rows)])
  ]
  same(source.read(write(tmp_path / "other.csv", lines)), wanted)


@tables
def test_a_spreadsheet_may_have_written_the_file(tmp_path, kind):
  case = TABLES[kind]
  source = learn(tmp_path, case)
  wanted = later(tmp_path, case, source)
  lines = [
    ",".join(f'"{word}"' for word in line.split(","))
    for line in (case.train[0], *case.later)
  ]
  path = write(tmp_path / "other.csv", lines, encoding="utf-8-sig")
  path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
  same(source.read(path), wanted)


@tables
def test_a_frame_is_read_as_the_file_is(tmp_path, kind):
  pandas = pytest.importorskip("pandas")
  case = TABLES[kind]
  source = learn(tmp_path, case)
  wanted = later(tmp_path, case, source)
  frame = pandas.read_csv(tmp_path / "later.csv")
  same(source.read(frame), wanted)
  same(source.read(frame[frame.columns[::-1]]), wanted)
  time = case.options["time"]
  if frame[time].dtype.kind not in "if":
    frame[time] = pandas.to_datetime(frame[time])
  same(source.read(frame.set_index(time)), wanted)
  with pytest.raises(ValueError, match=f"frame: there is no column '{time}'"):
    source.read(frame.drop(columns=time))


@tables
def test_the_order_of_rows_does_not_matter(tmp_path, kind):
  case = TABLES[kind]
  source = learn(tmp_path, case)
  wanted = later(tmp_path, case, source)
  # The first rows of series and streams stay the first, which orders them.
  lines = [case.train[0], *sorted(case.later, key=lambda line: line[0])]
  at = case.train[0].split(",").index(case.options["time"])
  lines[1:] = sorted(lines[1:], key=lambda line: line.split(",")[at])
  found = source.read(write(tmp_path / "other.csv", lines))
  assert sorted(found.ids) == sorted(wanted.ids)
  for number, name in enumerate(wanted.ids):
    np.testing.assert_array_equal(
      found.dataset.inputs[found.ids.index(name)], wanted.dataset.inputs[number]
    )


@pytest.mark.parametrize("kind", ["series", "events", "interactions"])
def test_an_example_alone_is_the_same_as_in_company(tmp_path, kind):
  case = TABLES[kind]
  source = learn(tmp_path, case)
  wanted = later(tmp_path, case, source)
  all_of_them = wanted.dataset.inputs, *wanted.dataset.extras
  for number, name in enumerate(wanted.ids):
    rows = [line for line in case.later if line.startswith(f"{name},")]
    path = write(tmp_path / "alone.csv", [case.train[0], *rows])
    found = source.read(path).dataset
    size = len(rows)
    assert wanted.dataset.lengths[number] == size
    for one, together in zip((found.inputs, *found.extras), all_of_them):
      if one is not None:
        np.testing.assert_array_equal(one[0, :size], together[number, :size])


@tables
def test_what_never_changes_is_zero(tmp_path, kind):
  case = TABLES[kind]
  source = learn(tmp_path, case)
  found = later(tmp_path, case, source).dataset
  assert np.isfinite(found.inputs).all()
  if kind in ("series", "forecast"):
    assert np.all(found.inputs[..., 1] == 0)


def test_rounding_is_no_deviation():
  scale = data.scale.Scale.of(np.full((1000, 1), 0.1))
  assert scale.deviation == (0.1,)


@tables
def test_one_row_is_enough_or_refused_in_one_sentence(tmp_path, kind):
  case = TABLES[kind]
  source = learn(tmp_path, case)
  path = write(tmp_path / "one.csv", [case.train[0], case.later[0]])
  if kind == "forecast":
    with pytest.raises(ValueError, match="one.csv: got 1 times, .* at least 4"):
      source.read(path)
  else:
    assert len(source.read(path).dataset.inputs) == 1
  path = write(tmp_path / "none.csv", [case.train[0]])
  with pytest.raises(ValueError, match="none.csv: got no rows, expected at"):
    source.read(path)


@pytest.mark.parametrize("kind", ["series", "forecast"])
def test_another_step_in_time_is_refused(tmp_path, kind):
  case = TABLES[kind]
  source = learn(tmp_path, case)
  at = case.train[0].split(",").index(case.options["time"])
  rows = [line.split(",") for line in case.later]
  for row in rows:
    row[at] = (
      str(float(row[at]) / 10)
      if kind == "series"
      else f"2024-02-01 {int(row[at][-2:]):02}:00"
    )
  path = write(tmp_path / "o.csv", [case.train[0], *map(",".join, rows)])
  with pytest.raises(ValueError, match="o.csv.*: got a step in time of .* in "):
    source.read(path)


@pytest.mark.parametrize("kind", ["series", "forecast"])
def test_arrays_and_frames_in_memory_are_taken_by_name(tmp_path, kind):
  pandas = pytest.importorskip("pandas")
  source = learn(tmp_path, TABLES[kind])
  values = RNG.normal(size=(6, 3))
  frame = pandas.DataFrame(values, columns=list(source.channels))
  wanted = source.prepare([values]).inputs
  fields = np.zeros(6, [(name, float) for name in source.channels[::-1]])
  for place, name in enumerate(source.channels):
    fields[name] = values[:, place]
  swapped = frame[frame.columns[::-1]].assign(note=1.0)
  for one in ([frame], [swapped], [fields], frame, swapped):
    np.testing.assert_array_equal(source.prepare(one).inputs, wanted)
  with pytest.raises(ValueError, match="series 0: columns: got .*'other'"):
    source.prepare([frame.rename(columns={source.channels[0]: "other"})])


def _pictures():
  return RNG.integers(0, 255, (3, 4, 5)).astype(np.uint8)


ARRAYS: dict[str, tuple[Callable[[], data.Source], Any, Any]] = {
  "tokens": (
    lambda: data.sources.TokenSource(vocab_size=5, length=3, classes=("a",)),
    [[1, 2], [3], [4, 4, 4, 4, 4]],
    [[5]],
  ),
  "text": (
    lambda: data.sources.TextSource(vocab_size=256),
    ["ab", b"a longer one", "ä"],
    ["a"],
  ),
  "images": (
    lambda: data.sources.ImageSource(image_size=(4, 5)),
    _pictures(),
    np.zeros((1, 5, 4), np.uint8),
  ),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_alone_are_the_same_as_in_company(kind):
  make, values, wrong = ARRAYS[kind]
  source = make()
  assert data.sources.from_json(source.to_json()) == source
  together = source.prepare(values)
  for number, value in enumerate(values):
    alone = source.prepare(values[number : number + 1])
    size = len(value) if kind == "tokens" else alone.inputs.shape[1]
    np.testing.assert_array_equal(
      alone.inputs[0, :size], together.inputs[number, :size]
    )
  with pytest.raises(ValueError, match="got .*expected") as error:
    source.prepare(wrong)
  assert "\n" not in str(error.value)
  with pytest.raises(ValueError, match="got"):
    source.prepare([])
