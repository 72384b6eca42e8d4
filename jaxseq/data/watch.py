"""Shoulder exercises recorded by a smartwatch: the set inside seglearn.

Ten subjects do seven exercises with either arm: 140 recordings of acceleration
and angular velocity at 50 Hz. Learning on one arm or subject and being tested
on another is a problem of domain adaptation.

Source: arXiv 1802.01489. Only the package's data file is read; the package is
not imported.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from jaxseq.data import domains
from jaxseq.data import packages
from jaxseq.data import types

LEFT, RIGHT = 0, 1
_KEYS = ("X", "y", "subject", "side", "y_labels")


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
  # A pickle, trusted as much as the package that it comes with.
  content = np.load(path, allow_pickle=True)
  content = content.item() if content.ndim == 0 else None
  if not isinstance(content, dict) or set(_KEYS) - set(content):
    raise ValueError(
      f"{path} must hold a dict with the keys {', '.join(_KEYS)}."
    )
  series = content["X"]
  columns = [np.asarray(content[key]) for key in ("y", "subject", "side")]
  if any(len(column) != len(series) for column in columns):
    raise ValueError(
      f"{path} must hold one label, subject and side for each of its "
      f"{len(series)} recordings."
    )
  labels, subject, side = (column.astype(np.int32) for column in columns)
  names = tuple(map(str, content["y_labels"]))
  return domains.Recordings(
    [np.asarray(x, np.float32) for x in series],
    labels,
    {"subject": subject, "side": side},
  ), names


def load(
  by: Literal["side", "subject"] = "side",
  source: int | Sequence[int] = LEFT,
  target: int | Sequence[int] = RIGHT,
  window: int = 100,
  step: int = 50,
  valid_fraction: float = 0.2,
  held_out: float = 0.0,
  features: domains.Features = "raw",
  scaling: domains.Scaling = "source",
  unlabelled: bool = True,
) -> types.Splits:
  """Loads the smartwatch recordings as a problem of domain adaptation.

  Args:
    by: whether domains are arms or subjects.
    source: side (0 left, 1 right) or subject (1 .. 10) with labels; or several.
    target: the same of the domain without labels.
    window: elements of a window in time, 50 per second.
    step: elements from the start of a window to that of the next.
    valid_fraction: see `domains.adapt`.
    held_out: see `domains.adapt`.
    features: see `domains.adapt`.
    scaling: see `domains.make_splits`.
    unlabelled: see `domains.adapt`.

  Returns:
    The splits, see `domains.adapt`: inputs (n, window, 6), acceleration and
    angular velocity, or (n, 1, 72); targets (n,), 7 exercises. extras: domain,
    subject, side, recording and start. With windows of 100 at every 50 there
    are 4677 in all.

  Raises:
    ValueError: if an option is out of range.
    MissingData: if seglearn is not installed.
  """
  if by not in ("side", "subject"):
    raise ValueError(f"by must be 'side' or 'subject'; got {by!r}.")
  recordings, names = read()
  return domains.adapt(
    domains.windows(recordings, window, step),
    by,
    source,
    target,
    types.Info(
      description="Motion of a wrist; which of 7 shoulder exercises?",
      source="seglearn load_watch (arXiv 1802.01489)",
      licence="BSD-3-Clause (package)",
      num_classes=len(names),
      details={"classes": names, "rate": 50.0},
    ),
    valid_fraction=valid_fraction,
    held_out=held_out,
    features=features,
    scaling=scaling,
    unlabelled=unlabelled,
  )
