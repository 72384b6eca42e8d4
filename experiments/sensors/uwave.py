"""uWave: acceleration of eight gestures by eight users, on seven days.

The archive holds "U1 (2).rar" for user 1 on day 2, and so on. Unpacked to
folders of that name, there is a file *Acceleration3-4.txt for the fourth
repetition of gesture 3, with a line "x y z" in g for each element in time. One
file's name lacks the second number.

Source: Liu et al., PerCom 2009. The UEA archive has the same gestures, mixed
over users.
"""

from collections.abc import Sequence
import os
import pathlib
import re
from typing import Unpack

import numpy as np

from jaxseq import limits
from jaxseq.data import datasets
from jaxseq.data import domains
from jaxseq.data import padding
from jaxseq.data import recordings
from jaxseq.data.files import columns

GESTURES = 8
_FOLDER = re.compile(r"U([0-9]{1,9})\s*\(([0-9]{1,9})\)")
_FILE = re.compile(r"Acceleration([0-9]{1,9})-([0-9]{0,9})\.txt")


def read(path: str | os.PathLike) -> recordings.Recordings:
  """Reads all gestures.

  Args:
    path: the folder that holds the folders "U1 (1)" to "U8 (7)".

  Returns:
    The gestures, with the entries label, 0 .. 7; user, 1 .. 8; day, 1 ..
    7; and repetition, from 1, or 0 if the file's name lacks it.

  Raises:
    ValueError: naming the invalid file, and line.
    MissingData: if there are no such folders.
  """
  root = pathlib.Path(path)
  folders = [
    (int(match[1]), int(match[2]), entry)
    for entry in root.glob("*")
    if entry.is_dir() and (match := _FOLDER.fullmatch(entry.name))
  ]
  series, rest = [], []
  for user, day, folder in sorted(folders):
    for file in sorted(folder.rglob("*Acceleration*.txt")):
      match = _FILE.search(file.name)
      if not match or not 1 <= int(match[1]) <= GESTURES:
        raise ValueError(
          f"{file}: got this name, expected one that ends in Acceleration, a "
          f"gesture from 1 to {GESTURES}, a hyphen and a repetition."
        )
      limits.check_within(file, root)
      series.append(columns.read(file, 3, np.float32))
      if not len(series[-1]):
        raise ValueError(f"{file} has no lines of numbers.")
      rest.append((int(match[1]) - 1, user, day, int(match[2] or 0)))
  if not series:
    raise datasets.MissingData(
      f"{root} has no folders such as 'U1 (1)' with files of gestures: unpack "
      "the uWave gesture library and each of its rar files there."
    )
  names = ("label", "user", "day", "repetition")
  entries = np.array(rest, np.int32).T
  return recordings.Recordings.of(series, dict(zip(names, entries)))


def load(
  path: str | os.PathLike,
  source: int | Sequence[int] = 4,
  target: int | Sequence[int] = 5,
  seed: int = 0,
  **adaptation: Unpack[domains.Options],
) -> datasets.Splits:
  """Loads uWave as a domain adaptation problem between users.

  Args:
    path: the folder that holds the folders "U1 (1)" to "U8 (7)".
    source: user, or users, with labels, 1 .. 8; see `sensors.pairs`.
    target: user, or users, without labels.
    seed: seed of the choice of held-out examples, a share of each gesture.
    **adaptation: see `domains.Options`.

  Returns:
    The splits, see `domains.adapt`: inputs (n, time, 3), padded with 0 at the
    end to the longest gesture of all users; targets (n,). extras: domain, user,
    day and repetition.

  Raises:
    ValueError: if a file is invalid or an option out of range.
    MissingData: if there are no such folders.
  """
  gestures = read(path)
  inputs, lengths = padding.pad_sequences(gestures.values)
  entries = dict(gestures.entries)
  labels = entries.pop("label")
  extras = datasets.Extras.of(entries)
  whole = datasets.ArrayDataset(inputs, labels, lengths, extras)
  info = datasets.Info(
    description="Acceleration of a hand; which of 8 gestures?",
    source=f"uWave gesture library, {path}",
    license="see source",
    num_classes=GESTURES,
  )
  options = {"holding": "stratified", "seed": seed, **adaptation}
  return domains.adapt(whole, "user", source, target, info, **options)
