"""Events in a table of one's own."""

import json

import numpy as np
import pytest

from jaxseq import data
from jaxseq.tasks import events
from tests.data import writing

SHOP = """user,at,kind,part
a,2.5,buy,train
b,1,view,test
a,1.5,view,train
b,4,buy,test
c,3,view,valid
"""
COLUMNS = {"stream": "user", "time": "at", "mark": "kind"}


def write(folder, text):
  writing.write(folder, {"shop.csv": text})
  return folder / "shop.csv"


def load(path, **options):
  return data.load("event_table", path=path, **{**COLUMNS, **options})


def test_streams_are_sequences_in_the_order_of_time(tmp_path):
  splits = load(write(tmp_path, SHOP), split="part", horizon=5)
  assert splits.info.classes == ("buy", "view")
  assert splits.train.inputs[..., 0].tolist() == [[1.5, 1]]
  assert splits.train.targets.tolist() == [[1, 0]]
  assert splits.valid.lengths.tolist() == [1]
  assert splits.test.extras.times.tolist() == [[1, 4]]
  assert splits.info.horizon == 5
  # What the task wants to know of them.
  assert events.statistics(splits).num_marks == 2
  fields = json.loads(json.dumps(splits.info.preparation.to_json()))
  found = data.Preparation.from_json(fields).read(tmp_path / "shop.csv")
  assert found.ids == ("a", "b", "c")
  assert found.dataset.targets.tolist() == [[1, 0], [1, 0], [1, 0]]
  assert found.dataset.lengths.tolist() == [2, 2, 1]


def test_dates_are_numbers_since_the_start(tmp_path):
  text = "user,at,kind\n" + "".join(
    f"{user},2024-01-0{day} 12:00,{kind}\n"
    for user in "abc"
    for day, kind in ((1, "x"), (3, "y"))
  )
  path = write(tmp_path, text)
  options = {"test_fraction": 0.34, "valid_fraction": 0.33}
  splits = load(path, unit="day", start="2023-12-31", **options)
  assert splits.train.inputs[..., 0].tolist() == [[1.5, 2]]
  splits = load(path, unit="day", **options)
  assert splits.train.inputs[..., 0].tolist() == [[0.5, 2]]
  with pytest.raises(ValueError, match="line 2: .*after the start of obs"):
    load(path, start="2024-01-02")


def test_one_stream_is_cut_into_windows_in_time(tmp_path):
  text = "at\n" + "".join(f"{i + 0.5}\n" for i in range(20))
  splits = load(
    write(tmp_path, text), stream=None, mark=None, window=2, horizon=20
  )
  assert splits.info.classes == ("event",)
  assert [len(part.inputs) for part in splits[:3]] == [7, 1, 2]
  assert splits.test.extras.times.tolist() == [[0.5, 1.5]] * 2
  assert splits.info.horizon == 2


def test_events_at_the_same_time_are_declared(tmp_path):
  path = write(tmp_path, "at\n1\n3\n3\n5\n5\n5\n7\n8\n")
  options = {"stream": None, "mark": None, "window": 4, "test_fraction": 0.5}
  options["valid_fraction"] = 0
  with pytest.raises(
    ValueError, match="line 4: column 'at': got the time of a"
  ):
    load(path, **options)
  splits = load(path, ties="spread", **options)
  assert splits.train.extras.times[0].tolist() == [1, 3, 3.5, 0, 0]
  np.testing.assert_allclose(
    splits.test.extras.times[0], [1, 4 / 3, 5 / 3, 3, 4], rtol=1e-6
  )


@pytest.mark.parametrize(
  ("text", "options", "message"),
  [
    (
      SHOP,
      {"mark": "what"},
      "there is no column 'what', expected one of 'user', 'at'",
    ),
    (
      SHOP,
      {"horizon": 3},
      "line 5: column 'at': got an event 4 after the start",
    ),
    (SHOP.replace("2.5,buy", "2.5,"), {}, "line 2: column 'kind': got nothing"),
    (
      SHOP.replace("2.5", "x"),
      {},
      "line 2: column 'at': got 'x', expected a d",
    ),
    (
      SHOP.replace("2.5", "-1"),
      {},
      "line 2: column 'at': got -1.0, expected a",
    ),
    (SHOP.replace("b,4,buy", "b,4,sell"), {"split": "part"}, "the mark 'sell'"),
    (SHOP, {"unit": "year"}, "unit: got 'year', expected one of"),
    (SHOP, {"split": "kind"}, "line 2: column 'kind': got 'buy' where 'a' has"),
    (SHOP, {"window": 0}, "window: got 0"),
  ],
)
def test_wrong_tables_are_refused_with_their_place(
  tmp_path, text, options, message
):
  with pytest.raises(ValueError, match=message):
    load(write(tmp_path, text), **options)


def test_marks_that_are_unknown_are_refused_when_read_again(tmp_path):
  splits = load(write(tmp_path, SHOP), split="part")
  other = write(tmp_path, SHOP.replace("2.5,buy", "2.5,sell"))
  with pytest.raises(
    ValueError, match="line 2: column 'kind': got 'sell', exp"
  ):
    splits.info.preparation.read(other)


def test_windows_are_no_more_than_the_events_allow(tmp_path):
  late = SHOP + "a,1e9,buy,train\n"
  with pytest.raises(ValueError, match="would take .* in memory"):
    load(write(tmp_path, late), window=200)
