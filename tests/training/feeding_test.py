"""Batches that the host makes, on one device and on many."""

import types

import jax
import numpy as np
import pytest

from jaxseq.training import errors
from jaxseq.training import feeding
from jaxseq.training.devices import device_mesh

ONE = device_mesh.MeshConfig()
SOURCE = feeding.Source(
  lambda numbers: {"a": numbers[:, None] * 10 + np.arange(3), "b": -numbers},
  8,
  feeding.digest("0f" * 32),
)


def make(mesh=ONE, chunk=3, total=11, source=SOURCE):
  return feeding.Feed(source, mesh, 1, chunk, total)


def check(batches, first, count):
  numbers = np.arange(first * 8, (first + count) * 8).reshape(count, 8)
  assert batches.first == first
  np.testing.assert_array_equal(batches.rows["b"], -numbers)
  expected = numbers[..., None] * 10 + np.arange(3)
  np.testing.assert_array_equal(batches.rows["a"], expected)
  last = batches.of(first + count - 1)
  np.testing.assert_array_equal(last["b"], -numbers[-1])


def test_chunks_come_as_a_run_asks_for_them():
  feed = make()
  for first, count in ((0, 3), (3, 3), (6, 3), (9, 2)):
    check(feed.take(first, count), first, count)
  # A run that goes on in the middle of a chunk, or back to before.
  for first, count in ((7, 2), (9, 2), (3, 3), (6, 1)):
    check(feed.take(first, count), first, count)
  feed.close()


def test_what_a_source_cannot_make_is_one_sentence_in_the_loop():
  def rows(numbers):
    if numbers[-1] >= 48:
      raise ValueError("token 3: got 9, expected 0 to 7.")
    return {"b": numbers}

  feed = make(source=SOURCE._replace(rows=rows))
  feed.take(0, 3)
  feed.take(3, 3)
  with pytest.raises(errors.UserError, match="token 3: got 9"):
    feed.take(6, 3)
  feed.close()


def test_a_run_knows_what_it_has_learnt_from():
  feed = make()
  state = [np.array([x, x]) for x in SOURCE.digest]
  feed.check(state)
  other = make(source=SOURCE._replace(digest=feeding.digest("10" * 32)))
  with pytest.raises(
    errors.UserError, match=f"digest {'10' * 32}, expected {'0f' * 32}, that of"
  ):
    other.check(state)


@pytest.mark.devices
def test_devices_share_a_batch():
  for fields in ({"data": 2}, {"data": 4, "parameters": 2}, {"time": 2}):
    feed = make(device_mesh.MeshConfig(**fields))
    batches = feed.take(6, 3)
    check(batches, 6, 3)
    parts = fields.get("data", 1) * fields.get("parameters", 1)
    for shard in batches.rows["a"].addressable_shards:
      assert shard.data.shape == (3, 8 // parts, 3)
    feed.close()


@pytest.mark.devices
@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_process_computes_the_rows_of_its_devices_alone(count):
  mesh = device_mesh.make(device_mesh.MeshConfig(data=8))
  shape = 3, 16
  where = device_mesh.cut_examples(mesh, np.zeros(shape), axis=1)
  every = where.addressable_devices_indices_map(shape)
  per = 8 // count
  rows = []
  for process in range(count):
    mine = jax.devices()[process * per : (process + 1) * per]
    of_process = types.SimpleNamespace(
      addressable_devices_indices_map=lambda _, mine=mine: {
        device: every[device] for device in mine
      }
    )
    columns = feeding._columns(of_process, shape)
    assert len(columns) == 16 // count
    rows.extend(columns)
  np.testing.assert_array_equal(np.sort(rows), np.arange(16))
