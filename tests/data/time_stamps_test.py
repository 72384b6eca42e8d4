"""Time stamps of tables."""

import numpy as np
import pytest

from jaxseq.data import _time_stamps


def parse(*words):
  return _time_stamps.parse(words, lambda row: f"row {row}").astype("M8[s]")


@pytest.mark.parametrize(
  ("word", "expected"),
  [
    ("2025-10-25T22:00:00+02:00", "2025-10-25T20:00:00"),
    ("2025-10-26 01:30-0530", "2025-10-26T07:00:00"),
    ("2025-10-26T01:30:00.5+01", "2025-10-26T00:30:00"),
    ("2025-10-26 01:30:00 +00:00", "2025-10-26T01:30:00"),
    ("2025-10-26T01:30Z", "2025-10-26T01:30:00"),
    ("2025-10-26T01:30", "2025-10-26T01:30:00"),
  ],
)
def test_offsets_become_utc(word, expected):
  assert parse(word).tolist() == np.array([expected], "M8[s]").tolist()


def test_the_hour_that_summer_time_repeats_is_two_hours():
  stamps = parse("2025-10-26T02:30+02:00", "2025-10-26T02:30+01:00")
  assert np.diff(stamps) == np.timedelta64(1, "h")


@pytest.mark.parametrize(
  "words",
  [
    ("2025-10-26T02:30+02:00", "2025-10-26T03:30"),
    ("2025-10-26T02:30", "2025-10-26T03:30Z"),
    ("2025-10-26T02:30", "2025-10-26T03:30+25:00"),
    ("2025-10-26T02:30", "2025-10-26+02:00"),
  ],
)
def test_what_is_no_time_or_of_another_zone_is_refused(words):
  with pytest.raises(ValueError, match="^row 1: got .*, expected .*\\.$"):
    parse(*words)


@pytest.mark.parametrize("form", ["{:%Y%m%d}", " {:%Y%m%d}", "{:%Y%m%d}.0"])
def test_dates_may_have_no_signs(form):
  days = np.arange("2024-01-30", "2024-03-02", dtype="M8[D]")
  words = [form.format(day.item()) for day in days]
  assert parse(*words).tolist() == days.astype("M8[s]").tolist()


def test_dates_without_signs_stand_beside_others():
  found = parse("2024-01-31", "20240201")
  assert np.diff(found) == np.timedelta64(1, "D")


@pytest.mark.parametrize(
  "words",
  [
    # The thirtieth of February, the month 13, the year 4040 and a step.
    ("20240229", "20240230"),
    ("20241231", "20241301"),
    ("20240131", "40400131"),
    ("20240131", "2024013"),
    ("1706659200", "1706745600"),
  ],
)
def test_whole_numbers_that_are_not_all_dates_are_numbers(words):
  found = _time_stamps.parse(words, str)
  assert found.tolist() == [float(word) for word in words]


def test_the_training_says_whether_whole_numbers_are_dates():
  words = ["20240131", "20240201"]
  assert _time_stamps.parse(words, str, False).dtype.kind == "f"
  assert _time_stamps.parse(words, str, True).dtype.kind == "M"


@pytest.mark.parametrize(
  ("words", "dates", "message"),
  [
    (["1706659200000"], True, "got a number, '1706.*', expected a date, as in"),
    (["2024-01-31"], False, "got a date, '2024-.*', expected a number, as in"),
    (["20240131", "2"], True, "row 0: got a number, .*Write times in the form"),
  ],
)
def test_times_of_another_kind_than_the_trainings_are_refused(
  words, dates, message
):
  with pytest.raises(ValueError, match=message):
    _time_stamps.parse(words, lambda row: f"row {row}", dates)


def test_local_times_that_come_twice_have_a_remedy():
  assert "write them with their offset" in _time_stamps.repeated(
    "2024-10-27 02:30"
  )
  for word in ("2024-10-27", "12", "2024-10-27 02:30+01:00"):
    assert not _time_stamps.repeated(word)
