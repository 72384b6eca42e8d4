"""A long series in a table of one's own."""

import json

import numpy as np
import pytest

from jaxseq import data
from tests.data import writing

SIZES = {"input_length": 4, "horizon": 2}


def write(folder, lines):
  writing.write(folder, {"load.csv": "\n".join(lines) + "\n"})
  return folder / "load.csv"


def daily(count=40, missing=()):
  days = np.datetime64("2024-01-30") + np.arange(count)
  rows = [f"{day},{i},{-i}" for i, day in enumerate(days) if i not in missing]
  return ["day,a,b", *rows]


def load(path, **options):
  return data.load("forecast_table", path=path, **{**SIZES, **options})


def test_rows_are_times_and_columns_channels(tmp_path):
  splits = load(write(tmp_path, daily()), time="day", normalize=False)
  assert splits.info.channels == ("a", "b")
  assert splits.train.inputs[3].tolist() == [[t, -t] for t in range(3, 7)]
  assert splits.train.targets[3].tolist() == [[7, -7], [8, -8]]
  assert splits.valid.targets[0, 0, 0] == 28
  assert splits.test.targets[0, 0, 0] == 32
  assert splits.test.targets[-1, -1, 0] == 39
  splits = load(
    write(tmp_path, daily()),
    time="day",
    normalize=False,
    channels="b",
    valid_from="2024-02-09",
    test_from="2024-02-19",
  )
  assert splits.valid.targets[0].tolist() == [[-10], [-11]]
  assert splits.test.targets[0].tolist() == [[-20], [-21]]


def test_times_may_be_numbers_or_none(tmp_path):
  rows = [f"{i / 2},{i}" for i in reversed(range(40))]
  splits = load(write(tmp_path, ["t,a", *rows]), time="t", normalize=False)
  assert splits.train.inputs[0, :, 0].tolist() == [0, 1, 2, 3]
  assert splits.info.preparation.read(tmp_path / "load.csv").times.tolist() == [
    [20.0, 20.5]
  ]
  rows = [str(i) for i in range(40)]
  splits = load(write(tmp_path, ["a", *rows]), normalize=False)
  assert splits.train.inputs[0, :, 0].tolist() == [0, 1, 2, 3]
  found = splits.info.preparation.read(tmp_path / "load.csv")
  assert found.times is None
  assert found.ids == ("39",)


def test_forecasts_go_on_from_the_end_of_a_file(tmp_path):
  splits = load(write(tmp_path, daily()), time="day")
  fields = json.loads(json.dumps(splits.info.preparation.to_json()))
  prepared = data.sources.from_json(fields)
  later = tmp_path / "later.csv"
  later.write_text(
    "b,day,a\n-1,2025-02-25,1\n-2,2025-02-26,2\n"
    "-3,2025-02-27,3\n-4,2025-02-28,4\n"
  )
  found = prepared.read(later)
  np.testing.assert_allclose(
    prepared.restore(found.dataset.inputs)[0],
    [[t, -t] for t in range(1, 5)],
    rtol=1e-5,
  )
  assert found.dataset.inputs.dtype == np.float32
  assert found.times.astype("datetime64[D]").tolist() == [
    [np.datetime64(f"2025-03-0{i}").item() for i in (1, 2)]
  ]
  later.write_text("b,day,a\n-1,2025-02-25,1\n")
  with pytest.raises(
    ValueError, match="later.csv: got 1 times, expected at le"
  ):
    prepared.read(later)


def test_rows_that_are_missing_are_declared(tmp_path):
  path = write(tmp_path, daily(missing=(5, 6)))
  message = (
    r"line 7: column 'day': got 2024-02-06T.*, 259200 seconds after the time "
    "before, expected the usual step of 86400 seconds; or the option steps"
  )
  with pytest.raises(ValueError, match=message):
    load(path, time="day")
  options = {"time": "day", "normalize": False}
  splits = load(path, steps="insert", missing="forward_fill", **options)
  assert splits.train.inputs[3, :, 0].tolist() == [3, 4, 4, 4]
  with pytest.raises(ValueError, match="got nan at time 5, channel 'a'"):
    load(path, steps="insert", **options)
  splits = load(path, steps="ignore", **options)
  assert splits.train.inputs[3, :, 0].tolist() == [3, 4, 7, 8]


@pytest.mark.parametrize(
  ("lines", "options", "message"),
  [
    (
      ["date,a", "2024-01-01,1"],
      {},
      "the column 'date' among the channels, ex",
    ),
    (
      ["id,a", "1,1"],
      {},
      "'id' among the channels, expected an option: time =",
    ),
    (["day,a", "2024-01-01,1"], {}, "line 2: column 'day': got '2024-01-01'"),
    (
      ["t,a", "1,x"],
      {"time": "t"},
      "line 2: column 'a': got 'x', expected a f",
    ),
    (["t,a", "1,1", "1,2"], {"time": "t"}, "line 3: column 't': got 1.0 twice"),
    (
      ["t,a", "1,1"],
      {"time": "s"},
      "there is no column 's', expected one of 't', 'a'",
    ),
    (["t", "1", "2"], {"time": "t"}, "got no column of values"),
    (daily(), {"time": "day", "valid_from": "2024-02-01"}, "expected both"),
    (
      daily(),
      {"time": "day", "valid_from": "2024-03-01", "test_from": "2024-02-01"},
      "expected times in this order between 2024-01-30",
    ),
    (
      daily(),
      {"time": "day", "valid_from": "March", "test_from": "2024-02-01"},
      "valid_from: got 'March', expected a date and time",
    ),
    (
      daily(),
      {"time": "day", "steps": "guess"},
      "steps: got 'guess', expected",
    ),
    (["a", *"123456789"], {"with_calendar": True}, "False without dates"),
    (daily(), {"time": "day", "test_fraction": 0.95}, "expected less than 1"),
  ],
)
def test_wrong_tables_are_refused_with_their_place(
  tmp_path, lines, options, message
):
  with pytest.raises(ValueError, match=message):
    load(write(tmp_path, lines), **options)


def test_a_year_alone_is_no_date(tmp_path):
  path = write(
    tmp_path, ["id,t,a", *(f"{1000 + i},{i},{i}" for i in range(40))]
  )
  with pytest.raises(ValueError, match="line 2: .*'1000', expected a date"):
    data.load("ett", path=path, **SIZES)


def test_there_may_be_no_validation_part(tmp_path):
  path = write(tmp_path, daily())
  splits = load(path, time="day", normalize=False, valid_fraction=0)
  assert splits.valid is None
  whole = load(path, time="day", normalize=False, valid_fraction=0.2)
  np.testing.assert_array_equal(splits.test.targets[-1], whole.test.targets[-1])


@pytest.mark.parametrize("horizon", [1, 2])
def test_without_a_validation_part_no_time_is_lost(tmp_path, horizon):
  # 0.8 and 0.2 of 41 times are both rounded down.
  path = write(tmp_path, daily(41))
  splits = load(
    path, time="day", normalize=False, valid_fraction=0, horizon=horizon
  )
  assert splits.valid is None
  assert splits.train.targets[-1, -1, 0] == 32
  assert splits.test.targets[0, 0, 0] == 33


def test_missing_values_of_later_files_are_refused_with_choices_of_forecasts(
  tmp_path,
):
  path = tmp_path / "a.csv"
  path.write_text("\n".join(["y", *map(str, range(30))]))
  options = {"input_length": 3, "horizon": 1}
  source = data.load("forecast_table", path=path, **options).info.preparation
  path.write_text("y\n1\n\n3\n4\n5\n")
  with pytest.raises(ValueError, match="missing = 'forward_fill' or 'mean'"):
    source.read(path)
