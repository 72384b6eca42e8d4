"""WISDM's raw file, written with the oddities of the published one."""

import numpy as np
import pytest

from experiments.sensors import wisdm
from jaxseq import data
from jaxseq.data import domains


def records(user, activity, count, start=49105962326000, value=0.0):
  """Records 50 ms apart; x counts them from `value`."""
  return [
    f"{user},{activity},{start + 50_000_000 * i},{value + i},12.68,0.50395286;"
    for i in range(count)
  ]


@pytest.fixture
def path(tmp_path):
  jog = records(33, "Jogging", 8)
  jog[3] = jog[3].replace(",0.50395286", "")  # The last field is missing.
  jog[4] = jog[4].replace("0.50395286", "")  # It is empty.
  jog[6] = jog[6].replace(";", ",;")
  walk = records(33, "Walking", 5, value=100)
  later = records(33, "Walking", 6, start=90 * 10**12, value=200)
  other = records(7, "Sitting", 9, value=300)
  zero = [f"7,Sitting,0,{v},0,0;" for v in (0, 0)]
  lines = [
    *jog,
    "",
    walk[0] + walk[1],  # Two records in a line.
    *walk[2:],
    *later,
    "577,,;",
    *other[:4],
    *zero,
    *other[4:],
    *records(12, "Standing", 3, value=400),
  ]
  path = tmp_path / "WISDM_ar_v1.1_raw.txt"
  path.write_text("\n".join(lines) + "\n")
  return path


def test_recordings(path):
  found, left_out = wisdm.read(path)
  assert left_out == 5
  starts = [(series[0, 0], len(series)) for series in found.values]
  assert starts == [(0, 6), (100, 5), (200, 6), (300, 9), (400, 3)]
  np.testing.assert_array_equal(found.values[0][:, 0], [0, 1, 2, 5, 6, 7])
  np.testing.assert_allclose(found.values[1][1], [101, 12.68, 0.50395286])
  names = [wisdm.CLASSES[label] for label in found.entries["label"]]
  assert names == ["Jogging", "Walking", "Walking", "Sitting", "Standing"]
  np.testing.assert_array_equal(found.entries["user"], [33, 33, 33, 7, 12])


def test_numbers_of_subjects_with_enough_records(path):
  found = wisdm.renumbered(wisdm.read(path)[0], 3)
  np.testing.assert_array_equal(found.entries["subject"], [1, 1, 1, 0])
  np.testing.assert_array_equal(found.entries["user"], [33, 33, 33, 7])
  assert [len(series) for series in found.values] == [6, 5, 6, 9]
  with pytest.raises(
    ValueError, match="min_records: got 19200, expected less than 17, the most"
  ):
    wisdm.renumbered(wisdm.read(path)[0])


def test_subjects_as_domains(path):
  splits = data.load(
    "wisdm",
    path=path,
    source=1,
    target=0,
    window=4,
    step=2,
    min_records=3,
    scaling="none",
    valid_fraction=0,
  )
  source = domains.labeled(splits.train)
  np.testing.assert_array_equal(source.inputs[:, 0, 0], [0, 2, 100, 200, 202])
  np.testing.assert_array_equal(splits.test.inputs[:, 0, 0], [300, 302, 304])
  assert set(splits.test.extras.user) == {7}
  assert splits.info.left_out == 5


def test_what_is_wrong_is_said(tmp_path):
  with pytest.raises(data.MissingData, match="raw.txt is not a file"):
    data.load("wisdm", path=tmp_path / "raw.txt")
  path = tmp_path / "damaged.txt"
  good = records(1, "Walking", 2)
  for bad, message in {
    "1,Running,5,1,2,3;": "line 2: the activity: got 'Running'",
    "1,Walking,5,1,two,3;": "line 2: .*'two'",
    "one,Walking,5,1,2,3;": "line 2: .*'one'",
    "1,Walking,5,1,nan,3;": "line 2: values: got nan, expected finite",
    "1,Walking,inf,1,2,3;": "line 2: values: got inf, expected finite",
    "2147483648,Walking,5,1,2,3;": "line 2: the user: got 2147483648, expect",
  }.items():
    path.write_text("\n".join([good[0], bad, good[1]]))
    with pytest.raises(ValueError, match=f"damaged.txt, {message}"):
      wisdm.read(path)
  path.write_text("a,b,c\n1,2,3\n")
  with pytest.raises(ValueError, match="no record of the form user,activity"):
    wisdm.read(path)
