"""The .ts format, and problems made of two files."""

import time

import numpy as np
import pytest

from jaxseq import data
from jaxseq.data import ts_series
from jaxseq.data.files import uea

_HEADER = """# a comment
@problemName Toy
@timeStamps false
@classLabel true One two
@data
"""


def load_problem(root, name, **options):
  """Loads a problem from the layout of the archive."""
  start = root / name / name
  return ts_series.archive(f"{start}_TRAIN.ts", f"{start}_TEST.ts", **options)


def write(path, cases, header=_HEADER):
  path.write_text(header + "\n".join(cases) + "\n")
  return path


def test_ragged_multivariate_cases(tmp_path):
  path = write(tmp_path / "a.ts", ["1,2,3:4,5,?:one", "", "% no", "6:7,8:Two"])
  found = uea.read_ts(path)
  assert found.name == "Toy"
  assert found.classes == ("One", "two")
  assert found.labels == ["one", "Two"]
  assert found.times is None
  nan = np.nan
  np.testing.assert_array_equal(found.series[0], [[1, 4], [2, 5], [3, nan]])
  np.testing.assert_array_equal(found.series[1], [[6, 7], [nan, 8]])
  numbers = uea.class_numbers(found.labels, found.classes, path)
  assert numbers.tolist() == [0, 1]


def test_time_stamps_and_numbers_as_targets(tmp_path):
  header = "@timestamps true\n@targetlabel true\n@data\n"
  path = write(tmp_path / "a.ts", ["(0,1),(0.5,2):(0,3),(0.5,4):-1.5"], header)
  found = uea.read_ts(path)
  np.testing.assert_array_equal(found.series[0], [[1, 3], [2, 4]])
  np.testing.assert_array_equal(found.times[0], [0, 0.5])
  assert found.labels == [-1.5]
  assert found.classes is None
  assert found.name == "a"
  path = write(tmp_path / "a.ts", ["(0,1):(0,3),(0.5,4):-1.5"], header)
  np.testing.assert_array_equal(uea.read_ts(path).times[0], [0, 0.5])


@pytest.mark.parametrize(
  ("header", "case", "message"),
  [
    (_HEADER, "1,x:one", "line 6: .*'x'"),
    (_HEADER, "1,3_0:one", "line 6: got '1,3_0', expected numbers as 1000"),
    (_HEADER, "1,٣:one", "line 6: got '1,٣', expected numbers as 1000"),
    ("@timestamps true\n@data\n", "(1_0,1)", "line 3: got '.1_0,1.', expected"),
    ("@targetLabel true\n@data\n", "1:2_0", "got '2_0', expected numbers as"),
    (_HEADER, "1,-inf:one", "line 6: values: got -inf, expected finite"),
    (_HEADER, "1e39:one", "line 6: values: got 1e.39, expected finite"),
    # A channel of 20000 values makes 20000 others as long.
    (
      _HEADER,
      ",".join("1" * 20_000) + ":1" * 20_000 + ":one",
      "line 6: the case: got .* bytes that would take 1600080000 in memory",
    ),
    ("@classLabel true a A\n@data\n", "1:a", "classLabel: got a class twice"),
    ("@targetLabel true\n@data\n", "1:inf", "a.ts: targets: got inf, expec"),
    ("@timestamps true\n@data\n", "(0,1),(1", "line 3: got .* expected .time"),
    ("@timestamps true\n@data\n", "(0,1,2)", "line 3: got .* expected .time"),
    ("@timestamps true\n@data\n", "(0,1),(1,2):(0,1),(2,3)", "line 3: got ch"),
    (_HEADER, "1:2:one\n1:one", "line 7: .* 1 channels where .* have 2"),
    (_HEADER, ":one", "line 6: could not convert"),
    ("@problemName Toy\n1,2\n", "", "a.ts, line 2: got '1,2', expected @data"),
    ("@problemName Toy\n", "", "has no line @data"),
  ],
)
def test_wrong_files_are_refused(tmp_path, header, case, message):
  path = write(tmp_path / "a.ts", [case], header)
  with pytest.raises(ValueError, match=message):
    uea.read_ts(path)


@pytest.mark.parametrize(
  "sign", ["(", ")", "(" + " " * 9, ":", "):", ",", "( ,"]
)
def test_time_stamps_are_read_in_linear_time(tmp_path, sign):
  header = "@timestamps true\n@data\n"
  path = write(tmp_path / "a.ts", ["(" + sign * 50_000], header)
  start = time.process_time()
  with pytest.raises(ValueError, match="line 3: "):
    uea.read_ts(path)
  # A quarter of a second each; one step for each pair of signs took hours.
  assert time.process_time() - start < 10


def test_a_long_case_among_short_ones_is_refused(tmp_path):
  long = ",".join(["1"] * 50_000) + ":1:one"
  root = archive(tmp_path, [long, *["1:1:two"] * 3_000], ["1:1:one"])
  with pytest.raises(ValueError, match="bytes that would take 1200400000 in"):
    load_problem(root, "Toy", missing="mean")


def archive(root, train, test, name="Toy"):
  (root / name).mkdir()
  write(root / name / f"{name}_TRAIN.ts", train)
  write(root / name / f"{name}_TEST.ts", test)
  return root


def test_a_problem_in_the_layout_of_the_archive(tmp_path):
  train = ["1,2,3:0,0,0:one", "5,6,7:0,0,0:two", "1,2,3:1,1,1:one"]
  root = archive(tmp_path, train, ["3:3:two"])
  plain = load_problem(root, "Toy", normalize=False)
  assert plain.train.inputs.shape == (3, 3, 2)
  # Padded to one time axis, with lengths in both parts.
  assert plain.test.inputs[0].tolist() == [[3, 3], [0, 0], [0, 0]]
  assert plain.test.lengths.tolist() == [1]
  assert plain.train.lengths.tolist() == [3, 3, 3]
  assert plain.train.extras.observed is None
  assert plain.info.num_classes == 2
  splits = load_problem(root, "Toy")
  values = plain.train.inputs.reshape(-1, 2)
  mean, deviation = values.mean(0), values.std(0)
  np.testing.assert_allclose(splits.info.mean, mean, rtol=1e-6)
  np.testing.assert_allclose(
    splits.train.inputs, (plain.train.inputs - mean) / deviation, atol=1e-6
  )
  np.testing.assert_allclose(
    splits.test.inputs[0, 0], (3 - mean) / deviation, rtol=1e-6
  )
  assert np.all(splits.test.inputs[0, 1:] == 0)


def test_missing_values_are_treated_as_declared(tmp_path):
  root = archive(tmp_path, ["1,?,4:1,2:one"], ["2,3:3,?:one"])
  with pytest.raises(
    ValueError,
    match="Toy_TRAIN.ts, case 0: 'channel 0': got nothing .element 1 of series",
  ):
    load_problem(root, "Toy")
  splits = load_problem(root, "Toy", missing="mask")
  observed = splits.train.extras.observed
  assert observed[0].tolist() == [[True, True], [False, True], [True, False]]
  assert splits.train.inputs.shape == (1, 3, 4)
  # After normalization the mean of a channel is 0, up to rounding.
  values, mask = np.split(splits.train.inputs, 2, axis=-1)
  np.testing.assert_allclose(values[~observed], 0, atol=1e-6)
  np.testing.assert_array_equal(mask, observed)
  assert splits.test.extras.observed.sum() == 3
  filled = load_problem(root, "Toy", missing="mean", normalize=False)
  assert filled.train.inputs[0].tolist() == [[1, 1], [2.5, 2], [4, 1.5]]


def test_validation_cases(tmp_path):
  train = [f"{i},{i}:{('one', 'two')[i % 2]}" for i in range(20)]
  root = archive(tmp_path, train, ["1,1:one"])
  first, again, other = (
    load_problem(root, "Toy", seed=seed, valid_fraction=0.2)
    for seed in (0, 0, 1)
  )
  assert np.bincount(first.valid.targets).tolist() == [2, 2]
  assert len(first.train.inputs) == 16
  np.testing.assert_array_equal(first.valid.inputs, again.valid.inputs)
  assert not np.array_equal(first.valid.inputs, other.valid.inputs)


def test_what_is_wrong_with_a_problem_is_said(tmp_path):
  root = archive(tmp_path, ["1:1:one"], ["1:one"])
  with pytest.raises(
    ValueError, match="Toy_TEST.ts: got 1 channels, .*, expected 2 channels"
  ):
    load_problem(root, "Toy")
  write(root / "Toy" / "Toy_TEST.ts", ["1:1:three"])
  with pytest.raises(
    ValueError, match="labels: got 'three', expected among One, two"
  ):
    load_problem(root, "Toy")
  write(root / "Toy" / "Toy_TEST.ts", [])
  with pytest.raises(
    ValueError, match="Toy_TEST.ts: got no case, expected labeled ones"
  ):
    load_problem(root, "Toy")
  with pytest.raises(data.MissingData, match="Heartbeat_TRAIN.ts is not a"):
    load_problem(root, "Heartbeat")
