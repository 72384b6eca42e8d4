"""Shoulder exercises recorded by a smartwatch: the set inside seglearn.

Ten subjects do seven exercises with either arm: 140 recordings of acceleration
and angular velocity at 50 Hz. Learning on one arm or subject and being tested
on another is a problem of domain adaptation.

Source: arXiv 1802.01489. Only the package's data file is read; the package is
not imported.
"""

from collections.abc import Sequence
import os
import pickle
from typing import Any
from typing import Literal
from typing import Unpack

import numpy as np

from jaxseq import _validate
from jaxseq.data import datasets
from jaxseq.data import domains
from jaxseq.data import packages

LEFT, RIGHT = 0, 1
_KEYS = ("X", "y", "subject", "side", "y_labels")
# What arrays of numpy 1 and 2 are made of.
_PARTS = {
  ("numpy", "dtype"),
  ("numpy", "ndarray"),
  ("numpy.core.multiarray", "_reconstruct"),
  ("numpy._core.multiarray", "_reconstruct"),
  ("_codecs", "encode"),
}


def read() -> tuple[domains.Recordings, tuple[str, ...]]:
  """Reads the recordings.

  Returns:
    The recordings, with the attributes subject, 1 .. 10, and side, 0 for the
    left arm and 1 for the right; and the names of the exercises.

  Raises:
    ValueError: if the file is not as it should be.
    MissingData: if seglearn is not installed.
  """
  path = packages.find(
    "watch_dataset.npy", "data/watch_dataset.npy", "seglearn"
  )
  content = _content(path)
  if not isinstance(content, dict) or set(_KEYS) - set(content):
    raise ValueError(
      f"{path} does not hold a dict with the keys {', '.join(_KEYS)}."
    )
  series = content["X"]
  columns = [np.asarray(content[key]) for key in ("y", "subject", "side")]
  if any(len(column) != len(series) for column in columns):
    raise ValueError(
      f"{path} does not hold one label, subject and side for each of its "
      f"{len(series)} recordings."
    )
  labels, subject, side = (column.astype(np.int32) for column in columns)
  names = tuple(map(str, content["y_labels"]))
  return domains.Recordings(
    [np.asarray(x, np.float32) for x in series],
    labels,
    {"subject": subject, "side": side},
  ), names


class _Unpickler(pickle.Unpickler):
  """Reads arrays, containers and numbers: nothing that could run code."""

  def find_class(self, module: str, name: str) -> Any:
    if (module, name) not in _PARTS:
      raise pickle.UnpicklingError(f"it names {module}.{name}")
    # The place of numpy 1, where numpy 2 warns.
    module = module.replace("numpy.core", "numpy._core")
    return super().find_class(module, name)


def _content(path: str | os.PathLike) -> Any:
  """Returns the object in an .npy file of a single one."""
  with open(path, "rb") as file:
    try:
      np.lib.format.read_magic(file)
      shape, _, dtype = np.lib.format.read_array_header_1_0(file)
      if shape != () or not dtype.hasobject:
        raise ValueError(f"it is an array {shape} of {dtype}")
      array = _Unpickler(file).load()
      if not isinstance(array, np.ndarray):
        raise ValueError(f"it is a {type(array).__name__}")
      # The object lies in an array without axes.
      return array.item()
    except (ValueError, EOFError, pickle.UnpicklingError) as error:
      raise ValueError(
        f"{path} is no .npy file of one dict of arrays: {error}."
      ) from error


def load(
  by: Literal["side", "subject"] = "side",
  source: int | Sequence[int] = LEFT,
  target: int | Sequence[int] = RIGHT,
  window: int = 100,
  step: int = 50,
  features: domains.Features = "raw",
  **adaptation: Unpack[domains.Options],
) -> datasets.Splits:
  """Loads the smartwatch recordings as a problem of domain adaptation.

  Args:
    by: whether domains are arms or subjects.
    source: side (0 left, 1 right) or subject (1 .. 10) with labels; or several.
    target: the same of the domain without labels.
    window: elements of a window in time, 50 per second.
    step: elements from the start of a window to that of the next.
    features: see `domains.adapt`.
    **adaptation: see `domains.Options`.

  Returns:
    The splits, see `domains.adapt`: inputs (n, window, 6), acceleration and
    angular velocity, or (n, 1, 72); targets (n,), 7 exercises. extras: domain,
    subject, side, recording and start. With windows of 100 at every 50 there
    are 4677 in all.

  Raises:
    ValueError: if an option is out of range.
    MissingData: if seglearn is not installed.
  """
  _validate.choice("by", by, ("side", "subject"))
  recordings, names = read()
  examples = domains.windows(recordings, window, step)
  info = datasets.Info(
    description="Motion of a wrist; which of 7 shoulder exercises?",
    source="seglearn load_watch (arXiv 1802.01489)",
    license="BSD-3-Clause (package)",
    num_classes=len(names),
    classes=names,
    rate=50.0,
  )
  return domains.adapt(
    examples, by, source, target, info, features=features, **adaptation
  )
