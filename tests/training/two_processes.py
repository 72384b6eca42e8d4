"""One of the two processes that multiprocess_test.py starts.

Arguments: its number, the port of the coordinator, the directory. It places a
data set, saves and restores arrays that live on both processes, damages the
newest checkpoint (process 0), falls back, and stops when a signal reaches
process 1 only.
"""

import os
import pathlib
import signal
import sys
import time

import jax
from jax.experimental import multihost_utils
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.training import checkpoint
from jaxseq.training import loop
from jaxseq.training import scalars
from jaxseq.training import signals
from jaxseq.training.devices import device_mesh

ARRAYS = ("split", "whole", "weak", "weak_split")


class Counted:
  """An array of rows that counts those that are taken from it."""

  def __init__(self, array):
    self.array = array
    self.shape, self.dtype = array.shape, array.dtype
    self.size, self.ndim = array.size, array.ndim
    self.rows = 0

  def __getitem__(self, index):
    taken = self.array[index]
    self.rows += len(taken)
    return taken


def check_rows():
  """Each process takes the rows of its own device only, if they are split."""
  mesh = device_mesh.make(device_mesh.MeshConfig(data=0))
  for split, rows in ((True, 4), (False, 8)):
    data = Counted(np.arange(24.0, dtype=np.float32).reshape(8, 3))
    placed = device_mesh.place({"x": data}, mesh, split)["x"]
    assert data.rows == rows
    assert float(jax.jit(jnp.sum)(placed)) == data.array.sum()


def main(number, port, directory):
  jax.distributed.initialize(f"127.0.0.1:{port}", 2, number)
  mesh = jax.make_mesh((2,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
  axis = jax.sharding.PartitionSpec("x")
  split = jax.sharding.NamedSharding(mesh, axis)
  whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())

  def place(x, sharding):
    return jax.make_array_from_callback(x.shape, sharding, lambda i: x[i])

  def words(value, *shape):
    return np.broadcast_to(np.array([0, value], np.uint32), (*shape, 2))

  def make(value):
    return {
      "split": place(np.arange(8.0, dtype=np.float32) + value, split),
      "whole": place(np.full(3, value, np.float32), whole),
      "key": jax.random.wrap_key_data(place(words(value), whole)),
      "keys": jax.random.wrap_key_data(place(words(value, 2), split)),
      "weak": jax.jit(lambda: jnp.full(2, value), out_shardings=whole)(),
      "weak_split": jax.jit(
        lambda x: jnp.full(8, value).at[...].add(x), out_shardings=split
      )(np.arange(8.0)),
      "host": np.full(2, value),
      "local": jnp.full(2, value),
    }

  @jax.jit
  def advance(state):
    keys = {
      k: jax.random.wrap_key_data(jax.random.key_data(state[k]) + one)
      for k in ("key", "keys")
    }
    return keys | {k: state[k] + 1 for k in ARRAYS}

  one = np.array([0, 1], np.uint32)

  def run_chunk(state, count):
    for _ in range(count):
      state = {
        **advance({k: state[k] for k in ("key", "keys", *ARRAYS)}),
        "host": state["host"] + 1,
        "local": state["local"] + 1,
      }
    # When there is a checkpoint already, that of step 4.
    if number == 1 and state["host"][0] == 8:
      os.kill(os.getpid(), signal.SIGTERM)
    # The listener for signals looks once a second.
    time.sleep(0.1)
    return state, {"x": np.zeros(count)}

  def run(saver, writer):
    return loop.run(
      run_chunk,
      make(0.0),
      num_updates=2000,
      chunk_size=2,
      checkpointer=saver,
      checkpoint_every=2,
      writer=writer,
    )

  def check(state, value):
    assert np.all(state["host"] == value)
    assert np.all(np.asarray(state["local"]) == value)
    for name, sharding in (
      ("whole", whole),
      ("weak", whole),
      ("split", split),
      ("weak_split", split),
      ("keys", split),
    ):
      assert state[name].sharding.is_equivalent_to(sharding, 1)
    for name in ("whole", "weak"):
      assert np.all(np.asarray(state[name]) == value)
    for name in ("split", "weak_split"):
      shard = state[name].addressable_shards[0]
      np.testing.assert_array_equal(
        shard.data, np.arange(8.0)[shard.index] + value
      )
    assert state["weak"].weak_type
    assert state["weak_split"].weak_type
    assert state["key"].sharding.is_equivalent_to(whole, 0)
    for name in ("key", "keys"):
      kept = jax.random.key_data(state[name]).addressable_data(0)
      np.testing.assert_array_equal(np.reshape(kept, (-1, 2)), [[0, value]])

  check_rows()
  with (
    checkpoint.Checkpointer(directory / "checkpoints") as saver,
    scalars.MetricWriter(directory, tensorboard=False) as writer,
  ):
    with pytest.raises(signals.Stopped) as stopped:
      run(saver, writer)
    last = stopped.value.step
    assert stopped.value.code == 0
    assert 8 <= last < 2000
    # Both have stopped at the same step.
    np.testing.assert_array_equal(
      multihost_utils.process_allgather(np.int32(last)), last
    )
    before = saver.steps()[-2]
    assert saver.steps()[-1] == last
    check(saver.restore(make(9.0))[1], last)
    multihost_utils.sync_global_devices("damage")
    if number == 0:
      file = max((directory / f"checkpoints/{last}").rglob("*/d/*"))
      file.write_bytes(file.read_bytes()[:-1] + b"?")
    multihost_utils.sync_global_devices("damaged")
    step, state = saver.restore(make(9.0))
    assert step == before
    check(state, before)
    assert saver.steps()[-1] == before
    saver.save(last, make(float(last)))
    saver.wait()
    assert saver.steps()[-2:] == [before, last]
  print("right")


if __name__ == "__main__":
  main(int(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3]))
