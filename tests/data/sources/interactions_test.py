"""Histories of users: their order, the two splits, and the pieces."""

import numpy as np
import pytest

from jaxseq import data
from jaxseq.data import _row_groups
from jaxseq.data.sources import interactions


def write(path, rows, names="user,item,time"):
  path.write_text("\n".join([names, *rows, ""]))
  return path


def test_splits_are_those_of_the_reference(golden):
  known = golden("recsys/splits")
  users, times = known["user"], known["time"].astype(float)
  ids, rows = _row_groups.group(users.tolist(), times)
  by_user = dict(zip(ids, rows))
  order = np.concatenate([by_user[user] for user in sorted(by_user)])
  np.testing.assert_array_equal(order, known["order"])
  parts = np.zeros(len(users), int)
  for one in rows:
    parts[one] = interactions.leave_one_out(len(one))
  np.testing.assert_array_equal(parts, known["leave_one_out"])
  ahead = np.mean(known["time"] >= known["cut_test"])
  valid = np.mean(known["time"] >= known["cut_valid"]) - ahead
  np.testing.assert_array_equal(
    interactions.by_time(times, valid, ahead), known["global_time"]
  )
  # A cut inside of a tie moves to its begin.
  later = interactions.by_time(times, valid - 1 / 60, ahead - 1 / 60)
  np.testing.assert_array_equal(later, known["global_time"])


def test_rows_out_of_order_are_counted_and_unknown_names_are_not_guessed(
  tmp_path, caplog
):
  items = ["item 4", "item 6", "item 7", "item 9"]
  rows = [f"{user},{x},{t}" for user in "ab" for t, x in enumerate(items)]
  path = write(tmp_path / "r.csv", rows)
  source = data.load("interaction_table", path=path).info.preparation
  assert not caplog.text
  data.load(
    "interaction_table",
    path=write(tmp_path / "r.csv", ["a,item 4,5", *rows]),
  )
  assert "1 of 9 rows have an earlier time than the row" in caplog.text
  with pytest.raises(ValueError, match="got 'item 444', .*'item 9'\\."):
    source.prepare([["item 444"]])
  write(path, rows, "customer,item,time")
  message = "no column 'user', expected .*'time'; options of the data say"
  with pytest.raises(ValueError, match=message):
    data.load("interaction_table", path=path)


def test_the_last_items_of_a_user_are_left_out(tmp_path):
  rows = [f"a,{item},{time}" for time, item in enumerate("vwxyz")]
  path = write(tmp_path / "r.csv", ["b,x,0", *rows[::-1], "b,v,1"])
  splits = data.load("interaction_table", path=path, length=2)
  assert splits.info.preparation.items == tuple("vwxyz")
  # Of b, with two rows, both are for training.
  inputs = splits.train.inputs.tolist()
  pairs = zip(inputs, splits.train.targets.tolist(), splits.train.lengths)
  assert sorted(pairs) == [([1, 2], [2, 3], 2), ([3, 0], [1, 0], 1)]
  assert splits.valid.inputs.tolist() == [[1, 2, 3]]
  assert splits.valid.targets.tolist() == [[0, 0, 4]]
  assert splits.test.inputs.tolist() == [[1, 2, 3, 4]]
  assert splits.test.targets.tolist() == [[0, 0, 0, 5]]


def test_pieces_hold_every_next_item_once():
  history = np.arange(1, 9, dtype=np.int32)
  source = interactions.InteractionSource(items=tuple("abcdefgh"))
  parts = np.array([0] * 6 + [1, 2])
  found = interactions.make_splits([history], [parts], source, 3, "here").train
  pieces = [
    (row[:size].tolist(), targets[:size].tolist())
    for row, targets, size in zip(found.inputs, found.targets, found.lengths)
  ]
  assert pieces == [([3, 4, 5], [4, 5, 6]), ([1, 2], [2, 3])]


def test_rows_behind_a_time_are_for_testing(tmp_path):
  rows = [f"{user},i{time},{time}" for user in "ab" for time in range(10)]
  path = write(tmp_path / "r.csv", [*rows, "new,i1,9"])
  splits = data.load(
    "interaction_table",
    path=path,
    split="time",
    valid_fraction=0.2,
    test_fraction=0.1,
  )
  # One without a history cannot be scored.
  assert splits.test.lengths.tolist() == [9, 9]
  assert splits.test.targets[:, -1].tolist() == [10, 10]
  assert splits.valid.lengths.tolist() == [7, 7]
  assert splits.train.lengths.tolist() == [6, 6]


def test_what_is_wrong_is_told_with_its_place(tmp_path, caplog):
  name = "interaction_table"
  path = write(tmp_path / "r.csv", [f"a,i{time},{time}" for time in range(4)])
  source = data.load("interaction_table", path=path).info.preparation
  other = write(tmp_path / "o.csv", ["a,i0,1", "a,odd,2", "b,odd,3"])
  found = source.read(other)
  assert found.ids == ("a",)
  assert found.dataset.inputs.tolist() == [[1]]
  assert "o.csv, line 3: column 'item': got 'odd', expected an item" in (
    caplog.text
  )
  assert "2 of 3 rows are such and are left out" in caplog.text
  new = write(tmp_path / "o.csv", ["a,odd,1"])
  with pytest.raises(ValueError, match="line 2: column 'item': got 'odd'"):
    source.read(new)
  with pytest.raises(ValueError, match="user 1: got shape .*a history of one"):
    source.prepare([["i0"], []])
  with pytest.raises(ValueError, match="times: got 'list', expected None"):
    source.prepare([["i0"]], times=[[1]])
  empty = write(tmp_path / "e.csv", ["a,i0,1", "a,,2"])
  with pytest.raises(ValueError, match="e.csv, line 3: .*expected the name of"):
    data.load("interaction_table", path=empty)
  nobody = write(tmp_path / "n.csv", ["a,i0,1", "a,i1,2", ",i2,3"])
  for read in (source.read, lambda path: data.load(name, path=path)):
    with pytest.raises(
      ValueError,
      match="n.csv, line 4: column 'user': got nothing, expected the",
    ):
      read(nobody)
  short = write(tmp_path / "s.csv", ["a,i0,1", "a,i1,2"])
  with pytest.raises(ValueError, match="s.csv: test: got 'no next item'"):
    data.load("interaction_table", path=short)


def test_chains_follow_a_ring_and_never_repeat():
  splits = data.load("item_chains", users=300, items=30, events=10, seed=1)
  test = splits.test
  histories = np.concatenate([test.inputs, test.targets[:, -1:]], axis=1)
  assert all(len(set(row)) == 10 for row in histories.tolist())
  counts = np.zeros((31, 31))
  np.add.at(counts, (histories[:, :-1], histories[:, 1:]), 1)
  assert sorted(counts[1:].argmax(axis=1)) == list(range(1, 31))
  share = counts.max(axis=1).sum() / counts.sum()
  # .8, but for those that were taken, and .02 for 2,700 draws.
  assert 0.7 < share < 0.84


def test_gaps_are_those_before_the_items(tmp_path):
  rows = ["a,x,0", "a,y,0", "a,z,86400", "a,x,345600", "b,x,7", "b,y,7"]
  path = write(tmp_path / "r.csv", rows)
  splits = data.load("interaction_table", path=path, gap=86400.0)
  assert splits.train.extras.user.tolist() == [0, 1]
  np.testing.assert_array_equal(splits.train.extras.gaps, 1)
  np.testing.assert_allclose(
    splits.test.extras.gaps, [[1, 1, 1 + np.log(2)]], rtol=1e-6
  )
  source = splits.info.preparation
  # Of a file that comes later they are the whole history's.
  np.testing.assert_allclose(
    source.read(path).dataset.extras.gaps[0],
    [1, 1, 1 + np.log(2), 1 + np.log(4)],
    rtol=1e-6,
  )
  with pytest.raises(ValueError, match="times: got 'NoneType', expected the t"):
    source.prepare([["x"]])
  with pytest.raises(ValueError, match="times: got .*as many as items"):
    source.prepare([["x"]], times=[[1.0, 2.0]])
