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
