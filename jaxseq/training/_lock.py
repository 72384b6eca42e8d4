"""One program at a time writes to the directory of a run.

The lock is one of the operating system (`flock`, on Windows `locking`) on a
file in the directory, held until the process ends: however it ends, nothing
stale is left. The file stays, and tells who took the lock last.
"""

import errno
import json
import os
import pathlib
import socket

from absl import logging

from jaxseq import _json
from jaxseq.training import errors

try:
  import fcntl
except ImportError:  # on Windows
  fcntl = None

FILE = ".lock"

# What file systems answer that have no locks.
_WITHOUT = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
# Where Windows locks a byte: nobody can read one that is locked, and the file's
# beginning tells who holds it.
_LOCKED_BYTE = 2**30
# Descriptors of the locks that this process holds, by device and inode.
_held: dict[tuple[int, int], int] = {}
# Their device and inode, by the directory that is locked.
_files: dict[pathlib.Path, tuple[int, int]] = {}


def hold(directory: pathlib.Path) -> None:
  """Locks a run's directory until this process ends; again changes nothing.

  A UserError tells that another program has locked it, on the same host or on
  one whose file system passes locks on, as NFS does; without locks, a warning.
  """
  path = directory / FILE
  descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
  status = os.fstat(descriptor)
  file = status.st_dev, status.st_ino
  if file in _held:
    os.close(descriptor)
    _files[directory.absolute()] = file
    return
  try:
    _lock(descriptor)
  except BlockingIOError as error:
    holder = _holder(descriptor)
    os.close(descriptor)
    raise errors.UserError(
      f"workdir {str(directory)!r} is in use by another program ({holder}): "
      "wait until it ends or stop it, or choose another workdir"
    ) from error
  except OSError as error:
    os.close(descriptor)
    if error.errno not in _WITHOUT:
      raise
    logging.warning(
      "%s cannot be locked (%s): see to it that no other program writes there",
      directory,
      errors.one_sentence(error),
    )
    return
  _held[file] = descriptor
  _files[directory.absolute()] = file
  owner = {"pid": os.getpid(), "host": socket.gethostname()}
  os.ftruncate(descriptor, 0)
  os.lseek(descriptor, 0, os.SEEK_SET)
  os.write(descriptor, json.dumps(owner).encode())


def check(place: pathlib.Path) -> None:
  """Raises a UserError unless the locks on the way to a place are still ours.

  A file that was removed keeps its lock, but the next program makes another:
  then two would write to one directory, each over what the other wrote.
  """
  place = place.absolute()
  for directory in (place, *place.parents):
    file = _files.get(directory)
    if file is None:
      continue
    try:
      status = (directory / FILE).stat()
    except OSError:
      status = None
    if status is None or (status.st_dev, status.st_ino) != file:
      raise errors.UserError(
        f"workdir {str(directory)!r} or its file {FILE} was moved or removed "
        "while this program wrote there, and another program may have taken "
        "it; nothing more is written"
      )


def _lock(descriptor: int) -> None:
  """Locks a file at once; raises BlockingIOError where another program has."""
  if fcntl is not None:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return
  import msvcrt

  os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
  try:
    msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
  except PermissionError as error:
    raise BlockingIOError(*error.args) from error


def _holder(descriptor: int) -> str:
  """Tells who holds the lock, as far as the file tells."""
  try:
    os.lseek(descriptor, 0, os.SEEK_SET)
    owner = _json.loads(os.read(descriptor, 1000))
    return f"process {owner['pid']} on {owner['host']}"
  except (OSError, ValueError, KeyError, TypeError):
    return "which has not written its process number yet"
