"""Disk cache of generated sets whose generation takes long.

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

from absl import logging
import numpy as np

from jaxseq import _files
from jaxseq import limits
from jaxseq.data import _npy

Arrays = dict[str, np.ndarray]
# An upper bound of the arrays' headers, in bytes.
_HEADERS = 2**16
# Errors of `read` for a file that is absent, damaged or not from `write`.
UNREADABLE = (OSError, ValueError)


def folder() -> pathlib.Path:
  """Returns the folder of cached sets; it need not exist."""
  variable = os.environ.get("JAXSEQ_CACHE")
  if variable:
    return pathlib.Path(variable)
  try:
    return pathlib.Path.home() / ".cache" / "jaxseq"
  except RuntimeError as error:
    raise ValueError(
      "there is no home directory for the cache of generated sets: set "
      "JAXSEQ_CACHE to a folder, or the option cached to False."
    ) from error


def arrays(
  name: str,
  options: dict[str, Any],
  make: Callable[[], Arrays],
  *,
  enabled: bool = True,
) -> Arrays:
  """Returns arrays from the cache, or generates and caches them."""
  if not enabled:
    return make()
  described = json.dumps(options, sort_keys=True)
  digest = hashlib.sha256(described.encode()).hexdigest()[:16]
  path = folder() / f"{name}-{digest}.npz"
  try:
    return read(path)
  except UNREADABLE:
    pass
  # Check the folder before a generation that can take an hour.
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path.parent):
      pass
  except OSError as error:
    raise ValueError(
      f"the cache folder {path.parent} cannot be written to "
      f"({error.strerror}); set JAXSEQ_CACHE to one that can."
    ) from error
  result = make()
  try:
    write(path, result)
  except OSError as error:
    logging.warning(
      "%s could not be written (%s): the data set is generated again next time",
      path,
      error.strerror,
    )
  return result


def read(path: str | os.PathLike) -> Arrays:
  """Returns the arrays in an archive by name; raises one of `UNREADABLE`."""
  return _npy.read_archive(path)


def write(path: str | os.PathLike, values: Arrays) -> None:
  """Writes an archive of arrays, whole or not at all."""
  with _files.replacing(path) as file:
    np.savez_compressed(file, **values)
    size = sum(np.asarray(array).nbytes for array in values.values())
    if size > max(limits.FREE, limits.RATIO * file.tell()) - _HEADERS:
      # Readers reject so large a growth; write it uncompressed.
      file.seek(0)
      file.truncate()
      np.savez(file, **values)
