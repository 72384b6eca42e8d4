"""Checkpoints: exact round trips, retention, and every kind of damage."""

import logging
import os
import pathlib
import shutil
import threading
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseq.training import checkpoint
from jaxseq.training import errors


class Runner(NamedTuple):
  params: Any
  opt_state: Any
  key: jax.Array
  extra: Any


def make_runner(seed=0):
  """Returns a state with every kind of leaf that training states have."""
  keys = jax.random.split(jax.random.key(seed), 4)
  params = {
    "Dense_0": {
      "kernel": jax.random.normal(keys[0], (7, 5)),
      "bias": jnp.zeros(5),
    },
    "half": jax.random.normal(keys[1], (3, 2), jnp.bfloat16),
  }
  rng = np.random.default_rng(seed)
  extra = {
    "carry": jax.lax.complex(jnp.arange(3.0), -jnp.arange(3.0)),
    "pixels": jnp.asarray(rng.integers(0, 256, (4, 4)), jnp.uint8),
    "done": jnp.asarray([True, False, True]),
    "count": jnp.asarray(seed, jnp.int32),
    "not_finite": jnp.asarray([jnp.nan, -jnp.inf, -0.0]),
    "host64": rng.normal(size=(2, 3)),
    "big": np.asarray(2**60 + 1),
    "scalar": np.float32(0.1),
    "none": None,
    "empty": jnp.zeros((0, 3)),
    "no_keys": jax.random.split(jax.random.key(0), 2)[:0],
    "tuple": (1, 2.5, True, "text", 2**80, 1j / 3),
    "weak": jnp.asarray(0.1),
    "weak_vector": jnp.full((2,), 0.1),
    "nothing": {},
    "rbg": jax.random.key(seed, impl="rbg"),
    "old_style": jax.random.PRNGKey(seed),
    "a/b": jnp.ones(1),
    "a": {"b": jnp.zeros(2)},
  }
  optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
  return Runner(params, optimizer.init(params), keys, extra)


def assert_identical(actual, expected):
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected)):
    assert type(a) is type(e)
    if not hasattr(e, "dtype"):
      assert a == e
      continue
    assert a.dtype == e.dtype
    assert a.shape == e.shape
    assert getattr(a, "weak_type", None) == getattr(e, "weak_type", None)
    if jax.dtypes.issubdtype(e.dtype, jax.dtypes.prng_key):
      assert jax.random.key_impl(a) == jax.random.key_impl(e)
      a, e = jax.random.key_data(a), jax.random.key_data(e)
    assert np.asarray(a).tobytes() == np.asarray(e).tobytes()


def small(step):
  return {
    "w": jnp.arange(600.0).reshape(20, 30) + step,
    "step": jnp.asarray(step),
    "key": jax.random.key(step),
    "name": "run",
  }


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
  """A directory with the good checkpoints 10 and 20."""
  directory = tmp_path_factory.mktemp("good") / "checkpoints"
  with checkpoint.Checkpointer(directory) as saver:
    for step in (10, 20):
      saver.save(step, small(step))
  return directory


@pytest.fixture
def damaged(two_steps, tmp_path):
  """A copy of them to damage."""
  return pathlib.Path(shutil.copytree(two_steps, tmp_path / "checkpoints"))


def restore(directory, **options):
  with checkpoint.Checkpointer(directory, **options) as reader:
    return reader.restore(small(0))


def files_of(directory, step):
  return sorted(p for p in (directory / str(step)).rglob("*") if p.is_file())


def test_round_trip_is_bit_for_bit(tmp_path):
  state = make_runner(3)
  with checkpoint.Checkpointer(tmp_path) as saver:
    saver.save(5, state)
  with checkpoint.Checkpointer(tmp_path) as reader:
    step, restored = reader.restore(make_runner(0))
  assert step == 5
  assert_identical(restored, state)


def test_restores_onto_shapes(tmp_path):
  state = {"w": jnp.ones((3, 4), jnp.bfloat16), "key": jax.random.key(1)}
  with checkpoint.Checkpointer(tmp_path) as saver:
    saver.save(1, state)
    _, restored = saver.restore(jax.eval_shape(lambda: state))
  assert_identical(restored, state)


def test_float64_round_trip(tmp_path, x64):
  state = {"w": jnp.linspace(0.0, 1.0, 7), "z": jnp.ones(2, complex) / 3}
  assert state["w"].dtype == jnp.float64
  with checkpoint.Checkpointer(tmp_path) as saver:
    saver.save(1, state)
    _, restored = saver.restore(jax.tree.map(jnp.zeros_like, state))
  assert_identical(restored, state)


def test_buffers_may_be_donated_and_changed_after_save(tmp_path):
  advance = jax.jit(lambda x: x + 1.0, donate_argnums=0)
  state = jnp.zeros(200_000)
  host = np.zeros(200_000)
  with checkpoint.Checkpointer(tmp_path) as saver:
    saver.save(1, {"device": state, "host": host})
    host += 1.0
    for _ in range(5):
      state = advance(state)
    template = {"device": jnp.ones(200_000), "host": np.ones(200_000)}
    _, restored = saver.restore(template)
  assert not restored["device"].any()
  assert not restored["host"].any()


def test_save_returns_before_anything_is_written(tmp_path, monkeypatch):
  saver = checkpoint.Checkpointer(tmp_path)
  write, released = saver._arrays._orbax.save, threading.Event()

  def slow(*args, **kwargs):
    assert released.wait(60)
    write(*args, **kwargs)

  monkeypatch.setattr(saver._arrays._orbax, "save", slow)
  saver.save(1, {"w": jnp.ones(1)})
  assert saver.steps() == []
  released.set()
  saver.close()
  assert saver.steps() == [1]


def test_restored_arrays_take_the_placement_of_the_template(tmp_path):
  device = jax.devices()[0]
  placed = jax.device_put(jnp.ones(3), device)
  keys = jax.device_put(jax.random.split(jax.random.key(0), 3), device)
  with checkpoint.Checkpointer(tmp_path) as saver:
    saver.save(1, [placed, jnp.ones(3), keys])
    _, restored = saver.restore([placed, jnp.ones(3), keys])
  assert [x.committed for x in restored] == [True, False, True]
  assert_identical(restored, [placed, jnp.ones(3), keys])


def test_tree_without_arrays(tmp_path):
  with checkpoint.Checkpointer(tmp_path) as saver:
    saver.save(1, {"epoch": 3, "none": None})
    assert saver.restore({"epoch": 0, "none": None}) == (
      1,
      {"epoch": 3, "none": None},
    )


def test_no_checkpoint_gives_none_and_makes_no_directory(tmp_path):
  assert restore(tmp_path / "absent") is None
  assert not (tmp_path / "absent").exists()


def test_keeps_the_newest(tmp_path):
  with checkpoint.Checkpointer(tmp_path, keep=2) as saver:
    for step in (1, 2, 3, 5, 8):
      saver.save(step, {"w": jnp.full(2, step)})
    saver.wait()
    assert saver.steps() == [5, 8]
  with pytest.raises(ValueError, match="keep: got 0, expected an integer"):
    checkpoint.Checkpointer(tmp_path, keep=0)


def test_saving_a_step_twice_is_an_error(two_steps):
  with checkpoint.Checkpointer(two_steps) as saver:
    with pytest.raises(errors.UserError, match="checkpoint 20 exists already"):
      saver.save(20, small(20))


def test_leaf_that_cannot_be_kept_is_named(tmp_path):
  with checkpoint.Checkpointer(tmp_path) as saver:
    with pytest.raises(
      ValueError, match="a/f: got <function.*expected an array"
    ):
      saver.save(1, {"a": {"f": lambda: 0}})
    with pytest.raises(ValueError, match="names: got dtype <U1"):
      saver.save(1, {"names": np.array(["a"])})


@pytest.mark.parametrize(
  ("template", "match"),
  [
    (
      {"w": jnp.zeros((3, 5)), "n": 1},
      r"'w' is float32\[3,4\] in it and should be float32\[3,5\]$",
    ),
    (
      {"w": jnp.zeros((3, 4), jnp.bfloat16), "n": 1},
      r"'w' is float32\[3,4\] in it and should be bfloat16\[3,4\]$",
    ),
    ({"w": jnp.zeros((3, 4)), "n": 1.0}, "'n' is a Python int in it and"),
    ({"n": 1}, r"it holds 'w' \(float32\[3,4\]\), which has no place$"),
    (
      {"w": jnp.zeros((3, 4)), "n": 1, "v": jnp.zeros(2)},
      r"it has no 'v', which should be float32\[2\]$",
    ),
    ({"x": jnp.zeros((3, 4)), "n": 1}, "and 1 more leaves differ$"),
  ],
)
def test_template_that_does_not_fit(tmp_path, template, match):
  with checkpoint.Checkpointer(tmp_path) as saver:
    saver.save(7, {"w": jnp.zeros((3, 4)), "n": 1})
    with pytest.raises(checkpoint.CheckpointError, match=match) as caught:
      saver.restore(template)
    assert "checkpoint 7 in" in str(caught.value)
    assert "\n" not in str(caught.value)
    # It is not damaged: nothing is set aside.
    assert saver.steps() == [7]


def test_a_folder_of_another_digit_is_no_step(tmp_path):
  with checkpoint.Checkpointer(tmp_path) as saver:
    saver.save(1, {"n": 1})
  # `"²".isdigit()` is True, and int("²") an error.
  (tmp_path / "²").mkdir()
  with checkpoint.Checkpointer(tmp_path) as saver:
    assert saver.steps() == [1]
    assert saver.restore({"n": 0})[0] == 1


def test_key_of_another_implementation_does_not_fit(tmp_path):
  with checkpoint.Checkpointer(tmp_path) as saver:
    saver.save(1, {"key": jax.random.key(0)})
    with pytest.raises(checkpoint.CheckpointError, match="key<rbg>"):
      saver.restore({"key": jax.random.key(0, impl="rbg")})


def test_one_flipped_bit_in_any_file_is_noticed(damaged, caplog):
  """Every file of the newest step, at its start, middle and end."""
  rng = np.random.default_rng(0)
  files = files_of(damaged, 20)
  assert len(files) >= 5
  with checkpoint.Checkpointer(damaged, read_only=True) as reader:
    for file in files:
      good = file.read_bytes()
      for position in {0, len(good) // 2, len(good) - 1}:
        bad = bytearray(good)
        bad[position] ^= 1 << int(rng.integers(8))
        file.write_bytes(bad)
        caplog.clear()
        step, tree = reader.restore(small(0))
        assert step == 10, (file, position)
        assert_identical(tree, small(10))
        assert len(caplog.records) == 1
        message = caplog.records[0].getMessage()
        assert "step 20: " in message
        assert file.name in message
      file.write_bytes(good)
    assert reader.restore(small(0))[0] == 20


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_truncated_files_are_noticed(damaged, share):
  with checkpoint.Checkpointer(damaged, read_only=True) as reader:
    for file in files_of(damaged, 20):
      good = file.read_bytes()
      file.write_bytes(good[: int(len(good) * share)])
      step, tree = reader.restore(small(0))
      assert step == 10, file
      assert_identical(tree, small(10))
      file.write_bytes(good)


def test_missing_files_are_noticed(damaged):
  with checkpoint.Checkpointer(damaged, read_only=True) as reader:
    for file in files_of(damaged, 20):
      good = file.read_bytes()
      file.unlink()
      assert reader.restore(small(0))[0] == 10, file
      file.write_bytes(good)


def test_leaf_checksums_notice_what_file_checksums_cannot(damaged, monkeypatch):
  """Values that were altered between memory and file, or while reading."""
  reader = checkpoint.Checkpointer(damaged, read_only=True)
  read = reader._arrays._orbax.restore

  def alter(path, **options):
    arrays = dict(read(path, **options))
    if path.parent.name == "20":
      name = next(name for name in arrays if name.endswith(".w"))
      array = np.array(arrays[name])
      array.reshape(-1).view(np.uint8)[77] ^= 16
      arrays[name] = array
    return arrays

  monkeypatch.setattr(reader._arrays._orbax, "restore", alter)
  with reader:
    step, tree = reader.restore(small(0))
  assert step == 10
  assert_identical(tree, small(10))


def test_after_falling_back_the_damaged_step_can_be_saved_again(
  damaged, caplog
):
  arrays = [p for p in files_of(damaged, 20) if "ocdbt.process_0/d" in str(p)]
  victim = max(arrays, key=lambda p: p.stat().st_size)
  victim.write_bytes(victim.read_bytes()[:-1])
  with checkpoint.Checkpointer(damaged, keep=2) as saver:
    step, _ = saver.restore(small(0))
    assert step == 10
    assert caplog.records[0].levelno == logging.WARNING
    message = caplog.records[0].getMessage()
    assert "step 20: " in message
    assert "bytes instead of" in message
    assert "going on from step 10" in message
    assert (damaged / "20.damaged").is_dir()
    for again in (20, 30):
      saver.save(again, small(again))
    assert saver.restore(small(0))[0] == 30
    assert saver.steps() == [20, 30]


def test_several_damaged_steps_are_told_at_once(damaged, caplog):
  with checkpoint.Checkpointer(damaged) as saver:
    saver.save(30, small(30))
  for step, text in ((20, "{}"), (30, "[" * 200_000)):
    (damaged / str(step) / "integrity.json").write_text(text)
  # Digits to Python, and no number of a step.
  (damaged / "\N{SUPERSCRIPT TWO}").mkdir()
  step, tree = restore(damaged)
  assert step == 10
  assert_identical(tree, small(10))
  assert len(caplog.records) == 1
  for told in ("step 20: integrity.json was altered", "step 30: "):
    assert told in caplog.text


def test_when_all_are_damaged_nothing_is_touched(damaged):
  before = sorted(p.name for p in damaged.iterdir())
  for step in (10, 20):
    (damaged / str(step) / "integrity.json").unlink()
  for _ in range(2):
    with pytest.raises(checkpoint.CheckpointError) as caught:
      restore(damaged)
    message = str(caught.value)
    assert "step 10: integrity.json is missing" in message
    assert "step 20: integrity.json is missing" in message
    assert "remove that directory to start again" in message
  assert sorted(p.name for p in damaged.iterdir()) == before


def test_a_named_step_has_no_substitute(damaged):
  (damaged / "20" / "integrity.json").unlink()
  with checkpoint.Checkpointer(damaged) as reader:
    with pytest.raises(checkpoint.CheckpointError, match="step 20: "):
      reader.restore(small(0), step=20)
    with pytest.raises(checkpoint.CheckpointError, match=r"are \[10, 20\]"):
      reader.restore(small(0), step=15)


def test_what_a_killed_save_left_is_ignored_and_removed(damaged):
  shutil.copytree(damaged / "20", damaged / "tmp-30")
  with checkpoint.Checkpointer(damaged) as saver:
    assert saver.restore(small(0))[0] == 20
    saver.save(30, small(30))
  assert not list(damaged.glob("tmp-*"))
  assert restore(damaged)[0] == 30


def test_a_failed_write_is_reported_in_a_sentence(tmp_path):
  (tmp_path / "file").write_text("")
  with checkpoint.Checkpointer(tmp_path / "file" / "checkpoints") as saver:
    with pytest.raises(checkpoint.CheckpointError, match="could not be writt"):
      saver.save(1, {"w": jnp.ones(1)})


def test_a_write_that_fails_in_the_background_is_reported(
  tmp_path, monkeypatch
):
  saver = checkpoint.Checkpointer(tmp_path)
  saver.save(1, {"w": jnp.ones(1)})
  saver.wait()

  def full(*unused):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(checkpoint.integrity, "write", full)
  saver.save(2, {"w": jnp.ones(1)})
  with pytest.raises(
    checkpoint.CheckpointError, match="checkpoint 2 .* No space left on device"
  ):
    saver.wait()
  monkeypatch.undo()
  assert saver.restore({"w": jnp.zeros(1)})[0] == 1
  # The half-written step can be saved again.
  saver.save(2, {"w": jnp.ones(1)})
  saver.close()
  assert saver.steps() == [1, 2]


def test_read_only_refuses_to_save(two_steps):
  with checkpoint.Checkpointer(two_steps, read_only=True) as reader:
    with pytest.raises(ValueError, match="read_only"):
      reader.save(30, small(30))


def test_a_damaged_step_that_cannot_be_set_aside_is_an_error(
  damaged, monkeypatch
):
  (damaged / "20" / "integrity.json").write_text("{}")

  def refuse(*unused):
    raise PermissionError(13, "Permission denied")

  monkeypatch.setattr(checkpoint.os, "rename", refuse)
  with pytest.raises(
    checkpoint.CheckpointError,
    match=r"checkpoint 20 .* is damaged .* and cannot be set aside .*denied",
  ):
    restore(damaged)
  # A reader falls back all the same.
  assert restore(damaged, read_only=True)[0] == 10


def test_a_file_in_the_place_of_a_damaged_step_gives_way(damaged):
  (damaged / "20" / "integrity.json").write_text("{}")
  (damaged / "20.damaged").write_text("")
  assert restore(damaged)[0] == 10
  assert (damaged / "20.damaged").is_dir()


def test_a_pipe_in_the_place_of_the_record_is_damage(damaged):
  record = damaged / "20" / "integrity.json"
  record.unlink()
  os.mkfifo(record)
  assert restore(damaged)[0] == 10


def test_leaves_that_came_later_are_zeros(tmp_path):
  """Rests of times, which older checkpoints lack."""
  old = {"carry": {"time": jnp.arange(3.0)}}
  new = {"carry": old["carry"] | {"time_rest": jnp.ones(3)}}
  with checkpoint.Checkpointer(tmp_path) as saved:
    saved.save(1, old)
    saved.wait()
    _, found = saved.restore(new)
    assert found["carry"]["time"].tolist() == [0, 1, 2]
    assert found["carry"]["time_rest"].tolist() == [0, 0, 0]
    with pytest.raises(checkpoint.CheckpointError, match="has no 'carry/more'"):
      saved.restore({"carry": old["carry"] | {"more": jnp.ones(3)}})
    saved.save(2, new)
    saved.wait()
    _, found = saved.restore(new)
  assert found["carry"]["time_rest"].tolist() == [1, 1, 1]
