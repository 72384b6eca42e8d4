"""Generated sets on disk, for those that take long to generate.

Nothing is written unless a caller asks for it. The folder is $JAXSEQ_CACHE, or
~/.cache/jaxseq.
"""

from collections.abc import Callable
import hashlib
import json
import os
import pathlib
import tempfile
from typing import Any
import zipfile
import zlib

import numpy as np

Arrays = dict[str, np.ndarray]
# What `read` raises of a file that is absent, damaged or none of `write`.
UNREADABLE = (
  *(OSError, ValueError, TypeError, AttributeError, EOFError),
  *(zipfile.BadZipFile, zlib.error),
)


def folder() -> pathlib.Path:
  """Returns the folder of cached sets; it need not exist."""
  default = pathlib.Path.home() / ".cache" / "jaxseq"
  return pathlib.Path(os.environ.get("JAXSEQ_CACHE") or default)


def arrays(
  name: str,
  options: dict[str, Any],
  make: Callable[[], Arrays],
  *,
  enabled: bool = True,
) -> Arrays:
  """Returns arrays from the cache, or makes and keeps them.

  Args:
    name: name of the set; the first part of the file's name.
    options: everything that the arrays depend on, the version of the generator
      included, as JSON values.
    make: function that makes the arrays.
    enabled: whether to read and write the cache; False calls `make` alone.

  Returns:
    The arrays by name.
  """
  if not enabled:
    return make()
  described = json.dumps(options, sort_keys=True)
  digest = hashlib.sha256(described.encode()).hexdigest()[:16]
  path = folder() / f"{name}-{digest}.npz"
  try:
    return read(path)
  except UNREADABLE:
    pass
  found = make()
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, found)
  except OSError as error:
    raise ValueError(
      f"the cache folder {path.parent} cannot be written to "
      f"({error.strerror}); set JAXSEQ_CACHE to one that can."
    ) from error
  return found


def read(path: str | os.PathLike) -> Arrays:
  """Returns the arrays in an archive by name; raises one of `UNREADABLE`."""
  # Opened here, because numpy leaves a file open that is no archive. The
  # archive keeps a checksum of every array, verified as it is read.
  with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
    return {key: stored[key] for key in stored.files}


def write(path: str | os.PathLike, values: Arrays) -> None:
  """Writes an archive of arrays, whole or not at all.

  Args:
    path: the file, in a folder that exists.
    values: the arrays by name.

  Raises:
    OSError: if the file cannot be written.
  """
  # Beside the target, and renamed, so that no reader sees a part.
  handle, temporary = tempfile.mkstemp(
    suffix=".tmp", dir=pathlib.Path(path).parent
  )
  try:
    with os.fdopen(handle, "wb") as file:
      np.savez_compressed(file, **values)
    os.replace(temporary, path)
  except BaseException:
    pathlib.Path(temporary).unlink(missing_ok=True)
    raise
