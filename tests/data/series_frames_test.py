"""Series in memory, in the forms of other libraries."""

import numpy as np
import pytest

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


def test_what_is_no_series_is_refused():
  with pytest.raises(ValueError, match="series: got none"):
    series_frames.series_of([])
  with pytest.raises(ValueError, match="series 1: got could not convert"):
    series_frames.series_of([[1.0], ["a"]])
  with pytest.raises(
    ValueError, match="channels: got .1, 2., expected one num"
  ):
    series_frames.series_of([np.zeros((3, 1)), np.zeros((3, 2))])
