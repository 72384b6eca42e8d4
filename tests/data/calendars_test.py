"""Calendars of rows: the times that follow are right, or unknown."""

import logging

import numpy as np
import pytest

from jaxseq import data
from jaxseq.data import _calendars
from tests.data import writing


def days(*words):
  return np.array(words, "datetime64[D]").astype("datetime64[us]")


def weekdays(first, count):
  return np.busday_offset(first, np.arange(count)).astype("datetime64[us]")


def month_ends(first, count):
  after = np.arange(1, count + 1).astype("timedelta64[M]")
  months = np.datetime64(first, "M") + after
  ends = months.astype("datetime64[D]") - np.timedelta64(1, "D")
  return ends.astype("datetime64[us]")


def said(times):
  return None if times is None else times.astype("datetime64[D]").astype(str)


@pytest.mark.parametrize(
  ("times", "calendar", "expected"),
  [
    (weekdays("2023-02-01", 18), "weekdays", ("2023-02-27", "2023-02-28")),
    (month_ends("2020-01", 20), "month ends", ("2021-09-30", "2021-10-31")),
    (days("2023-11-01", "2023-12-01", "2024-01-01"), "months", ("2024-02-01",)),
    # Quarters.
    (days("2023-03-31", "2023-06-30", "2023-09-30"), "month ends", None),
    (days("2023-01-30", "2023-04-30", "2023-07-30"), "months", ("2023-10-30",)),
    (days("2024-01-01", "2024-01-08", "2024-01-15"), "steps", ("2024-01-22",)),
    (np.arange(5) / 2, "steps", (2.5, 3.0)),
  ],
)
def test_times_follow_the_calendar_of_the_rows(times, calendar, expected):
  assert _calendars.find(times) == calendar
  if expected is not None:
    found = _calendars.following(times, len(expected), calendar)
    assert found.dtype == times.dtype
    if times.dtype.kind == "M":
      found = said(found)
    assert found.tolist() == list(expected)


@pytest.mark.parametrize(
  "times",
  [
    # A holiday is missing, or a month.
    np.delete(weekdays("2023-02-01", 18), 7),
    np.delete(month_ends("2020-01", 20), 7),
    # Days or working days; the last of February or the 28th; 31 days or ends.
    weekdays("2024-01-01", 5),
    days("2021-02-28", "2022-02-28", "2023-02-28"),
    days("2024-07-31", "2024-08-31"),
    np.array([1.0, 2.0, 4.0]),
  ],
)
def test_what_follows_no_calendar_or_several_has_no_times(times):
  assert _calendars.find(times) == "irregular"
  assert _calendars.following(times, 24) is None


def table(folder, times):
  words = times if isinstance(times, list) else said(times)
  rows = [f"{time},{i % 5}" for i, time in enumerate(words)]
  writing.write(folder, {"y.csv": "\n".join(["date,y", *rows]) + "\n"})
  return folder / "y.csv"


def learn(folder, times, **options):
  sizes = {"input_length": 4, "horizon": 3, "steps": "ignore", **options}
  path = table(folder, times)
  splits = data.load("forecast_table", path=path, time="date", **sizes)
  fields = splits.info.preparation.to_json()
  return data.sources.from_json(fields)


def test_forecasts_of_working_days_skip_the_weekend(tmp_path):
  source = learn(tmp_path, weekdays("2022-12-01", 62))
  found = source.read(tmp_path / "y.csv")
  assert found.ids == ("2023-02-24T00:00:00.000000",)
  wanted = ["2023-02-27", "2023-02-28", "2023-03-01"]
  assert said(found.times[0]).tolist() == wanted
  # A week alone might be one of days: the training knew better.
  table(tmp_path, weekdays("2024-01-01", 5))
  found = source.read(tmp_path / "y.csv")
  assert said(found.times[0])[0] == "2024-01-08"


@pytest.mark.parametrize(
  ("times", "expected"),
  [
    (weekdays("2022-12-01", 62), ("2023-02-27", "2023-02-28")),
    (month_ends("2020-01", 21), ("2021-10-31", "2021-11-30")),
    (month_ends("2020-01", 62)[1::3], ("2025-05-31", "2025-08-31")),
    ([f"{2010 + i // 4}Q{i % 4 + 1}" for i in range(21)], ("2015-04-01",)),
    (
      [f"{2010 + i // 12}-{i % 12 + 1:02d}" for i in range(21)],
      ("2011-10-01",),
    ),
  ],
)
def test_a_clear_calendar_needs_no_option(tmp_path, times, expected):
  source = learn(tmp_path, times, steps="refuse")
  found = source.read(tmp_path / "y.csv").times
  assert said(found[0])[: len(expected)].tolist() == list(expected)


def test_later_rows_follow_the_calendar_of_the_training(tmp_path):
  source = learn(tmp_path, weekdays("2022-12-01", 62), steps="refuse")
  # All of a week, which might be days.
  table(tmp_path, weekdays("2024-01-01", 5))
  found = source.read(tmp_path / "y.csv").times
  assert said(found[0])[0] == "2024-01-08"
  for times in (
    np.delete(weekdays("2024-01-01", 62), 7),
    month_ends("2020-01", 20),
  ):
    table(tmp_path, times)
    with pytest.raises(ValueError, match="expected the usual step of"):
      source.read(tmp_path / "y.csv")
  # Those of days are no working days.
  every = np.arange(40) * np.timedelta64(1, "D") + days("2024-01-01")
  source = learn(tmp_path, every, steps="refuse")
  table(tmp_path, weekdays("2024-01-01", 12))
  with pytest.raises(ValueError, match="expected the usual step of"):
    source.read(tmp_path / "y.csv")


def test_rows_without_a_calendar_have_no_times_and_a_sentence(tmp_path, caplog):
  times = np.delete(weekdays("2022-12-01", 62), [20, 40])
  source = learn(tmp_path, times)
  with caplog.at_level(logging.WARNING):
    assert source.read(tmp_path / "y.csv").times is None
  assert "y.csv: the times follow no calendar that is known" in caplog.text
  # All working days of a later file may be followed by a holiday.
  table(tmp_path, weekdays("2024-01-01", 12))
  assert source.read(tmp_path / "y.csv").times is None


def test_a_working_week_of_a_daily_series_goes_on_with_a_saturday(tmp_path):
  every = np.arange(40) * np.timedelta64(1, "D") + days("2024-01-01")
  source = learn(tmp_path, every, steps="refuse")
  table(tmp_path, weekdays("2024-03-04", 5))
  found = source.read(tmp_path / "y.csv")
  assert said(found.times[0])[0] == "2024-03-09"
