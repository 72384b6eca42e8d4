"""Two programs on one workdir: the second is told who holds it."""

import errno
import fcntl
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys

import pytest

from jaxseq.training import _lock
from jaxseq.training import errors
from jaxseq.training import run_directory

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_HOLDER = """
import pathlib, sys
from jaxseq.training import _lock
_lock.hold(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
  """Another program that holds the lock of `tmp_path` until it is killed."""
  process = subprocess.Popen(
    [sys.executable, "-c", _HOLDER, str(tmp_path)],
    env={**os.environ, "PYTHONPATH": str(_ROOT)},
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )
  with process:
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()


def prepare(path):
  return run_directory.prepare(path, {"x": 1}, experiment="toy")


def test_the_second_program_is_refused_until_the_first_is_killed(
  tmp_path, holder
):
  start = rf"workdir '{tmp_path}' is in use by another program \(process "
  with pytest.raises(errors.UserError, match=f"{start}{holder.pid} on "):
    prepare(tmp_path)
  # Nothing was written there.
  assert [path.name for path in tmp_path.iterdir()] == [_lock.FILE]
  holder.send_signal(signal.SIGKILL)
  holder.wait(30)
  prepare(tmp_path)
  # The same program may come back.
  prepare(tmp_path)
  refused = subprocess.run(
    [sys.executable, "-c", _HOLDER, str(tmp_path)],
    env={**os.environ, "PYTHONPATH": str(_ROOT)},
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert refused.returncode
  assert f"process {os.getpid()} on {socket.gethostname()}" in refused.stderr


def test_readers_need_no_lock(tmp_path, holder):
  other = prepare(tmp_path / "other")
  shutil.copy(other / run_directory.CONFIG_FILE, tmp_path)
  assert holder.poll() is None
  found = run_directory.open_existing(tmp_path, {"x": 1}, experiment="toy")
  assert found == tmp_path


def test_a_file_system_without_locks_is_told_of(tmp_path, monkeypatch, caplog):
  def flock(descriptor, how):
    raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

  monkeypatch.setattr(fcntl, "flock", flock)
  prepare(tmp_path)
  (record,) = caplog.records
  assert "cannot be locked" in record.getMessage()
  assert (tmp_path / "config.json").is_file()


def test_a_directory_that_was_removed_is_locked_again(tmp_path):
  path = tmp_path / "run"
  path.mkdir()
  _lock.hold(path)
  (path / _lock.FILE).unlink()
  _lock.hold(path)
  assert (path / _lock.FILE).read_text()


@pytest.mark.parametrize("change", ["removed", "taken", "moved"])
def test_a_lock_that_is_gone_is_noticed(tmp_path, change):
  path = tmp_path / "run"
  prepare(path)
  place = path / "arm" / "checkpoints"
  _lock.check(place)
  if change == "moved":
    path.rename(tmp_path / "elsewhere")
  else:
    (path / _lock.FILE).unlink()
  if change == "taken":
    (path / _lock.FILE).touch()
  with pytest.raises(errors.UserError, match=r"'.*run' or its file \.lock was"):
    _lock.check(place)
  _lock.check(tmp_path / "another")
