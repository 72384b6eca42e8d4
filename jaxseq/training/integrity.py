"""The files of a checkpoint, and the record that tells whether they are whole.

    0.bin             arrays as process 0 has written them, one after another
    integrity.json    the leaves, and a digest of each piece in these files

A flipped bit would be read back as a wrong number. So each piece of an array
has a digest, taken from the copy in memory before it is written. The record is
written canonically, with a digest of its own, so that damage to the record
itself shows too.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import hashlib
import json
import math
import os
import pathlib
import time
from typing import Any
from typing import BinaryIO
from typing import NamedTuple

import numpy as np

from jaxseq import _json
from jaxseq.training import _leaves
from jaxseq.training import files

FILE = "integrity.json"
FORMAT = 2
# Seconds after which another process's file does not come any more.
_PATIENCE = 600


class DamagedError(Exception):
  """A checkpoint differs from the one written; the message says where."""


class Record(NamedTuple):
  """The record of a checkpoint.

  Attributes:
    step: its step.
    leaves: descriptions of the leaves, in the order of the tree.
    pieces: of each process's file, of each leaf, the start, shape and SHA-256
      of each piece that lies there.
  """

  step: int
  leaves: list[_leaves.Leaf]
  pieces: list[list[list[tuple[Sequence[int], Sequence[int], str]]]]


def leaf_digest(value: np.ndarray) -> str:
  """Returns the SHA-256 of an array's dtype, shape and bytes."""
  digest = hashlib.sha256(f"{value.dtype.name}{value.shape}".encode())
  digest.update(_bytes(value))
  return digest.hexdigest()


def write_arrays(
  root: pathlib.Path, process: int, values: Sequence[Sequence[_leaves.Piece]]
) -> list[list[tuple]]:
  """Writes a process's pieces of all leaves; returns what a record has of them.

  Processes other than 0 leave that in a file for process 0.
  """
  described = []
  with open(_file(root, process), "xb") as file:
    for pieces in values:
      described.append(
        [(start, x.shape, leaf_digest(x)) for start, x in pieces]
      )
      for _, array in pieces:
        file.write(_bytes(array))
    file.flush()
    os.fsync(file.fileno())
  if process:
    files.write_json(root / f"{process}.json", described)
  return described


def take_described(root: pathlib.Path, process: int) -> list[list[tuple]]:
  """Waits for what `write_arrays` leaves in a file, and removes that."""
  path, start = root / f"{process}.json", time.monotonic()
  while not path.exists():
    if time.monotonic() > start + _PATIENCE:
      raise TimeoutError(f"process {process} has not written its part")
    time.sleep(0.02)
  described = _json.loads(path.read_text(encoding="utf-8"), long=True)
  path.unlink()
  return described


def read_arrays(
  root: pathlib.Path, record: Record
) -> Iterator[tuple[_leaves.Leaf, np.ndarray | None]]:
  """Yields the leaves with their numbers, whole; None for Python values.

  Raises:
    DamagedError: a file is not as it was written.
  """
  with contextlib.ExitStack() as stack:
    opened = [
      stack.enter_context(_open(root, record, process))
      for process in range(len(record.pieces))
    ]
    for leaf, *of_files in zip(record.leaves, *record.pieces):
      form = _leaves.stored(leaf)
      out = None if form is None else np.empty(form.shape, form.dtype)
      left = 0 if out is None else out.size
      for file, pieces in zip(opened, of_files):
        for start, shape, digest in pieces:
          piece = np.empty(shape, out.dtype)
          file.readinto(_bytes(piece))
          if leaf_digest(piece) != digest:
            name = os.path.basename(file.name)
            raise DamagedError(f"{name}: {leaf.path!r} is not what was saved")
          place = (slice(a, a + n) for a, n in zip(start, shape))
          out[tuple(place)] = piece
          left -= piece.size
      if left:
        raise DamagedError(f"{leaf.path!r} has {left} numbers in no file")
      yield leaf, out


def write(root: pathlib.Path, record: Record) -> None:
  """Writes the record of the checkpoint in `root`."""
  files.write_text(root / FILE, _encode(record))


def read(root: pathlib.Path) -> Record:
  """Reads the record of the checkpoint in `root`.

  Raises:
    DamagedError: the record is missing, was altered, or is of another version.
  """
  text = _regular(root / FILE).read_bytes()
  try:
    text = text.decode("utf-8")
    stored = _json.loads(text, long=True)
    number = stored["format"]
    record = Record(
      stored["step"],
      [
        _leaves.Leaf(path, kind, dtype, tuple(shape), detail)
        for path, kind, dtype, shape, detail in stored["leaves"]
      ],
      stored.get("pieces"),
    )
    whole = number != FORMAT or text == _encode(record)
  except (ValueError, KeyError, TypeError, AttributeError):
    whole = False
  if not whole:
    raise DamagedError(f"{FILE} was altered")
  if number != FORMAT:
    raise DamagedError(f"{FILE} has format {number!r}, of another version")
  return record


def _file(root: pathlib.Path, process: int) -> pathlib.Path:
  return root / f"{process}.bin"


def _open(root: pathlib.Path, record: Record, process: int) -> BinaryIO:
  """Opens the file of a process, which has to have its size."""
  path = _regular(_file(root, process))
  size = sum(
    math.prod(shape) * _leaves.stored(leaf).dtype.itemsize
    for leaf, pieces in zip(record.leaves, record.pieces[process])
    for _, shape, _ in pieces
  )
  size_on_disk = path.stat().st_size
  if size_on_disk != size:
    raise DamagedError(
      f"{path.name} has {size_on_disk} bytes instead of {size}"
    )
  return open(path, "rb")


def _regular(path: pathlib.Path) -> pathlib.Path:
  """Returns the path of a file, and of nothing that one would wait for."""
  if not path.exists():
    raise DamagedError(f"{path.name} is missing")
  if not path.is_file():
    raise DamagedError(f"{path.name} is no file")
  return path


def _bytes(array: np.ndarray) -> np.ndarray:
  """Returns an array's memory; bfloat16 and its like have no buffers."""
  return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _encode(record: Record) -> str:
  content: dict[str, Any] = {"format": FORMAT, **record._asdict()}
  body = json.dumps(content, sort_keys=True, allow_nan=False)
  digest = hashlib.sha256(body.encode()).hexdigest()
  return json.dumps(
    {**content, "sha256": digest}, sort_keys=True, indent=1, allow_nan=False
  )
