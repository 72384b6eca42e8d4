"""The record that tells whether a checkpoint is whole.

Array files do not notice a flipped bit: it would be read back as a wrong
number. So each checkpoint has an `integrity.json` with a digest of every leaf,
taken from the copy in memory before it is written, and of every file. The
record is written canonically, with a digest of its own, so that damage to the
record itself shows too.
"""

from collections.abc import Iterable
from collections.abc import Sequence
import hashlib
import json
import pathlib
from typing import Any
from typing import NamedTuple

import numpy as np

from jaxseq import _json
from jaxseq import limits
from jaxseq.training import _leaves
from jaxseq.training import files

FILE = "integrity.json"
_FORMAT = 1


class DamagedError(Exception):
  """A checkpoint differs from the one written; the message says where."""


class Record(NamedTuple):
  """The record of a checkpoint.

  Attributes:
    step: its step.
    leaves: descriptions of the leaves, in the order of the tree.
    digests: SHA-256 of each leaf; None for Python values, which are in the
      record itself, and for arrays that live on several processes.
    files: path below the checkpoint -> [size in bytes, SHA-256].
  """

  step: int
  leaves: list[_leaves.Leaf]
  digests: list[str | None]
  files: dict[str, list]


def leaf_digest(value: np.ndarray) -> str:
  """Returns the SHA-256 of an array's dtype, shape and bytes."""
  return blocks_digest(value.dtype, value.shape, [value])


def blocks_digest(
  dtype: np.dtype, shape: tuple[int, ...], blocks: Iterable[np.ndarray]
) -> str:
  """Returns the `leaf_digest` of an array that is not there as a whole.

  Args:
    dtype: of the array.
    shape: of the array.
    blocks: its elements, in order.
  """
  digest = hashlib.sha256(f"{dtype.name}{shape}".encode())
  for block in blocks:
    # bfloat16 and its like have no buffer interface of their own.
    digest.update(np.ascontiguousarray(block).reshape(-1).view(np.uint8))
  return digest.hexdigest()


def file_digests(root: pathlib.Path) -> dict[str, list]:
  """Returns size and SHA-256 of every file below `root`, by relative path."""
  out = {}
  for path in sorted(root.rglob("*")):
    if path.is_file() and path != root / FILE:
      with open(path, "rb", opener=limits.regular) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
      out[path.relative_to(root).as_posix()] = [path.stat().st_size, digest]
  return out


def write(root: pathlib.Path, record: Record) -> None:
  """Writes the record of the checkpoint in `root`."""
  files.write_text(root / FILE, _encode(record))


def read(root: pathlib.Path) -> Record:
  """Reads the record of the checkpoint in `root`.

  Raises:
    DamagedError: the record is missing or was altered.
  """
  if not (root / FILE).exists():
    raise DamagedError(f"{FILE} is missing")
  if not (root / FILE).is_file():
    # Such as a pipe, which one would wait for.
    raise DamagedError(f"{FILE} is no file")
  raw = limits.read_bytes(root / FILE)
  try:
    text = raw.decode("utf-8")
    stored = _json.loads(text, long=True)
    record = Record(
      stored["step"],
      [
        _leaves.Leaf(path, kind, dtype, tuple(shape), detail)
        for path, kind, dtype, shape, detail in stored["leaves"]
      ],
      stored["digests"],
      stored["files"],
    )
    whole = text == _encode(record)
  except (ValueError, KeyError, TypeError):
    whole = False
  if not whole:
    raise DamagedError(f"{FILE} was altered")
  return record


def check_files(root: pathlib.Path, record: Record) -> None:
  """Raises a DamagedError unless every file is as it was written."""
  for name, (size, digest) in record.files.items():
    path = root / name
    try:
      size_on_disk = path.stat().st_size
      if not path.is_file():
        raise DamagedError(f"{name} is no file")
      if size_on_disk != size:
        raise DamagedError(f"{name} has {size_on_disk} bytes instead of {size}")
      with open(path, "rb", opener=limits.regular) as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
          raise DamagedError(f"{name} was altered: its SHA-256 differs")
    except FileNotFoundError:
      raise DamagedError(f"{name} is missing") from None


def check_leaves(record: Record, values: Sequence[Any]) -> None:
  """Raises a DamagedError unless every leaf is as it was in memory."""
  for leaf, digest, value in zip(record.leaves, record.digests, values):
    if digest is not None and leaf_digest(value) != digest:
      raise DamagedError(f"leaf {leaf.path!r} differs from the saved one")


def _encode(record: Record) -> str:
  content = {"format": _FORMAT, **record._asdict()}
  body = json.dumps(content, sort_keys=True, allow_nan=False)
  digest = hashlib.sha256(body.encode()).hexdigest()
  return json.dumps(
    {**content, "sha256": digest}, sort_keys=True, indent=1, allow_nan=False
  )
