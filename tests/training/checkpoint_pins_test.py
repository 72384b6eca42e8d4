"""Checkpoints of runs: pinned steps, and directories that are moved or full."""

import jax.numpy as jnp
import pytest

from jaxseq.training import _lock
from jaxseq.training import checkpoint
from tests.training.checkpoint_test import small


def test_a_pinned_step_stays(tmp_path):
  with checkpoint.Checkpointer(tmp_path, keep=2) as saver:
    for step in range(1, 7):
      saver.save(step, small(step))
      if step in (2, 4):
        # The first one that is pinned counts.
        saver.pin(step)
    saver.wait()
    assert saver.steps() == [2, 5, 6]


def test_a_run_goes_back_to_its_pinned_step(tmp_path):
  with checkpoint.Checkpointer(tmp_path, keep=2) as saver:
    assert saver.pinned() is None
    for step in (1, 2, 3):
      saver.save(step, small(step))
    saver.wait()
    saver.pin(2)
    saver.go_back(saver.pinned())
    assert saver.steps() == [2]
    # The steps after it are free again.
    saver.save(3, small(3))


def test_a_directory_that_was_moved_meanwhile_is_not_made_anew(tmp_path):
  workdir = tmp_path / "run"
  workdir.mkdir()
  _lock.hold(workdir)
  with checkpoint.Checkpointer(workdir / "arm" / "checkpoints") as saver:
    workdir.rename(tmp_path / "moved")
    saver.save(1, small(1))
    with pytest.raises(checkpoint.CheckpointError, match="moved or removed"):
      saver.wait()
  assert not workdir.exists()


def test_a_close_that_fails_hides_no_other_error(tmp_path, monkeypatch):
  saver = checkpoint.Checkpointer(tmp_path)

  def full(*unused):
    raise OSError(28, "No space left on device")

  def save():
    with saver:
      saver.save(1, {"w": jnp.ones(1)})
      saver.wait()

  monkeypatch.setattr(saver._arrays._orbax, "close", full)
  monkeypatch.setattr(checkpoint.integrity, "write", full)
  with pytest.raises(checkpoint.CheckpointError, match="checkpoint 1 could"):
    save()
