"""All sources: files, frames and arrays in other forms are read the same.

The kinds of data are those of `cases.py`; `odd_forms_test.py` has odd forms.
"""

import gzip
import re

import numpy as np
import pytest

from jaxseq import data
from tests.data.sources import cases
from tests.data.sources.cases import ARRAYS
from tests.data.sources.cases import TABLES
from tests.data.sources.cases import later
from tests.data.sources.cases import learn
from tests.data.sources.cases import same
from tests.data.sources.cases import write

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
def test_a_german_spreadsheet_may_have_written_the_file(tmp_path, kind):
  case = TABLES[kind]
  source = learn(tmp_path, case)
  wanted = later(tmp_path, case, source)
  numbers = [case.column(name) for name in case.values]
  rows = [line.split(",") for line in (case.train[0], *case.later)]
  for row in rows[1:]:
    for place in numbers:
      row[place] = row[place].replace(".", ",")
  lines = ["sep=;", *(";".join([*row, "schön"]) for row in rows)]
  path = write(tmp_path / "other.csv", lines, encoding="cp1252")
  path.write_bytes(gzip.compress(path.read_bytes()))
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
  time = case.time
  if frame[time].dtype.kind not in "if":
    frame[time] = pandas.to_datetime(frame[time])
  same(source.read(frame.set_index(time)), wanted)
  with pytest.raises(ValueError, match=f"frame: there is no column '{time}'"):
    source.read(frame.drop(columns=time))


@tables
def test_what_never_changes_is_zero(tmp_path, kind):
  case = TABLES[kind]
  source = learn(tmp_path, case)
  found = later(tmp_path, case, source).dataset
  assert np.isfinite(found.inputs).all()
  if kind in ("series", "forecast", "panel"):
    assert np.all(found.inputs[..., 1] == 0)


def test_rounding_is_no_deviation():
  scale = data.scale.Scale.of(np.full((1000, 1), 0.1))
  assert scale.deviation == (0.1,)


@pytest.mark.parametrize("kind", ["series", "forecast", "panel"])
def test_another_step_in_time_is_refused(tmp_path, kind):
  case = TABLES[kind]
  source = learn(tmp_path, case)
  at = case.train[0].split(",").index(case.time)
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
  values = cases.RNG.normal(size=(6, 3))
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


# What becomes of one example among others: they and it are the "same"; it is
# "refused" or "warned" of in words that the rest matches; or it is "absent",
# and the rest says why there is no such example.
EMPTY = {
  "events": "same",
  "forecast": "refused: series 3: got shape .0, 1., .* at least one element",
  "graph": "refused: row 3: source: got '', expected the name of a node",
  "images": "refused: images: got 'several shapes', expected pictures of one",
  "interactions": "refused: user 3: got shape .0,., expected a history",
  "letters": "refused: sequence 3: got .*, expected letters",
  "log": "refused: case 3: got 'no event', expected one or more",
  "panel": "refused: series 3: got shape .0, 1., .* at least one element",
  "paragraphs": "refused: document 3: got .*, expected a sequence of para",
  "series": "refused: series 3: got shape .0, 1., .* at least one element",
  "text": "refused: text 3: got shape .0,., .* with at least one element",
  "tokens": "refused: sequence 3",
}
UNKNOWN = {
  **dict.fromkeys(("forecast", "series", "panel"), "absent: numbers"),
  "events": "refused: marks of sequence 3: got 'c', expected one of 'a', 'b'",
  "graph": "warned: row 3: got a node that no event of the training has",
  "images": "refused: images: got 'several shapes', expected pictures of one",
  "interactions": "refused: items: got 'c', expected one of 'a', 'b'",
  "letters": "warned: of the letters are not of the model's alphabet",
  "log": "refused: case 3: activity: got 'c', expected one of 'a', 'b'",
  "paragraphs": "absent: all words have a number",
  "text": "refused: text 3: got 256, expected tokens 0 to 255",
  "tokens": "refused: sequence 3: got 5, expected tokens 0 to 4",
}


def test_every_kind_has_an_outcome():
  for outcomes in (ARRAYS, EMPTY, UNKNOWN):
    assert outcomes.keys() == set(cases.KINDS)


def _prefixes(dataset, number, width):
  return [
    x[number][:width]
    for x in (dataset.inputs, dataset.extras.words, dataset.extras.times)
    if x is not None
  ]


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_alone_are_the_same_as_in_company(kind):
  case = ARRAYS[kind]
  assert data.sources.from_json(case.source.to_json()) == case.source
  together = case.prepare(case.source, case.values)
  for number, value in enumerate(case.values):
    alone = case.prepare(case.source, [value])
    width = alone.inputs.shape[1]
    for one, other in zip(
      _prefixes(alone, 0, width), _prefixes(together, number, width)
    ):
      np.testing.assert_array_equal(one, other)
  with pytest.raises(ValueError, match="got"):
    case.source.prepare([])


@pytest.mark.parametrize("what", ["empty", "unknown"])
@pytest.mark.parametrize("kind", ARRAYS)
def test_an_odd_example_changes_no_other_or_gets_a_sentence(caplog, kind, what):
  case = ARRAYS[kind]
  outcomes = EMPTY if what == "empty" else UNKNOWN
  outcome, _, words = outcomes[kind].partition(": ")
  if outcome == "absent":
    assert getattr(case, what) is None
    return
  values = [*case.values, getattr(case, what)]
  if outcome == "refused":
    with pytest.raises(ValueError, match=words) as error:
      case.prepare(case.source, values)
    assert "\n" not in str(error.value)
    return
  found = case.prepare(case.source, values)
  wanted = case.prepare(case.source, case.values)
  for one, other in zip(found.inputs, wanted.inputs):
    np.testing.assert_array_equal(one[: len(other)], other)
  if outcome == "warned":
    assert re.search(words, caplog.text)
