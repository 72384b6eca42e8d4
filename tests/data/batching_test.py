"""Batches: order, resuming, hosts, and sequences side by side."""

import itertools

import numpy as np
import pytest

from jaxseq import data
from jaxseq.data import batching


def dataset(n=10, time=3):
  # The first input and the target of a row are its number.
  inputs = np.zeros((n, time, 2))
  inputs[:, 0, 0] = np.arange(n)
  return data.ArrayDataset(
    inputs,
    np.arange(n),
    1 + np.arange(n, dtype=np.int32) % time,
    {"twice": 2.0 * np.arange(n), "flag": np.arange(n) % 2 == 0},
  )


def rows(batches):
  return [batch.targets.tolist() for batch in batches]


def test_batches_hold_what_belongs_to_a_row():
  (batch,) = data.batches(dataset(), 10, seed=3, epochs=1)
  order = batching.permutation(3, 0, 10)
  np.testing.assert_array_equal(batch.targets, order)
  np.testing.assert_array_equal(batch.inputs[:, 0, 0], order)
  np.testing.assert_array_equal(batch.extras["twice"], 2 * order)
  np.testing.assert_array_equal(batch.lengths, 1 + order % 3)
  np.testing.assert_array_equal(batch.mask.sum(1), 1 + order % 3)
  assert batch.mask[batch.lengths == 2].tolist() == [[True, True, False]] * 3
  assert batch.valid.all()
  dtypes = [batch.inputs.dtype, batch.targets.dtype, batch.lengths.dtype]
  assert dtypes == [np.float32, np.int32, np.int32]
  assert batch.extras["twice"].dtype == np.float32
  assert batch.extras["flag"].dtype == np.bool_


def test_small_tokens_become_int32_and_full_lengths_are_filled_in():
  tokens = data.ArrayDataset(np.full((4, 5), 200, np.uint8), np.zeros((4, 5)))
  batch = next(data.batches(tokens, 2))
  assert batch.inputs.dtype == np.int32
  assert batch.targets.dtype == np.float32
  assert batch.lengths.tolist() == [5, 5]
  assert batch.mask.all()
  assert batch.extras == {}


def test_every_epoch_has_every_row_once_in_an_order_of_its_own():
  batches = rows(data.batches(dataset(), 5, seed=1, epochs=3))
  assert len(batches) == 6
  epochs = [sum(batches[i : i + 2], []) for i in (0, 2, 4)]
  assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
  assert epochs[0] != epochs[1] != epochs[2]
  assert batches == rows(data.batches(dataset(), 5, seed=1, epochs=3))
  assert batches != rows(data.batches(dataset(), 5, seed=2, epochs=3))


def test_in_order_without_shuffling():
  batches = rows(data.batches(dataset(), 4, shuffle=False, epochs=1))
  assert batches == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize("drop_remainder", [True, False])
def test_starting_later_is_leaving_out(drop_remainder):
  options = {"seed": 4, "epochs": 3, "drop_remainder": drop_remainder}
  whole = rows(data.batches(dataset(), 4, **options))
  assert len(whole) == 3 * data.steps_per_epoch(10, 4, drop_remainder)
  for start in range(len(whole) + 1):
    late = data.batches(dataset(), 4, start_step=start, **options)
    assert rows(late) == whole[start:]


def test_the_remainder_is_filled_up_with_rows_that_do_not_count():
  batches = data.batches(
    dataset(), 4, shuffle=False, drop_remainder=False, epochs=1
  )
  *_, last = batches
  assert last.valid.tolist() == [True, True, False, False]
  assert last.targets[:2].tolist() == [8, 9]
  assert not last.mask[2:].any()
  assert last.inputs.shape == (4, 3, 2)


@pytest.mark.parametrize("drop_remainder", [True, False])
def test_hosts_divide_every_batch(drop_remainder):
  def parts(count):
    options = {"drop_remainder": drop_remainder, "epochs": 2, "seed": 5}
    hosts = [
      data.batches(dataset(), 6, host_index=host, host_count=count, **options)
      for host in range(count)
    ]
    return [
      np.concatenate([batch.targets[batch.valid] for batch in batches]).tolist()
      for batches in zip(*hosts, strict=True)
    ]

  assert parts(1) == parts(2) == parts(3) == parts(6)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"batch_size": 0}, "batch_size must be at least 1; got 0"),
    ({"batch_size": 11}, "at most the number of examples, 10"),
    ({"batch_size": 5, "host_count": 2}, "multiple of host_count = 2; got 5"),
    ({"batch_size": 4, "host_index": 2, "host_count": 2}, "host_index = 2"),
    ({"batch_size": 4, "start_step": -1}, "start_step .*; got -1"),
  ],
)
def test_wrong_arguments_raise_before_the_first_batch(options, message):
  with pytest.raises(ValueError, match=message):
    data.batches(dataset(), **options)


def stream(n, batch_size, length, **options):
  return list(
    data.streams(
      np.arange(n), np.arange(n) + 1, batch_size, length, epochs=1, **options
    )
  )


@pytest.mark.parametrize(
  ("n", "batch_size", "length"), [(20, 2, 5), (23, 3, 4), (7, 1, 3), (9, 4, 9)]
)
def test_streams_go_on_and_see_every_element_once(n, batch_size, length):
  batches = stream(n, batch_size, length)
  inputs = np.concatenate([batch.inputs for batch in batches], axis=1)
  masks = np.concatenate([batch.mask for batch in batches], axis=1)
  resets = np.concatenate([batch.reset for batch in batches], axis=1)
  assert np.sort(inputs[masks]).tolist() == list(range(n))
  for row, mask in zip(inputs, masks):
    assert np.all(np.diff(row[mask]) == 1)
  assert resets[:, 0].all()
  assert not resets[:, 1:].any()
  for batch in batches:
    np.testing.assert_array_equal(
      batch.targets[batch.mask], batch.inputs[batch.mask] + 1
    )
    assert batch.inputs.shape == (batch_size, length)


def test_streams_reset_where_documents_start():
  starts = np.zeros(12, bool)
  starts[[3, 8]] = True
  (batch,) = stream(12, 2, 6, starts=starts)
  assert np.argwhere(batch.reset).tolist() == [[0, 0], [0, 3], [1, 0], [1, 2]]


def test_streams_resume_and_are_divided_over_hosts():
  whole = stream(30, 4, 3)
  late = stream(30, 4, 3, start_step=2)
  np.testing.assert_array_equal(whole[2].inputs, late[0].inputs)
  halves = [stream(30, 4, 3, host_index=i, host_count=2) for i in (0, 1)]
  for batch, *parts in zip(whole, *halves, strict=True):
    for field in batch._fields:
      np.testing.assert_array_equal(
        getattr(batch, field),
        np.concatenate([getattr(part, field) for part in parts]),
      )
  endless = data.streams(np.arange(4), np.arange(4), 1, 4)
  first, second = itertools.islice(endless, 2)
  np.testing.assert_array_equal(first.inputs, second.inputs)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ((np.zeros(4), np.zeros(5), 1, 2), r"\(4,\) and \(5,\)"),
    ((np.zeros(4), np.zeros(4), 1, 0), "length must be at least 1; got 0"),
    ((np.zeros(4), np.zeros(4), 5, 1), "elements, 4; got 5"),
  ],
)
def test_wrong_streams_are_refused(arguments, message):
  with pytest.raises(ValueError, match=message):
    data.streams(*arguments)


def test_padding():
  sequences = [np.ones((2, 3)), np.ones((5, 3), np.float32)]
  padded, lengths = data.pad_sequences(sequences, multiple=4, value=-1)
  assert padded.shape == (2, 8, 3)
  assert padded.dtype == np.float64
  assert lengths.tolist() == [2, 5]
  inside = np.arange(8) < lengths[:, None]
  assert np.all(padded[inside] == 1)
  assert np.all(padded[~inside] == -1)
  with pytest.raises(ValueError, match="longest sequence, 5; got 4"):
    data.pad_sequences(sequences, 4)
  with pytest.raises(ValueError, match="got none"):
    data.pad_sequences([])
  with pytest.raises(ValueError, match=r"got \(\), \(1,\)"):
    data.pad_sequences([np.ones((2, 1)), np.ones(2)])
