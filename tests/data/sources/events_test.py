"""Events in a table of one's own."""

import json

import numpy as np
import pytest

from jaxseq import data
from jaxseq.tasks.events import event_sequences
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
  assert event_sequences.statistics(splits).num_marks == 2
  fields = json.loads(json.dumps(splits.info.preparation.to_json()))
  found = data.sources.from_json(fields).read(tmp_path / "shop.csv")
  assert found.ids == ("a", "b", "c")
  assert found.dataset.targets.tolist() == [[1, 0], [1, 0], [1, 0]]
  assert found.dataset.lengths.tolist() == [2, 2, 1]


def test_rows_out_of_order_are_counted(tmp_path, caplog):
  load(write(tmp_path, SHOP), split="part")
  assert "1 of 5 rows have an earlier time than the row" in caplog.text
  caplog.clear()
  # Streams may be mixed: each is in order.
  rows = "a,1,view\nb,2,buy\nc,1,buy\na,3,buy\nb,4,view\nc,2,view\n"
  load(write(tmp_path, f"user,at,kind\n{rows}"), valid_fraction=0)
  assert not caplog.text


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


def test_a_file_without_offsets_is_of_other_times(tmp_path):
  text = "user,at,kind\n" + "".join(
    f"{user},2024-01-0{day} 12:00+02:00,{kind}\n"
    for user in "abc"
    for day, kind in ((1, "x"), (3, "y"))
  )
  path = write(tmp_path, text)
  options = {"test_fraction": 0.34, "valid_fraction": 0.33, "unit": "day"}
  source = load(path, **options).info.preparation
  assert source.start == "2024-01-01T00:00:00Z"
  found = source.read(path).dataset
  np.testing.assert_allclose(found.inputs[0, :, 0], [10 / 24, 2], rtol=1e-6)
  path.write_text(text.replace("+02:00", ""))
  with pytest.raises(ValueError, match="line 2: .*: got '2024-01-01 12:00'"):
    source.read(path)


def test_one_stream_is_cut_into_windows_in_time(tmp_path):
  text = "at\n" + "".join(f"{i + 0.5}\n" for i in range(20))
  splits = load(
    write(tmp_path, text), stream=None, mark=None, window=2, horizon=20
  )
  assert splits.info.classes == ("event",)
  assert [len(part.inputs) for part in splits[:3]] == [7, 1, 2]
  assert splits.test.extras.times.tolist() == [[0.5, 1.5]] * 2
  assert splits.info.horizon == 2


def test_the_last_window_ends_with_the_observation(tmp_path):
  path = write(tmp_path, "at\n" + "".join(f"{i + 0.5}\n" for i in range(19)))
  options = {"stream": None, "mark": None, "window": 2}
  splits = load(path, **options)
  # Until the last event, at 18.5.
  assert splits.test.extras.until.tolist() == [2, 0.5]
  assert splits.train.extras.until.tolist() == [2] * 7
  assert load(path, **options, horizon=20).test.extras.until is None
  # 2.1 / 0.3 is a little more than 7.
  path = write(tmp_path, "at\n" + "".join(f"{i * 0.3}\n" for i in range(1, 8)))
  splits = load(path, stream=None, mark=None, window=0.3, horizon=2.1)
  assert [part.lengths.tolist() for part in splits[:3]] == [[1] * 5, [1], [1]]
  assert splits.test.extras.until is None


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
    (
      SHOP.replace("b,4,", ",4,"),
      {},
      "column 'user': got nothing, expected the name of a stream",
    ),
    (SHOP, {"unit": "year"}, "unit: got 'year', expected one of"),
    (SHOP, {"unit": "hour"}, "unit: got 'hour', .* numbers in .*line 4: col"),
    (SHOP, {"split": "kind"}, "line 2: column 'kind': got 'buy' where 'a' has"),
    (SHOP, {"window": 0}, "window: got 0"),
  ],
)
def test_wrong_tables_are_refused_with_their_place(
  tmp_path, text, options, message
):
  with pytest.raises(ValueError, match=message):
    load(write(tmp_path, text), **options)


def test_events_of_unknown_marks_are_left_out(tmp_path, caplog):
  splits = load(write(tmp_path, SHOP), split="part")
  source = splits.info.preparation
  wanted = source.read(tmp_path / "shop.csv").dataset
  other = write(tmp_path, SHOP.replace("2.5,buy", "2.5,sell"))
  found = source.read(other).dataset
  assert "line 2: column 'kind': got 'sell', expected a kind of event" in (
    caplog.text
  )
  assert "1 of 5 rows are such and are left out" in caplog.text
  assert found.lengths.tolist() == (wanted.lengths - [1, 0, 0]).tolist()
  # The same if no event of the training part has it.
  caplog.clear()
  again = load(
    write(tmp_path, SHOP.replace("b,4,buy", "b,4,sell")), split="part"
  )
  assert again.info.classes == splits.info.classes
  assert again.test.lengths.sum() == splits.test.lengths.sum() - 1
  assert "column 'kind': got 'sell'" in caplog.text


def test_windows_are_no_more_than_the_events_allow(tmp_path):
  late = SHOP + "a,1e9,buy,train\n"
  with pytest.raises(ValueError, match="would take .* in memory"):
    load(write(tmp_path, late), window=200)


VISITS = """user,at,kind
u1,2024-01-03 10:40,x
u1,2024-01-04 13:00,y
u1,2024-01-06 09:00,x
u6,2024-01-05 07:51,y
u6,2024-01-07 21:00,x
"""


def test_a_stream_does_not_depend_on_who_else_is_in_its_file(tmp_path):
  splits = load(write(tmp_path, VISITS), test_fraction=0.5, valid_fraction=0)
  source = splits.info.preparation
  source = data.sources.from_json(json.loads(json.dumps(source.to_json())))
  together = source.read(tmp_path / "shop.csv").dataset
  alone = tmp_path / "alone.csv"
  header, *rows = VISITS.splitlines()
  alone.write_text("\n".join([header, *rows[3:]]) + "\n")
  found = source.read(alone).dataset
  assert found.inputs[0].tolist() == together.inputs[1].tolist()
  alone.write_text(f"{header}\nu9,2024-01-01 10:00,x\n")
  with pytest.raises(ValueError, match="line 2: .*after the start of observ"):
    source.read(alone)


def test_the_unit_of_dates_is_that_of_their_usual_gap(tmp_path):
  splits = load(write(tmp_path, VISITS), test_fraction=0.5, valid_fraction=0)
  source = splits.info.preparation
  # The gaps are 26, 44 and 61 hours.
  assert (source.unit, source.start) == ("day", "2024-01-03T00:00:00")
  rows = [
    f"{user},2024-01-01 00:{i:02},x"
    for user in "abcdefghij"
    for i in range(0, 60, 10)
  ]
  path = write(tmp_path, "\n".join(["user,at,kind", *rows]) + "\n")
  assert load(path).info.preparation.unit == "minute"
  assert load(path, unit="hour").info.preparation.unit == "hour"


def test_times_are_of_the_kind_of_the_training(tmp_path):
  numbers = load(write(tmp_path, SHOP), split="part").info.preparation
  options = {"test_fraction": 0.5, "valid_fraction": 0}
  dates = load(write(tmp_path, VISITS), **options).info.preparation
  with pytest.raises(ValueError, match="line 2: .*: got a date, expected numb"):
    numbers.read(tmp_path / "shop.csv")
  with pytest.raises(ValueError, match="start: got '2024-.*expected a number,"):
    dates.read(write(tmp_path, SHOP))


def test_dates_in_memory_are_those_of_a_file(tmp_path):
  splits = load(write(tmp_path, VISITS), test_fraction=0.5, valid_fraction=0)
  read = splits.info.preparation.read(tmp_path / "shop.csv").dataset
  rows = [row.split(",") for row in VISITS.splitlines()[1:]]
  times = [
    np.array([at for user, at, _ in rows if user == u], "M8[ns]")
    for u in ("u1", "u6")
  ]
  marks = [[kind for user, _, kind in rows if user == u] for u in ("u1", "u6")]
  source = data.sources.EventSource.of_arrays(times, ("x", "y"))
  for one in (source, splits.info.preparation):
    found = one.prepare(marks, times=times)
    np.testing.assert_allclose(found.inputs, read.inputs, rtol=1e-6)
  numbers = data.sources.EventSource.of_arrays([[1.0, 2.0]], ("x",))
  with pytest.raises(ValueError, match="got 'dates', expected numbers, as in"):
    numbers.prepare([["x"] * len(times[0])], times=times[:1])
  with pytest.raises(ValueError, match="observed_until: got 1.5, expected the"):
    data.sources.EventSource.of_arrays([[1.0, 2.0]], ("x",), 1.5)


def test_an_event_at_the_start_begins_the_observation(tmp_path):
  text = "user,at,kind\na,0,x\na,2,y\nb,0,x\nb,3,y\nc,1,x\nc,2,y\n"
  splits = load(
    write(tmp_path, text), test_fraction=0.34, valid_fraction=0, window=2.0
  )
  assert splits.train.extras.times.min() == 0
  whole = splits.info.preparation.read(tmp_path / "shop.csv").dataset
  assert whole.inputs[..., 0].tolist() == [[0, 2], [0, 3], [1, 1]]


def test_marks_of_several_columns(tmp_path):
  rows = [
    f"{i % 4},{i},{'buy' if i % 3 else 'view'},{i % 2}" for i in range(40)
  ]
  writing.write(tmp_path, {"shop.csv": "\n".join(["user,at,kind,shop", *rows])})
  path = tmp_path / "shop.csv"
  options = {"mark": "kind,shop", "test_fraction": 0.25, "valid_fraction": 0}
  splits = load(path, **options)
  source = splits.info.preparation
  assert source.sizes == (2, 2)
  assert source.classes == ("buy | 0", "buy | 1", "view | 0", "view | 1")
  # The first event of user 1 is a purchase in shop 1.
  again = source.read(path)
  assert again.dataset.targets[1, 0] == 1
  assert event_sequences.statistics(splits).columns == (2, 2)
  with pytest.raises(ValueError, match="line 2: column 'shop': got nothing"):
    load(write(tmp_path, "user,at,kind,shop\na,1,b,\n"), **options)


def test_numbers_since_1970_have_a_start(tmp_path, caplog):
  rows = [f"{user},{{}},x" for user in "abc" for _ in range(4)]
  at = 5 * np.arange(1, 13)
  text = "\n".join(["user,at,kind", *rows])
  small = text.format(*at)
  late = text.format(*(at + 1_700_000_000))
  options = {"test_fraction": 0.34, "valid_fraction": 0}
  wanted = load(write(tmp_path, small), **options)
  first = load(write(tmp_path, late), **options)
  assert "begins at 1700000005; if it began earlier, give the option" in (
    caplog.text
  )
  source = first.info.preparation
  source = data.sources.from_json(json.loads(json.dumps(source.to_json())))
  assert source.start == "1700000005.0"
  read = source.read(tmp_path / "shop.csv").dataset
  assert read.inputs[0, :, 0].tolist() == [0, 5, 5, 5]
  assert read.inputs[1, 0, 0] == 20
  found = load(tmp_path / "shop.csv", start=1_700_000_000, **options)
  for name in ("inputs", "targets"):
    np.testing.assert_array_equal(
      getattr(found.train, name), getattr(wanted.train, name)
    )
  again = found.info.preparation.read(tmp_path / "shop.csv").dataset
  assert again.inputs[0, :, 0].tolist() == [5, 5, 5, 5]
  with pytest.raises(ValueError, match="line 2: .*the first event of all at"):
    wanted.info.preparation.read(tmp_path / "shop.csv")
  kept = load(tmp_path / "shop.csv", start=0, **options)
  assert kept.train.inputs.max() > 1e9
