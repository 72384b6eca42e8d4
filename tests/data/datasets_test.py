"""Checks, selections and splits of arrays, and hashes of rows."""

import numpy as np
import pytest

from jaxseq.data import datasets
from tests.data import hashing


def dataset(n=6, time=4, **changes):
  fields = {
    "inputs": np.arange(n * time, dtype=np.float32).reshape(n, time, 1),
    "targets": np.arange(n, dtype=np.int32),
    "lengths": np.full(n, time, np.int32),
    "extras": datasets.Extras.of(
      {"subject": np.arange(n), "price": np.arange(n)}
    ),
  }
  return datasets.ArrayDataset(**(fields | changes))


def test_take_takes_rows_of_everything():
  taken = datasets.take(dataset(), np.array([4, 1]))
  assert taken.inputs[:, 0, 0].tolist() == [16, 4]
  extras = taken.extras.named()
  assert extras.keys() == {"subject", "price"}
  assert taken.extras.more == {"price": extras["price"]}
  for array in (taken.targets, *extras.values()):
    assert array.tolist() == [4, 1]
  bare = datasets.take(
    dataset(lengths=None, extras=datasets.Extras()), np.arange(6) > 3
  )
  assert bare.lengths is bare.extras.subject is None
  assert bare.targets.tolist() == [4, 5]


def test_stratified_splits_keep_the_shares_of_classes():
  labels = np.repeat([0, 1, 5], [10, 20, 40])
  first, second = datasets.stratified_split(labels, 0.3, seed=1)
  assert sorted([*first, *second]) == list(range(70))
  assert np.bincount(labels[second]).tolist() == [3, 6, 0, 0, 0, 12]
  again = datasets.stratified_split(labels, 0.3, seed=1)
  other = datasets.stratified_split(labels, 0.3, seed=2)
  np.testing.assert_array_equal(second, again[1])
  assert not np.array_equal(second, other[1])
  with pytest.raises(
    ValueError,
    match=r"fraction: got 1\.5, expected a finite number from 0 to 1",
  ):
    datasets.stratified_split(labels, 1.5, seed=0)


def test_carve_valid_moves_training_rows():
  train = dataset(targets=np.array([0, 0, 1, 1, 0, 1], np.int32))
  splits = datasets.Splits(train, None, dataset(n=2), datasets.Info("", "", ""))
  assert datasets.carve_valid(splits, 0) is splits
  carved = datasets.carve_valid(splits, 1 / 3, seed=3)
  assert len(carved.train.inputs) == 4
  assert sorted(carved.valid.targets) == [0, 1]
  rows = [*carved.train.extras.subject, *carved.valid.extras.subject]
  assert sorted(rows) == list(range(6))
  assert carved.test is splits.test
  numbers = splits._replace(train=dataset(targets=np.zeros(6, np.float32)))
  with pytest.raises(ValueError, match="float32, expected integer targets"):
    datasets.carve_valid(numbers, 0.5)


def test_rows_are_shared_if_every_byte_is():
  first = np.arange(12).reshape(4, 3)
  second = first[[1, 1, 3]].copy()
  assert hashing.shared_rows(first, second) == 3
  second[0, 0] += 1
  assert hashing.shared_rows(first, second) == 2
  # Equal bytes of another dtype or shape are another row.
  assert hashing.shared_rows(first, first.view(np.uint64)) == 0
  assert hashing.shared_rows(first, first[:, ::-1]) == 0
  assert len(set(hashing.row_hashes(first))) == 4
