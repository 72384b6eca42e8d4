"""Files that are replaced by whole ones, even after a kill."""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import secrets
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
  """Opens another file to write, which replaces `path` once it is whole.

  No reader sees a part of it, and who has the earlier file open, or mapped into
  memory, keeps that.
  """
  path = pathlib.Path(path)
  # A name that nobody can foresee, and that must be new: no other writer's
  # file, and no link that somebody has put there.
  temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
  try:
    with open(temporary, "xb") as file:
      try:
        yield file
        file.flush()
        os.fsync(file.fileno())
        file.close()  # Windows renames no open files
        os.replace(temporary, path)
      except BaseException:
        file.close()
        temporary.unlink(missing_ok=True)
        raise
  except OSError as error:
    # A full disk is reported without a name, others with the temporary one.
    if error.filename in (None, str(temporary)):
      error.filename = str(path)
    raise


def remove_unfinished(directory: pathlib.Path) -> None:
  """Removes what `replacing` has left in a directory when it was killed."""
  for path in directory.glob(".*.tmp"):
    path.unlink(missing_ok=True)
