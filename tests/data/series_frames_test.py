"""Series in memory, in the forms of other libraries."""

import numpy as np
import pytest

from jaxseq import data
from jaxseq.data import series_frames


def shapes(found):
  return [value.shape for value in found.values]


def test_arrays_and_lists_of_arrays():
  assert shapes(series_frames.series_of(np.zeros((2, 3)))) == [(3, 1)] * 2
  assert shapes(series_frames.series_of(np.zeros((2, 3, 4)))) == [(3, 4)] * 2
  found = series_frames.series_of(np.zeros((2, 4, 3)), channels_first=True)
  assert shapes(found) == [(3, 4)] * 2
  found = series_frames.series_of({"a": [1, 2], "b": [3]})
  assert found.ids == ("a", "b")
  assert shapes(found) == [(2, 1), (1, 1)]


def test_frames_of_pandas():
  pandas = pytest.importorskip("pandas")
  nested = pandas.DataFrame(
    {
      "x": [pandas.Series([1.0, 2.0]), pandas.Series([3.0])],
      "y": [np.array([4.0, 5.0]), np.array([6.0])],
    },
    index=["a", "b"],
  )
  found = series_frames.series_of(nested)
  assert found.ids == ("a", "b")
  assert found.channels == ("x", "y")
  assert found.values[0].tolist() == [[1, 4], [2, 5]]
  index = pandas.MultiIndex.from_tuples([("b", 1), ("a", 2), ("b", 0)])
  indexed = pandas.DataFrame({"x": [1.0, 2.0, 3.0]}, index=index)
  found = series_frames.series_of(indexed)
  assert found.ids == ("b", "a")
  assert found.values[0].tolist() == [[3], [1]]
  assert found.times[0].tolist() == [0, 1]
  found = series_frames.series_of([indexed.loc["a"], indexed.loc["b"]])
  assert found.channels == ("x",)
  with pytest.raises(ValueError, match="row 0, column 'x': got 'float"):
    series_frames.series_of(pandas.DataFrame({"x": [1.0]}))
  with pytest.raises(ValueError, match="column 'x': got could not convert"):
    series_frames.series_of(pandas.DataFrame({"x": [["a"]]}))


def test_times_of_a_zone_are_read_in_utc():
  pandas = pytest.importorskip("pandas")
  berlin = "Europe/Berlin"
  hours = pandas.date_range("2024-03-31", periods=6, freq="h", tz=berlin)
  utc = hours.tz_convert(None).to_numpy()
  rows = [("a", time, 1.0) for time in hours[[0, 1, 3, 4]]]
  rows += [("b", time, 2.0) for time in hours[[0, 2, 3, 4]]]
  frame = pandas.DataFrame(rows, columns=["id", "time", "x"])
  whole = frame.set_index(["id", "time"])
  found = series_frames.series_of(whole)
  np.testing.assert_array_equal(found.times[0], utc[[0, 1, 3, 4]])
  frame["label"] = frame["id"]
  options = {"test_fraction": 0.5, "valid_fraction": 0}
  frame = pandas.concat([frame, frame.assign(id=frame["id"] + "2")])
  prepared = data.load(
    "table", path=frame, id="id", time="time", label="label", **options
  ).info.preparation
  one = whole.loc["a"]
  for values in (whole, [one, one]):
    found = prepared.prepare(values).inputs[0, :, -1]
    assert found.tolist() == [1, 1, 2, 1]


def test_forecasts_read_times_of_a_zone():
  pandas = pytest.importorskip("pandas")
  days = pandas.date_range("2024-01-01", periods=40, tz="UTC", name="day")
  frame = pandas.DataFrame({"x": np.arange(40.0)}, index=days)
  prepared = data.load(
    "forecast_table", path=frame, time="day", input_length=4, horizon=1
  ).info.preparation
  assert prepared.prepare(frame).inputs.shape == (1, 4, 1)
  frame.index = pandas.date_range("2024", periods=40, freq="h", tz="UTC")
  with pytest.raises(ValueError, match="got a step in time of 3600, expected"):
    prepared.prepare(frame)


def test_what_is_no_series_is_refused():
  with pytest.raises(ValueError, match="series: got none"):
    series_frames.series_of([])
  with pytest.raises(ValueError, match="series 1: got could not convert"):
    series_frames.series_of([[1.0], ["a"]])
  with pytest.raises(
    ValueError, match="channels: got .1, 2., expected one num"
  ):
    series_frames.series_of([np.zeros((3, 1)), np.zeros((3, 2))])
