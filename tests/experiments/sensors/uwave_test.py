"""uWave's folders, written as the unpacked archive has them."""

import numpy as np
import pytest

from experiments.sensors import uwave
from jaxseq import data
from jaxseq.data import domains


def write(root):
  """Two users, two days, eight gestures, twice each; lengths differ."""
  rng = np.random.default_rng(0)
  written = {}
  for user in (1, 4):
    for day in (1, 2):
      folder = root / f"U{user} ({day})"
      folder.mkdir()
      for gesture in range(1, 9):
        for repetition in (1, 2):
          series = rng.normal(size=(5 + gesture + user, 3))
          name = f"A_Template_Acceleration{gesture}-{repetition}.txt"
          if (user, day, gesture, repetition) == (4, 2, 7, 2):
            name = name.replace("-2", "-")
          lines = [" ".join(f"{v:.6f}" for v in row) for row in series]
          (folder / name).write_text("\n".join(lines) + "\n")
          written[user, day, gesture, repetition] = series
      (folder / "A_Template_Index.txt").write_text("of no interest\n")
  (root / "uWaveGestureLibraryReadme.html").write_text("")
  return written


def test_gestures(tmp_path):
  written = write(tmp_path)
  found = uwave.read(tmp_path)
  assert len(found.values) == 64
  keys = list(
    zip(
      found.entries["user"],
      found.entries["day"],
      found.entries["label"] + 1,
      found.entries["repetition"],
    )
  )
  assert keys.count((4, 2, 7, 0)) == 1
  for key, series in zip(keys, found.values):
    expected = written[(4, 2, 7, 2) if key[3] == 0 else tuple(map(int, key))]
    # Six digits behind the point, in float32.
    np.testing.assert_allclose(series, expected, atol=1e-6)


def test_users_as_domains(tmp_path):
  write(tmp_path)
  splits = data.load(
    "uwave", path=tmp_path, source=4, target=1, valid_fraction=0.25
  )
  source = domains.labeled(splits.train)
  # One of the four of each gesture.
  np.testing.assert_array_equal(np.bincount(splits.valid.targets), [1] * 8)
  assert len(source.inputs) == 24
  assert len(splits.test.inputs) == 32
  assert splits.test.inputs.shape[1:] == (17, 3)
  np.testing.assert_array_equal(splits.test.lengths, splits.test.targets + 7)
  inside = np.arange(17) < source.lengths[:, None]
  assert np.all(source.inputs[~inside] == 0)
  # Float32 sums.
  np.testing.assert_allclose(source.inputs[inside].mean(0), 0, atol=1e-5)
  assert set(splits.test.extras.more["day"]) == {1, 2}


def test_what_is_wrong_is_said(tmp_path):
  (tmp_path / "U1 (1).rar").write_bytes(b"")
  with pytest.raises(data.MissingData, match="'U1 .1.' .*each of its rar"):
    data.load("uwave", path=tmp_path)
  folder = tmp_path / "U1 (1)"
  folder.mkdir()
  path = folder / "A_Template_Acceleration3-1.txt"
  path.write_text("0.1 0.2 0.3\n0.1 0.2\n")
  with pytest.raises(ValueError, match="line 2: 3 numbers .*; got 2"):
    uwave.read(tmp_path)
  path.write_text("0.1 0.2 x\n")
  with pytest.raises(ValueError, match="3-1.txt, line 1: .*'x'"):
    uwave.read(tmp_path)
  path.write_text("\n")
  with pytest.raises(ValueError, match="3-1.txt has no lines of numbers"):
    uwave.read(tmp_path)
  path.write_text("0.1 0.2 inf\n")
  with pytest.raises(ValueError, match="line 1: number 3 is inf; finite ones"):
    uwave.read(tmp_path)
  path.rename(tmp_path / "elsewhere")
  path.symlink_to(tmp_path.parent)
  path.unlink()
  path.symlink_to("/etc/hostname")
  with pytest.raises(ValueError, match="expected a file of the set in"):
    uwave.read(tmp_path)
  path.unlink()
  path.write_text("")
  path.rename(folder / "A_Template_Acceleration9-1.txt")
  with pytest.raises(
    ValueError,
    match="9-1.txt: got this name, expected .* a gesture from 1 to 8",
  ):
    uwave.read(tmp_path)
