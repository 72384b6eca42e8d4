"""Series in .ts files of one's own."""

import pytest

from jaxseq import data

HEAD = (
  "@problemName mine\n@timeStamps false\n@classLabel true low high\n@data\n"
)
HALF = {"test_fraction": 0.5, "valid_fraction": 0, "normalize": False}


def write(folder, *cases, name="walks.ts", head=HEAD):
  (folder / name).write_text(head + "\n".join(cases) + "\n")
  return folder / name


def test_one_file_is_divided_by_share(tmp_path):
  path = write(tmp_path, "1,2:low", "3,4,5:low", "6:high", "7,8:high")
  splits = data.load("ts", path=path, **HALF)
  assert splits.info.classes == ("low", "high")
  assert sorted(splits.train.targets.tolist()) == [0, 1]
  found = splits.info.preparation.read(path)
  assert found.dataset.lengths.tolist() == [2, 3, 1, 2]
  assert found.dataset.targets.tolist() == [0, 0, 1, 1]


def test_another_file_is_the_test_part(tmp_path):
  path = write(tmp_path, "1,2:low", "3,4:high")
  other = write(tmp_path, "9,9:high", "8,8:low", name="test.ts")
  splits = data.load("ts", path=path, test_path=other, **HALF)
  assert splits.test.inputs[..., 0].tolist() == [[9, 9], [8, 8]]
  other = write(tmp_path, "9,9:1,1:high", name="test.ts")
  with pytest.raises(ValueError, match="test.ts: got 2 channels, .*expected 1"):
    data.load("ts", path=path, test_path=other, **HALF)


def test_time_stamps_are_gaps(tmp_path):
  head = HEAD.replace("timeStamps false", "timeStamps true")
  cases = [
    f"(0,1),(1,2),(4,{i}):{'low' if i % 2 else 'high'}" for i in range(4)
  ]
  path = write(tmp_path, *cases, head=head)
  splits = data.load("ts", path=path, gaps="extras", **HALF)
  assert splits.train.extras.gaps[0].tolist() == [1, 0.5, 1.5]
  found = splits.info.preparation.read(path)
  assert found.dataset.extras.gaps[0].tolist() == [1, 0.5, 1.5]
  with pytest.raises(
    ValueError, match="series 0, element 2: got 1 after 4, ex"
  ):
    splits.info.preparation.prepare([[[1], [2], [3]]], times=[[0, 4, 1]])
  path = write(tmp_path, "(0,1),(4,2),(1,3):low", *cases, head=head)
  with pytest.raises(
    ValueError, match="got 1 after 4, expected times that inc"
  ):
    data.load("ts", path=path, **HALF)


def test_missing_values_are_refused_by_their_case(tmp_path):
  path = write(tmp_path, "1,2:low", "?,4:high", "1,2:low", "3,4:high")
  with pytest.raises(
    ValueError, match="walks.ts, case 1: 'channel 0': got noth"
  ):
    data.load("ts", path=path, **HALF)


def test_a_class_may_be_listed_without_an_example(tmp_path):
  head = HEAD.replace("low high", "low high other")
  path = write(tmp_path, "1:low", "2:low", "3:high", "4:high", head=head)
  splits = data.load("ts", path=path, **HALF)
  assert splits.info.classes == ("low", "high", "other")
  assert sorted(splits.train.targets.tolist()) == [0, 1]
