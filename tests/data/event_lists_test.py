"""Sequences in the files of EasyTPP and HoTPP, and what is refused."""

import json
import pickle

import numpy as np
import pytest

from jaxseq import data
from jaxseq.tasks.events import event_likelihood
from jaxseq.tasks.events import event_sequences
from tests.data import writing

TIMES = [[0.0, 1.5, 2.0], [0.0, 0.25]]
MARKS = [[1, 0, 2], [2, 2]]
ROWS = [
  {
    "dim_process": 4,
    "time_since_start": times,
    "time_since_last_event": np.diff(times, prepend=0.0).tolist(),
    "type_event": marks,
  }
  for times, marks in zip(TIMES, MARKS)
]


def _pickle(part, protocol, kind=float):
  sequences = [
    [
      {"time_since_start": kind(time), "type_event": mark}
      for time, mark in zip(times, marks)
    ]
    for times, marks in zip(TIMES, MARKS)
  ]
  return pickle.dumps({"dim_process": 4, part: sequences}, protocol)


def _check(splits, part="train"):
  dataset = getattr(splits, part)
  assert splits.info.classes == ("0", "1", "2", "3")
  assert dataset.extras.times.tolist() == [[0, 1.5, 2], [0, 0.25, 0]]
  assert dataset.targets.tolist() == [[1, 0, 2], [2, 2, 0]]
  assert dataset.lengths.tolist() == [3, 2]
  # Each was observed until its last event.
  assert dataset.extras.until.tolist() == [2, 0.25]


@pytest.mark.parametrize("protocol", range(5))
def test_pickles_of_all_protocols_are_read(tmp_path, protocol):
  for name in ("train", "dev", "test"):
    kind = np.float64 if name == "dev" else float
    path = tmp_path / f"{name}.pkl"
    path.write_bytes(_pickle(name, protocol, kind))
  splits = data.load("event_lists", path=str(tmp_path))
  for part in ("train", "valid", "test"):
    _check(splits, part)


def test_a_pickle_of_python_2_is_read(tmp_path):
  """With short strings of bytes, and a number of NumPy."""
  text = (
    b"\x80\x02}(U\x0bdim_processK\x04U\x05train]](}(U\x10time_since_startG"
    b"\x00\x00\x00\x00\x00\x00\x00\x00U\ntype_eventK\x01u}(U\x10time_since_start"
    b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nU\x02f8K\x00K\x01\x87R"
    b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    b"U\x08\x00\x00\x00\x00\x00\x00\xf8?\x86RU\ntype_eventK\x00ueau."
  )
  (tmp_path / "train.pkl").write_bytes(text)
  (tmp_path / "test.pkl").write_bytes(_pickle("test", 2))
  splits = data.load("event_lists", path=str(tmp_path))
  assert splits.train.extras.times[0, :2].tolist() == [0, 1.5]
  assert splits.train.targets[0, :2].tolist() == [1, 0]


@pytest.mark.parametrize("lines", [True, False])
def test_json_is_read_and_read_again(tmp_path, lines):
  text = json.dumps(ROWS)
  if lines:
    text = "\n".join(map(json.dumps, ROWS))
  files = {f"{name}.json": text for name in ("train", "dev", "test")}
  writing.write(tmp_path, files)
  splits = data.load("event_lists", path=str(tmp_path))
  _check(splits)
  again = splits.info.preparation.read(tmp_path / "test.json")
  np.testing.assert_array_equal(again.dataset.inputs, splits.test.inputs)
  # Without a horizon there is no silence to be scored.
  part = event_sequences.sequences(splits.train)
  _, gaps = event_likelihood.network_inputs(part, splits.info.horizon)
  np.testing.assert_allclose(gaps[[0, 1], part.lengths], 1e-6)
  splits = data.load("event_lists", path=str(tmp_path), horizon=5)
  assert splits.train.extras.until is None


def test_parquet_is_read(tmp_path):
  pyarrow = pytest.importorskip("pyarrow")
  parquet = pytest.importorskip("pyarrow.parquet")
  columns = {
    "id": ["a", "b"] * 5,
    "timestamps": [np.add(times, 70.0) for times in TIMES] * 5,
    "labels": MARKS * 5,
    "amounts": [[0.5] * 3, [1.0] * 2] * 5,
  }
  parquet.write_table(pyarrow.table(columns), tmp_path / "all.parquet")
  splits = data.load(
    "event_lists", path=str(tmp_path / "all.parquet"), stream="id"
  )
  assert [len(part.inputs) for part in splits[:3]] == [7, 1, 2]
  assert splits.info.num_classes == 3
  assert set(splits.train.extras.times[:, 1].tolist()) == {1.5, 0.25}
  again = splits.info.preparation.read(tmp_path / "all.parquet")
  assert again.ids[:2] == ("a", "b")


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (
      {"type_event": [1, 4]},
      r"row 1: column 'type_event': got the mark 4, expected marks below 4",
    ),
    (
      {"type_event": [1]},
      "row 1: column 'type_event': got 1 marks, expected 2",
    ),
    ({"type_event": [1, 0.5]}, "got 0.5 for event 1, expected a whole number"),
    ({"time_since_start": [1, "x"]}, "'time_since_start': got no list of num"),
    (
      {"time_since_start": [3, 2]},
      "row 1: column 'time_since_start': got -1 after 0 as the time of event 1",
    ),
    (
      {"time_since_start": [3, 3]},
      "row 1: column 'time_since_start': got the time of another event",
    ),
    ({"time_since_start": [], "type_event": []}, "got no event"),
    ({"more": 1}, "row 1: got a column 'more' here or in row 0 alone"),
    ({"dim_process": "4"}, "dim_process: got '4', expected a finite number fr"),
    ({"dim_process": None}, "dim_process: got None, expected a finite number"),
    ({"dim_process": [4]}, r"dim_process: got \[4\], expected a finite number"),
    ({"dim_process": 10**9}, "got 1000000000, expected a finite number from 1"),
    ({"type_event": [1, 2**20]}, "got 1.04858e.06 for event 1, expected a who"),
  ],
)
def test_wrong_rows_are_refused_with_their_place(tmp_path, change, message):
  text = json.dumps([ROWS[0], {**ROWS[1], **change}])
  writing.write(tmp_path, {"train.json": text, "test.json": json.dumps(ROWS)})
  with pytest.raises(ValueError, match=f"train.json.*{message}"):
    data.load("event_lists", path=str(tmp_path))


def test_a_pickle_that_calls_something_is_refused(tmp_path):
  path = tmp_path / "train.pkl"
  path.write_bytes(pickle.dumps({"train": print}))
  with pytest.raises(ValueError, match="no pickle of sequences: it names"):
    data.load("event_lists", path=str(path))
  # One list in many places: more events than the file has bytes.
  events = [{"time_since_start": 0.0, "type_event": 0}] * 500
  path.write_bytes(pickle.dumps({"dim_process": 1, "train": [events] * 500}))
  with pytest.raises(ValueError, match="more events than bytes"):
    data.load("event_lists", path=str(path))
