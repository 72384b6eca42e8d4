"""HHAR's csv files, written as the archive has them."""

import numpy as np
import pytest

from experiments.sensors import hhar
from jaxseq import data
from jaxseq.data import domains

_HEADER = "Index,Arrival_Time,Creation_Time,x,y,z,User,Model,Device,gt"
_START = 1424696633908


def lines(user, device, label, count, start, gap=5, value=0.0):
  """Readings of one device; x counts them from `value`."""
  model = device.rsplit("_", 1)[0]
  return [
    f"{i},{_START + start + gap * i},{(_START + start + gap * i) * 10**6 + 7},"
    f"{value + i},-0.68,8.18E-1,{user},{model},{device},{label}"
    for i in range(count)
  ]


def write(path, rows, header=_HEADER):
  path.write_text("\n".join([header, *rows]) + "\n")
  return path


@pytest.fixture
def path(tmp_path):
  stand = lines("a", "nexus4_1", "stand", 9, 0)
  null = lines("a", "nexus4_1", "null", 4, 45, value=100)
  again = lines("a", "nexus4_1", "stand", 7, 65, value=200)
  walk = lines("a", "nexus4_1", "walk", 6, 100, value=300)
  late = lines("a", "nexus4_1", "walk", 5, 5000, value=400)
  other = lines("a", "gear_2", "walk", 8, 0, gap=10, value=500)
  user = lines("c", "gear_2", "bike", 10, 9000, gap=10, value=600)
  # Two devices take turns.
  turns = [row for pair in zip(stand, other) for row in pair] + stand[8:]
  rows = turns + null + again + walk + late + user
  return write(tmp_path / "Phones_accelerometer.csv", rows)


def test_recordings(path):
  found, devices = hhar.read(path)
  assert devices == ("gear_2", "nexus4_1")
  starts = [(series[0, 0], len(series)) for series in found.values]
  assert starts == [(500, 8), (0, 9), (200, 7), (300, 6), (400, 5), (600, 10)]
  names = [hhar.CLASSES[label] for label in found.entries["label"]]
  assert names == ["walk", "stand", "stand", "walk", "walk", "bike"]
  np.testing.assert_array_equal(found.entries["device"], [0, 1, 1, 1, 1, 0])
  np.testing.assert_array_equal(found.entries["user"], [0, 0, 0, 0, 0, 2])
  np.testing.assert_allclose(found.values[0][3], [503, -0.68, 0.818])
  # Over a gap of five seconds, if asked for.
  assert len(hhar.read(path, max_gap=10)[0].values) == 5


def test_users_and_devices_as_domains(path):
  options = {"window": 4, "step": 4, "scaling": "none", "valid_fraction": 0}
  splits = data.load("hhar", path=path, source=0, target=2, **options)
  source = domains.labeled(splits.train)
  starts = [500, 504, 0, 4, 200, 300, 400]
  np.testing.assert_array_equal(source.inputs[:, 0, 0], starts)
  np.testing.assert_array_equal(splits.test.inputs[:, 0, 0], [600, 604])
  assert set(splits.test.targets) == {hhar.CLASSES.index("bike")}
  splits = data.load(
    "hhar", path=path, by="device", source=1, target=0, **options
  )
  np.testing.assert_array_equal(
    splits.test.inputs[:, 0, 0], [500, 504, 600, 604]
  )


def test_what_is_wrong_is_said(tmp_path, path):
  with pytest.raises(data.MissingData, match="none.csv is not a file"):
    data.load("hhar", path=tmp_path / "none.csv")
  with pytest.raises(
    ValueError, match="by: got 'model', expected one of 'user', 'device'"
  ):
    data.load("hhar", path=path, by="model")
  good = lines("a", "s3_1", "sit", 3, 0)
  for bad, message in {
    "1,2,3,4,5,6,a,s3,s3_1": "line 4: 10 fields are expected; got 9",
    "1,2,3,4,5,6,j,s3,s3_1,sit": "line 4: User: got 'j', expected one of",
    "1,2,3,4,5,6,a,s3,s3_1,run": "line 4: gt: got 'run', expected one of",
    "1,2,3,4,five,6,a,s3,s3_1,sit": "line 4: .*'five'",
    "1,2,3,4,nan,6,a,s3,s3_1,sit": "line 4: x, y and z: got nan, expected",
    "1,inf,3,4,5,6,a,s3,s3_1,sit": "line 4: Arrival_Time: got inf, expected",
  }.items():
    damaged = write(tmp_path / "damaged.csv", [*good[:2], bad, good[2]])
    with pytest.raises(ValueError, match=f"damaged.csv, {message}"):
      hhar.read(damaged)
  many = [lines("a", f"s3_{i}", "sit", 1, 0)[0] for i in range(200)]
  with pytest.raises(ValueError, match="line 129: more than 127 devices"):
    hhar.read(write(tmp_path / "many.csv", many))
  other = write(tmp_path / "other.csv", good, header="time,x,y,z")
  with pytest.raises(ValueError, match="other.csv, line 1: .*got 'time,x,y,z'"):
    hhar.read(other)
