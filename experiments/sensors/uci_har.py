"""UCI HAR: activities of 30 subjects with a phone at the waist.

The folders train and test hold, for each of nine signals, a file with a window
of 128 values in each line, and files with the class and the subject of each
window. Windows overlap by half. As the two folders hold different subjects,
both are read, and the domains are subjects.

Source: Anguita et al., ESANN 2013,
https://archive.ics.uci.edu/dataset/240/human+activity+recognition+using+smartphones.
"""

from collections.abc import Sequence
import os
import pathlib
from typing import Unpack

import numpy as np

from jaxseq import limits
from jaxseq import validate
from jaxseq.data import datasets
from jaxseq.data import domains
from jaxseq.data.files import columns

CLASSES = tuple(
  "walking walking_upstairs walking_downstairs sitting standing laying".split()
)
SIGNALS = tuple(
  f"{kind}_{axis}"
  for kind in ("body_acc", "body_gyro", "total_acc")
  for axis in "xyz"
)
LENGTH = 128
_STEP = LENGTH // 2


def _rows(root, file, width, dtype):
  """Reads the numbers of a file in the set's folder, (lines, width)."""
  path = datasets.find_file(root / file, "unpack 'UCI HAR Dataset' there")
  limits.check_within(path, root)
  return columns.read(path, width, dtype)


def _part(folder, part):
  """Reads windows, classes and subjects of one of the two folders."""
  inputs = [
    _rows(
      folder,
      f"{part}/Inertial Signals/{name}_{part}.txt",
      LENGTH,
      np.float32,
    )
    for name in SIGNALS
  ]
  labels = _rows(folder, f"{part}/y_{part}.txt", 1, np.int32)[:, 0]
  subjects = _rows(folder, f"{part}/subject_{part}.txt", 1, np.int32)[:, 0]
  folder = folder / part
  counts = {len(array) for array in (*inputs, labels, subjects)}
  if len(counts) > 1:
    listed = ", ".join(map(str, sorted(counts)))
    raise ValueError(
      f"{folder}: got {listed}, expected as many lines in each file."
    )
  wrong = labels[(labels < 1) | (labels > len(CLASSES))]
  if len(wrong):
    raise validate.error(
      f"{folder / f'y_{part}.txt'}: classes", int(wrong[0]), "1 to 6"
    )
  return np.stack(inputs, axis=-1), labels - 1, subjects


def read(path: str | os.PathLike) -> datasets.ArrayDataset:
  """Reads the windows of all subjects.

  Args:
    path: the folder "UCI HAR Dataset".

  Returns:
    Inputs (n, 128, 9), the signals in the order of `SIGNALS`, acceleration in g
    and angular velocity in radians per second; targets (n,) in the order of
    `CLASSES`. extras, (n,) int32: subject, 1 .. 30; recording, the number of
    the run of windows of one subject and class; and start, the window's first
    element in it.

  Raises:
    ValueError: naming the file and the invalid line.
    MissingData: if a file is missing.
  """
  parts = [_part(pathlib.Path(path), part) for part in ("train", "test")]
  inputs, labels, subjects = map(np.concatenate, zip(*parts))
  first = domains.runs([labels, subjects])
  lengths = np.diff(np.append(first, len(labels)))
  recording = np.repeat(np.arange(len(first), dtype=np.int32), lengths)
  start = (np.arange(len(labels)) - first[recording]) * _STEP
  return datasets.ArrayDataset(
    inputs,
    labels,
    None,
    datasets.Extras(
      subject=subjects, recording=recording, start=start.astype(np.int32)
    ),
  )


def load(
  path: str | os.PathLike,
  source: int | Sequence[int] = 14,
  target: int | Sequence[int] = 19,
  **adaptation: Unpack[domains.Options],
) -> datasets.Splits:
  """Loads UCI HAR as a domain adaptation problem between subjects.

  Args:
    path: the folder "UCI HAR Dataset".
    source: subject, or subjects, with labels, 1 .. 30; see `sensors.pairs`.
    target: subject, or subjects, without labels.
    **adaptation: see `domains.Options`.

  Returns:
    The splits, see `domains.adapt` and `read`.

  Raises:
    ValueError: if a file is invalid or an option out of range.
    MissingData: if a file is missing.
  """
  examples = read(path)
  info = datasets.Info(
    description="Motion of a phone at the waist; which of 6 activities?",
    source=f"UCI HAR, {path}",
    license="see source",
    num_classes=len(CLASSES),
    classes=CLASSES,
    channels=SIGNALS,
    rate=50.0,
  )
  return domains.adapt(examples, "subject", source, target, info, **adaptation)
