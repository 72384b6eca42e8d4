"""Windows of long series, and the table inside autots."""

import io
import sys
import zipfile

import numpy as np
import pytest

from jaxseq import data
from jaxseq.data import forecast_windows
from jaxseq.data.sources import windows


def series_of(times=40, missing=()):
  values = np.stack([np.arange(times), -np.arange(times)], 1).astype(float)
  values[list(missing), 0] = np.nan
  start = np.datetime64("2020-02-01T00", "s")
  stamps = start + np.arange(times) * np.timedelta64(3600, "s")
  return windows.Series(values, ("a", "b"), stamps)


def test_missing_values_are_treated_as_declared():
  nan = np.nan
  values = np.array([[nan, 1], [2, nan], [nan, nan], [4, 5], [nan, 7]])
  series = windows.Series(values, ("a", "b"), np.arange(5))

  def treat(missing, end=4):
    return forecast_windows.treat(series, missing, end, "mine").tolist()

  # What lacks a value before it takes the mean of the training span.
  assert treat("forward_fill") == [[3, 1], [2, 1], [2, 1], [4, 5], [4, 7]]
  assert treat("mean") == [[3, 1], [2, 3], [3, 3], [4, 5], [3, 7]]
  refused = "mine: got nan at time 0, channel 'a' .5 such values., expected"
  with pytest.raises(ValueError, match=f"{refused} .*missing = 'forward_fill'"):
    treat("refuse")
  with pytest.raises(ValueError, match="no value of 'a' in the training span"):
    treat("mean", end=1)
  with pytest.raises(ValueError, match="missing: got 'mask', expected one of"):
    treat("mask")


def test_the_calendar():
  times = np.array(
    ["2024-01-01T00:00", "2024-12-31T23:59", "2021-08-15T12:30"],
    "datetime64[m]",
  )
  first, last, middle = forecast_windows.calendar_of(times)
  np.testing.assert_allclose(first, [-0.5] * 5)
  # A Tuesday, the 366th day.
  np.testing.assert_allclose(last, [0.5, 0.5, 1 / 6 - 0.5, 0.5, 0.5], atol=1e-6)
  # A Sunday, the 227th day.
  expected = [30 / 59 - 0.5, 12 / 23 - 0.5, 0.5, 14 / 30 - 0.5, 226 / 365 - 0.5]
  np.testing.assert_allclose(middle, expected, atol=1e-6)


def splits_of(**options):
  return forecast_windows.make_splits(
    series_of(missing=(5,)),
    (20, 28, 38),
    4,
    3,
    source="mine",
    license="none",
    missing="forward_fill",
    **options,
  )


def test_windows_lie_where_they_should():
  splits = splits_of(normalize=False)
  # A window for every step whose targets fit; later inputs reach back.
  for part, first, count in (
    (splits.train, 0, 14),
    (splits.valid, 16, 6),
    (splits.test, 24, 8),
  ):
    starts = first + np.arange(count)
    np.testing.assert_array_equal(
      part.inputs[..., 1], -(starts[:, None] + np.arange(4))
    )
    np.testing.assert_array_equal(
      part.targets[..., 1], -(starts[:, None] + 4 + np.arange(3))
    )
  # The value that is missing.
  assert splits.train.inputs[5, 0, 0] == 4
  assert not splits.train.inputs.flags.owndata


def test_only_training_times_set_the_scale():
  splits = splits_of(with_calendar=True)
  mean, deviation = np.arange(20).mean(), np.arange(20).std()
  np.testing.assert_allclose(
    splits.test.targets[-1, -1, 1], (-37 + mean) / deviation, rtol=1e-6
  )
  assert splits.info.mean[1] == -mean
  stamps = splits.valid.extras.calendar
  assert stamps.shape == (6, 7, 5)
  # Hour 16 of the first day.
  np.testing.assert_allclose(stamps[0, 0, 1], 16 / 23 - 0.5, rtol=1e-6)


def test_spans_without_room_are_refused():
  for ends, lengths, message in (
    ((20, 28, 41), (4, 3), "mine: got 40 times, expected at least 41"),
    ((6, 28, 38), (4, 3), "input_length . horizon: got 4 . 3, expected at"),
    ((20, 28, 38), (0, 3), "input_length: got 0, expected an integer of at"),
  ):
    with pytest.raises(ValueError, match=message):
      forecast_windows.make_splits(
        series_of(), ends, *lengths, source="mine", license=""
      )


@pytest.mark.slow
def test_autots_from_a_stand_in(tmp_path, monkeypatch):
  folder = tmp_path / "autots" / "datasets" / "data"
  folder.mkdir(parents=True)
  (tmp_path / "autots" / "__init__.py").write_text("raise RuntimeError")
  header = "date_time,clouds_all,holiday,rain_1h,temp,traffic_volume\n"
  rows = [
    f"2020-01-{1 + i // 24:02} {i % 24:02}:00:00,{i},None,0,280,{i % 24}\n"
    for i in range(240)
  ]
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, "w") as archive:
    archive.writestr("traffic.csv", header + "".join(rows))
  (folder / "traffic_hourly.zip").write_bytes(buffer.getvalue())
  monkeypatch.syspath_prepend(tmp_path)
  monkeypatch.delitem(sys.modules, "autots", raising=False)
  splits = data.load("autots_hourly", input_length=12, horizon=6)
  assert splits.train.inputs.shape == (168 - 17, 12, 4)
  assert splits.test.targets.shape == (48 - 5, 6, 4)
  # Rain and temperature never change.
  assert np.all(splits.train.inputs[..., 1:3] == 0)
  path = folder / "traffic_hourly.zip"
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
    # 300 kB that would be 300 MB.
    archive.writestr("traffic.csv", bytes(300 * 2**20))
  with pytest.raises(ValueError, match="bytes that would take 314572800 in"):
    data.load("autots_hourly")
  path.write_bytes(b"PK")
  with pytest.raises(ValueError, match="is no whole zip archive"):
    data.load("autots_hourly")
  monkeypatch.setitem(sys.modules, "autots", None)
  with pytest.raises(data.MissingData, match="pip install --no-deps autots"):
    data.load("autots_hourly")


def test_seasonal_series():
  options = {"input_length": 24, "horizon": 12, "times": 1000}
  splits = data.load("seasonal", noise=0.0, normalize=False, **options)
  again = data.load("seasonal", noise=0.0, normalize=False, **options)
  other = data.load("seasonal", seed=1, **options)
  assert splits.train.inputs.shape == (700 - 35, 24, 4)
  np.testing.assert_array_equal(splits.test.targets, again.test.targets)
  assert not np.allclose(splits.train.inputs, other.train.inputs)
  # Without noise, a week later is the same: windows 168 hours apart.
  # Float32 values of about 1.
  np.testing.assert_allclose(
    splits.train.inputs[0], splits.train.inputs[168], atol=1e-5
  )
  noisy = data.load("seasonal", normalize=False, channels=2, **options)
  assert noisy.train.inputs.shape[-1] == 2
  with pytest.raises(
    ValueError, match="channels: got 0, expected an integer of at least 1"
  ):
    data.load("seasonal", channels=0)
