"""Checkpoints of runs: pinned steps, and directories that are moved or full."""

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
