"""What Windows lacks: `fcntl`, files that are renamed while open, and more."""

import os
import pathlib
import signal
import subprocess
import sys
import types

import pytest

from jaxseq.training import checkpoint
from jaxseq.training import files
from jaxseq.training import signals

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_PROGRAM = """
import os
import pathlib
import subprocess  # it takes msvcrt for a sign of Windows
import sys
import types

sys.modules["fcntl"] = None
del os.pread, os.pwrite
taken = set()

def locking(descriptor, mode, count):
  assert mode == 2 and count == 1
  place = os.fstat(descriptor).st_ino, os.lseek(descriptor, 0, os.SEEK_CUR)
  # A lock on the beginning would hide what the file says.
  assert place[1] > 1000
  if place in taken:
    raise PermissionError(13, "Permission denied")
  taken.add(place)

sys.modules["msvcrt"] = types.SimpleNamespace(locking=locking, LK_NBLCK=2)
import jaxseq.estimators
from jaxseq.training import _lock, errors
import jaxseq.training.checkpoint

directory = pathlib.Path(sys.argv[1])
_lock.hold(directory)
_lock.hold(directory)
assert len(taken) == 1
# As another program, which does not know what this one holds.
_lock._held.clear()
try:
  _lock.hold(directory)
except errors.UserError as error:
  print(os.getpid(), error)
"""


def test_it_imports_and_locks_without_fcntl(tmp_path):
  done = subprocess.run(
    [sys.executable, "-c", _PROGRAM, str(tmp_path)],
    env={**os.environ, "PYTHONPATH": str(_ROOT)},
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert done.returncode == 0, done.stderr
  process, message = done.stdout.split(" ", 1)
  assert f"in use by another program (process {process} on " in message


def test_no_directory_is_opened(tmp_path, monkeypatch):
  # The module alone: pathlib looks at the name, too.
  monkeypatch.setattr(checkpoint, "os", types.SimpleNamespace(name="nt"))
  checkpoint._sync_directory(tmp_path)


def test_a_file_is_closed_before_it_is_renamed(tmp_path, monkeypatch):
  replace = os.replace

  def on_windows(source, target):
    for descriptor in pathlib.Path("/proc/self/fd").iterdir():
      if os.path.realpath(descriptor) == str(source):
        raise PermissionError(13, "in use")
    replace(source, target)

  if not os.path.isdir("/proc/self/fd"):
    pytest.skip("needs /proc")
  monkeypatch.setattr(os, "replace", on_windows)
  files.write_text(tmp_path / "a", "text")
  assert (tmp_path / "a").read_text() == "text"


def test_a_stop_is_passed_on_without_an_end_of_the_process(monkeypatch):
  stop = signals.GracefulStop()
  stop._alone, stop._first = False, False
  monkeypatch.setattr(signals, "os", types.SimpleNamespace(name="nt"))
  seen = []
  before = signal.signal(signal.SIGTERM, lambda *args: seen.append(args[0]))
  try:
    stop._handle(signal.SIGINT, None)
  finally:
    signal.signal(signal.SIGTERM, before)
  assert seen == [signal.SIGTERM]
