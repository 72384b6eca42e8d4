"""Streams by where they come from: what is told of them, and what is not."""

import numpy as np
import pytest

import experiments.continual  # noqa: F401
from jaxseq import data


def test_processes_differ_in_what_excites_what_alone():
  splits = data.load(
    "event_origins", classes=2, train=60, test=60, horizon=20.0, length=40
  )
  train = splits.train
  assert train.inputs.shape == (120, 40, 4)
  np.testing.assert_array_equal(np.bincount(train.targets), [60, 60])
  inside = np.arange(40) < train.lengths[:, None]
  kinds = train.inputs[..., 1:]
  np.testing.assert_array_equal(kinds.sum(axis=-1), inside)
  assert not train.inputs[~inside].any()
  shares = [kinds[train.targets == i].sum(axis=(0, 1)) for i in range(2)]
  # Of some 1,700 events a third is of each kind, up to bursts.
  for share in shares:
    np.testing.assert_allclose(share / share.sum(), 1 / 3, atol=0.08)
  # Two kinds excite one another in the second process, and not in the first.
  both = kinds[:, :-1, 1] * kinds[:, 1:, 2] + kinds[:, :-1, 2] * kinds[:, 1:, 1]
  first, second = (both[train.targets == i].sum() for i in range(2))
  assert second > 2 * first
  told = float(splits.info.description.split()[-1][:-1])
  assert 0.9 < told <= 1


def test_tables_are_classes_and_their_kinds_are_put_together(tmp_path):
  paths = []
  for name, kinds in (("a", "xy"), ("b", "yz")):
    rows = ["stream,time,mark"]
    for stream in range(6):
      rows += [f"{stream},{1 + i},{kinds[i % 2]}" for i in range(3 + stream)]
    paths.append(str(tmp_path / f"{name}.csv"))
    (tmp_path / f"{name}.csv").write_text("\n".join(rows))
  splits = data.load(
    "event_origins", paths=tuple(paths), stream="stream", mark="mark", length=5
  )
  every = np.concatenate([splits.train.inputs, splits.test.inputs])
  classes = np.concatenate([splits.train.targets, splits.test.targets])
  assert splits.info.num_classes == 2
  kinds = [every[classes == i, :, 1:].sum(axis=(0, 1)) for i in range(2)]
  assert kinds[0][2] == kinds[1][0] == 0
  assert all(kinds[0][:2])
  assert all(kinds[1][1:])
  lengths = np.concatenate([splits.train.lengths, splits.test.lengths])
  assert lengths.max() == 5
  with pytest.raises(ValueError, match="paths: got .*, expected two tables"):
    data.load("event_origins", paths=("a.csv",))
  with pytest.raises(ValueError, match="classes: got 7, expected .* 2 to 6"):
    data.load("event_origins", classes=7)


def test_times_of_all_tables_are_in_one_unit(tmp_path):
  paths = []
  begin = np.datetime64("2024-01-01T00", "s")
  # Gaps of two hours and of two days.
  for name, seconds in (("a", 7200), ("b", 172_800), ("c", 1)):
    rows = ["stream,time"]
    for stream in range(6):
      times = begin + np.arange(1, 5) * np.timedelta64(seconds, "s")
      rows += [
        f"{stream},{time if name < 'c' else i}" for i, time in enumerate(times)
      ]
    paths.append(str(tmp_path / f"{name}.csv"))
    (tmp_path / f"{name}.csv").write_text("\n".join(rows))
  splits = data.load("event_origins", paths=tuple(paths[:2]), length=4)
  gaps = np.expm1(splits.train.inputs[:, 2, 0])
  short, long = (gaps[splits.train.targets == i] for i in range(2))
  np.testing.assert_allclose(long, 24 * short, rtol=1e-5)
  with pytest.raises(ValueError, match="expected tables with dates, or all"):
    data.load("event_origins", paths=tuple(paths[1:]))
