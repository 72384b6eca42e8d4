"""The csv files of the forecasting benchmark."""

import numpy as np
import pytest

from jaxseq import data
from jaxseq.data.files import ett


def write(path, times, minutes=60):
  path.parent.mkdir(parents=True, exist_ok=True)
  start = np.datetime64("2016-07-01T00:00:00")
  stamps = start + np.arange(times) * np.timedelta64(minutes, "m")
  lines = [
    f"{str(stamp).replace('T', ' ')},{i},{i % 24}"
    for i, stamp in enumerate(stamps)
  ]
  path.write_text("date,HUFL,OT\n" + "\n".join(lines) + "\n")
  return path


def test_spans_of_the_benchmark():
  assert ett.spans("ETTh2", 17420) == (8640, 11520, 14400)
  assert ett.spans("ETTm1", 69680) == (34560, 46080, 57600)
  assert ett.spans("weather", 52696) == (36887, 42157, 52696)


def test_months_and_numbers_of_windows(tmp_path):
  path = write(tmp_path / "ETT-small" / "ETTh1.csv", 14500)
  splits = ett.load(path, horizon=192, normalize=False)
  # The numbers of the benchmark: 8640, 2880 and 2880 hours.
  counts = [len(part.inputs) for part in splits[:3]]
  assert counts == [8640 - 96 - 192 + 1, 2880 - 192 + 1, 2880 - 192 + 1]
  assert splits.valid.targets[0, 0, 0] == 8640
  assert splits.test.inputs[0, 0, 0] == 11520 - 96
  assert splits.test.targets[-1, -1, 0] == 14399
  assert splits.info.channels == ("HUFL", "OT")
  scaled = ett.load(path, target="OT")
  assert scaled.train.inputs.shape[1:] == (96, 1)
  whole = scaled.train.inputs[::96].reshape(-1)
  # 90 windows are whole days of the 360 in training.
  np.testing.assert_allclose([whole.mean(), whole.std()], [0, 1], atol=1e-5)


def test_other_tables_are_divided_in_shares(tmp_path):
  path = write(tmp_path / "weather" / "weather.csv", 200)
  splits = ett.load(path, input_length=8, horizon=4, normalize=False)
  assert splits.valid.targets[0, 0, 0] == 140
  assert splits.test.targets[0, 0, 0] == 160
  assert splits.test.targets[-1, -1, 0] == 199
  own = ett.load(
    path, input_length=8, horizon=4, normalize=False, ends=(50, 80, 100)
  )
  assert own.test.targets[0, 0, 0] == 80
  stamps = ett.load(
    path, input_length=8, horizon=4, with_calendar=True
  ).test.extras.calendar
  assert stamps.shape == (37, 12, 5)


def test_what_is_wrong_is_said(tmp_path):
  path = write(tmp_path / "ETTh1.csv", 200)
  with pytest.raises(
    ValueError, match="ETTh1.csv: got 200 times, expected at least 14400"
  ):
    ett.load(path)
  with pytest.raises(data.MissingData, match="electricity.csv is not a file"):
    ett.load(tmp_path / "electricity.csv")
