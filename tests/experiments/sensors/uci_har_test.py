"""UCI HAR's folders, written as the archive has them."""

import numpy as np
import pytest

from experiments.sensors import uci_har
from jaxseq import data
from jaxseq.data import domains

# Subject and class, from 1, of each window in the two folders.
_TRAIN = [(1, 5), (1, 5), (1, 5), (1, 4), (1, 4), (3, 4), (3, 4), (3, 1)]
_TEST = [(2, 5), (2, 5), (2, 6), (4, 1), (4, 1)]


def write(root):
  """Returns the windows, (n, 128, 9), as they were written."""
  rng = np.random.default_rng(0)
  values = []
  for part, rows in (("train", _TRAIN), ("test", _TEST)):
    signals = root / part / "Inertial Signals"
    signals.mkdir(parents=True)
    windows = rng.normal(size=(len(rows), 128, 9))
    values.append(windows)
    for i, name in enumerate(uci_har.SIGNALS):
      # Fixed width, so that lines start with one or two spaces.
      lines = ["".join(f"{v:16.7e}" for v in row) for row in windows[..., i]]
      path = signals / f"{name}_{part}.txt"
      path.write_text("\n".join(lines) + "\n")
    for i, name in enumerate(("subject", "y")):
      lines = "".join(f"{row[i]}\n" for row in rows)
      (root / part / f"{name}_{part}.txt").write_text(lines)
  return np.concatenate(values)


def test_windows_of_both_folders(tmp_path):
  values = write(tmp_path)
  found = uci_har.read(tmp_path)
  # Seven digits behind the point.
  np.testing.assert_allclose(found.inputs, values, rtol=1e-6, atol=1e-7)
  rows = _TRAIN + _TEST
  np.testing.assert_array_equal(found.extras.subject, [r[0] for r in rows])
  np.testing.assert_array_equal(found.targets, [r[1] - 1 for r in rows])
  np.testing.assert_array_equal(
    found.extras.recording, [0, 0, 0, 1, 1, 2, 2, 3, 4, 4, 5, 6, 6]
  )
  # Windows overlap by half.
  np.testing.assert_array_equal(
    found.extras.start, [0, 64, 128, 0, 64, 0, 64, 0, 0, 64, 0, 0, 64]
  )


def test_subjects_as_domains(tmp_path):
  values = write(tmp_path)
  splits = data.load(
    "uci_har",
    path=tmp_path,
    source=1,
    target=(2, 4),
    valid_fraction=0.4,
    scaling="none",
  )
  # One of three and one of two windows, and one before each overlaps.
  assert len(splits.valid.inputs) == 2
  source = domains.labeled(splits.train)
  np.testing.assert_allclose(source.inputs, values[:1], rtol=1e-6, atol=1e-7)
  np.testing.assert_allclose(
    splits.test.inputs, values[8:], rtol=1e-6, atol=1e-7
  )
  np.testing.assert_array_equal(splits.test.extras.domain, [1, 1, 1, 2, 2])
  assert splits.info.classes[splits.test.targets[2]] == "laying"


def test_what_is_wrong_is_said(tmp_path):
  with pytest.raises(data.MissingData, match="body_acc_x_train.txt is not a"):
    data.load("uci_har", path=tmp_path)
  write(tmp_path)
  labels = tmp_path / "test" / "y_test.txt"
  labels.write_text("5\n5\n7\n1\n1\n")
  with pytest.raises(
    ValueError, match="y_test.txt: classes: got 7, expected 1 to 6"
  ):
    uci_har.read(tmp_path)
  labels.write_text("5\n5\n6\n1\n")
  with pytest.raises(
    ValueError, match="test: got 4, 5, expected as many lines in each file"
  ):
    uci_har.read(tmp_path)
  for word, message in (("five", "five"), (str(2**31), "2147483648")):
    labels.write_text(f"5\n{word}\n6\n1\n1\n")
    with pytest.raises(ValueError, match=f"y_test.txt, line 2: .*{message}"):
      uci_har.read(tmp_path)
  signal = tmp_path / "train" / "Inertial Signals" / "body_gyro_y_train.txt"
  lines = signal.read_text().splitlines()
  for word, message in (("nan", "nan"), ("1e39", "1e39"), ("-inf", "-inf")):
    wrong = [*lines[:3], " ".join(["0.5"] * 127 + [word])]
    signal.write_text("\n".join(wrong))
    with pytest.raises(
      ValueError, match=f"gyro_y_train.txt, line 4: number 128 is {message}; "
    ):
      uci_har.read(tmp_path)
  lines[3] = lines[3][16:]
  signal.write_text("\n".join(lines))
  with pytest.raises(
    ValueError, match="gyro_y_train.txt, line 4: 128 numbers .*; got 127"
  ):
    uci_har.read(tmp_path)
