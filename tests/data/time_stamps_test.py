"""Time stamps of tables."""

import numpy as np
import pytest

from jaxseq.data import _time_stamps
from jaxseq.data.files import text_forms


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


@pytest.mark.parametrize(
  ("words", "expected", "found"),
  [
    (("31.01.2024", "1.2.2024"), ("2024-01-31", "2024-02-01"), "%d.%m.%Y"),
    (
      ("01.02.2024 23:30:01.5", "02.02.2024T00:00"),
      ("2024-02-01T23:30:01", "2024-02-02"),
      "%d.%m.%Y",
    ),
    (
      ("01/02/2024 12:00+02:00", "31/12/2024 12:00Z"),
      ("2024-02-01T10:00", "2024-12-31T12:00"),
      "%d/%m/%Y",
    ),
    (("01/02/2024", "12/31/2024"), ("2024-01-02", "2024-12-31"), "%m/%d/%Y"),
    (("01-02-2024", "12-31-2024"), ("2024-01-02", "2024-12-31"), "%m-%d-%Y"),
    (("2024/1/31", "2024/02/01"), ("2024-01-31", "2024-02-01"), "%Y/%m/%d"),
    (("2024-01-31",), ("2024-01-31",), None),
  ],
)
def test_dates_with_other_signs(words, expected, found, caplog):
  assert parse(*words).tolist() == np.array(expected, "M8[s]").tolist()
  assert _time_stamps.date_format(words, str) == found
  assert len(caplog.messages) == (found is not None)


def test_dates_in_iso_8601_are_read_beside_the_format_of_the_training():
  form = text_forms.Form(date_format="%d.%m.%Y")
  for word in ("31.01.2024 13:30", "2024-01-31 13:30:00", "2024-01-31T13:30"):
    (stamp,) = _time_stamps.parse((word,), str, True, form)
    assert stamp == np.datetime64("2024-01-31T13:30"), word
  # All words of a column have one form.
  with pytest.raises(ValueError, match="of the form '%d.%m.%Y'"):
    _time_stamps.parse(("31.01.2024", "2024-02-01"), str, True, form)
  with pytest.raises(ValueError, match="expected a date and time such as"):
    _time_stamps.parse(("2024-02-01", "31.01.2024"), str, True, form)
  # In this format the day comes before the month.
  form = text_forms.Form(date_format="%Y-%d-%m")
  with pytest.raises(ValueError, match="of the form '%Y-%d-%m'"):
    _time_stamps.parse(("2024-01-31",), str, True, form)


def test_days_and_months_are_not_mistaken_for_each_other():
  place, form = "row {}".format, text_forms.Form(date_format="%d/%m/%Y")
  for words in (("01/02/2024", "03/04/2024"), ("13/02/2024", "02/13/2024")):
    with pytest.raises(ValueError, match="row 0: .* date_format = '%d/%m/%Y'"):
      _time_stamps.parse(words, place, None, text_forms.OPEN)
    # Where there is no such option none is named.
    with pytest.raises(ValueError, match="row 0: .*Write dates as 2024-01-31"):
      _time_stamps.parse(words, place)
  stamps = _time_stamps.parse(("01/02/2024",), place, None, form)
  assert stamps.astype("M8[D]").astype(str).tolist() == ["2024-02-01"]
  with pytest.raises(ValueError, match="row 1: got '01/13/2024', expected"):
    _time_stamps.parse(("13/01/2024", "01/13/2024"), place, None, form)
  form = text_forms.Form(date_format="%d.%m.%y %I:%M %p")
  stamps = _time_stamps.parse(("31.01.24 01:30 PM",), place, True, form)
  assert stamps.astype("M8[m]").astype(str).tolist() == ["2024-01-31T13:30"]
  with pytest.raises(ValueError, match="'31.01.24', .*give the option date_"):
    _time_stamps.parse(("31.01.24",), place, None, text_forms.OPEN)
