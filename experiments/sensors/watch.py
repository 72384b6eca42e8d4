"""Shoulder exercises recorded by a smartwatch: the set inside seglearn.

Ten subjects do seven exercises with either arm: 140 recordings of acceleration
and angular velocity at 50 Hz. Training on one arm or subject and testing on
another is a domain adaptation problem.

Source: arXiv 1802.01489. Only the package's data file is read; the package is
not imported.
"""

from collections.abc import Sequence
import os
from typing import Any
from typing import Literal
from typing import Unpack

import numpy as np

from jaxseq import limits
from jaxseq import validate
from jaxseq.data import datasets
from jaxseq.data import domains
from jaxseq.data import packages
from jaxseq.data import pickles
from jaxseq.data import recordings
from jaxseq.data import value_checks

LEFT, RIGHT = 0, 1
_KEYS = ("X", "y", "subject", "side", "y_labels")
_CHANNELS = 6
_AXIS = ("recording",)


def read() -> tuple[recordings.Recordings, tuple[str, ...]]:
  """Reads the recordings.

  Returns:
    The recordings, with the entries label; subject, 1 .. 10, and side, 0 for
    the left arm and 1 for the right; and the names of the exercises.

  Raises:
    ValueError: if the file is invalid.
    MissingData: if seglearn is not installed.
  """
  path = packages.find(
    "watch_dataset.npy", "data/watch_dataset.npy", "seglearn"
  )
  content = _content(path)
  if set(_KEYS) - set(content):
    raise ValueError(
      f"{path} does not hold a dict with the keys {', '.join(_KEYS)}."
    )
  series = _series(content["X"], path)
  labels, subject, side = (
    _integers(content[key], len(series), path)
    for key in ("y", "subject", "side")
  )
  names = _listed(content["y_labels"])
  if names is None or not all(isinstance(name, str) for name in names):
    raise ValueError(f"{path}: y_labels are no list of names.")
  expected = f"0 to {len(names) - 1}, as y_labels are {len(names)} names"
  value_checks.check_range(f"{path}: y", labels, 0, len(names), _AXIS, expected)
  entries = {"label": labels, "subject": subject, "side": side}
  return recordings.Recordings.of(series, entries), tuple(map(str, names))


def _listed(value):
  """Converts an array to a list; None unless the value is a list or array."""
  if isinstance(value, np.ndarray) and value.ndim:
    return list(value)
  return value if isinstance(value, list) else None


def _series(value: object, path: str | os.PathLike) -> list[np.ndarray]:
  """Checks the recordings and converts them to (time, 6) float32."""
  arrays = _listed(value)
  if arrays is None:
    raise ValueError(f"{path}: X is no list of recordings.")
  for number, array in enumerate(arrays):
    name = f"{path}: X: recording {number}"
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf":
      raise ValueError(f"{name} is no array of numbers.")
    if array.ndim != 2 or array.shape[1] != _CHANNELS:
      expected = f"(time, {_CHANNELS})"
      raise validate.error(name, f"shape {array.shape}", expected)
  # A pickle can refer to one recording any number of times.
  size = sum(array.nbytes for array in arrays)
  limits.check_growth(path, size, os.path.getsize(path))
  return [
    value_checks.to_float32(f"{path}: X: recording {number}", array)
    for number, array in enumerate(arrays)
  ]


def _content(path: str | os.PathLike) -> dict[str, Any]:
  """Returns the dict in an .npy file that holds nothing else."""
  try:
    content = pickles.load_object(path)
    if not isinstance(content, dict):
      raise ValueError("it is no dict")
  except ValueError as error:
    raise ValueError(
      f"{path} is no .npy file of one dict of arrays: {error}."
    ) from error
  return content


def _integers(value: object, count: int, path: str | os.PathLike) -> np.ndarray:
  """Converts integers (count,) to int32; rejects other values."""
  try:
    array = np.asarray(value, np.float64)
  except (TypeError, ValueError):
    array = np.full(count, np.nan)
  whole = (np.rint(array) == array) & (np.abs(array) < 2**31)
  if array.shape != (count,) or not whole.all():
    raise ValueError(
      f"{path} does not hold one label, subject and side for each of its "
      f"{count} recordings."
    )
  return array.astype(np.int32)


def load(
  by: Literal["side", "subject"] = "side",
  source: int | Sequence[int] = LEFT,
  target: int | Sequence[int] = RIGHT,
  window: int = 100,
  step: int = 50,
  features: domains.Features = "raw",
  **adaptation: Unpack[domains.Options],
) -> datasets.Splits:
  """Loads the smartwatch recordings as a domain adaptation problem.

  Args:
    by: whether domains are arms or subjects.
    source: side (0 left, 1 right) or subject (1 .. 10) with labels; or several.
    target: side or subject without labels; or several.
    window: elements of a window in time, 50 per second.
    step: elements from the start of a window to the start of the next.
    features: see `domains.adapt`.
    **adaptation: see `domains.Options`.

  Returns:
    The splits, see `domains.adapt`: inputs (n, window, 6), acceleration and
    angular velocity, or (n, 1, 72); targets (n,), 7 exercises. extras: domain,
    subject, side, recording and start. Windows of 100 at every 50 are 4677 in
    all.

  Raises:
    ValueError: if an option is out of range.
    MissingData: if seglearn is not installed.
  """
  validate.choice("by", by, ("side", "subject"))
  whole, names = read()
  examples = domains.windows(whole, window, step)
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
