"""WISDM AR v1.1: activities of 36 users with a phone in the pocket, at 20 Hz.

WISDM_ar_v1.1_raw.txt holds a record "user,activity,time,x,y,z;" in each line,
the time in nanoseconds. Irregularities of the published file are read as
follows: two records in a line, a comma before the semicolon, and empty lines
are accepted; records with missing fields, or with time 0, are dropped.

Source: Kwapisz et al., SensorKDD 2010,
https://www.cis.fordham.edu/wisdm/dataset.php.
"""

from collections.abc import Sequence
import os
from typing import Unpack

import numpy as np

from jaxseq import validate
from jaxseq.data import datasets
from jaxseq.data import domains
from jaxseq.data import recordings
from jaxseq.data.files import columns

CLASSES = tuple("Walking Jogging Sitting Standing Upstairs Downstairs".split())
RATE = 20.0
_FIELDS = 6
# Records of a subject in CoDATS' numbering: a fifth of its windows of 128, the
# test windows there, must be more than 30.
_MIN_RECORDS = 19200


def _records(path):
  """The complete records of the file, and the number of the others."""
  records, left_out = [], 0
  with columns.lines(path) as lines:
    for record in (record for line in lines for record in line.split(";")):
      fields = [field.strip() for field in record.split(",")]
      if fields[-1] == "" and len(fields) == _FIELDS + 1:
        fields.pop()
      if fields == [""]:
        continue
      if len(fields) != _FIELDS or "" in fields:
        left_out += 1
        continue
      user, activity, *numbers = fields
      label = CLASSES.index(validate.choice("the activity", activity, CLASSES))
      number = validate.integer("the user", int(user), 0, 2**31 - 1)
      time, *values = columns.numbers(numbers)
      if time == 0:
        left_out += 1
      else:
        records.append((number, label, time, *values))
  return records, left_out


def read(
  path: str | os.PathLike, max_gap: float = 1.0
) -> tuple[recordings.Recordings, int]:
  """Reads the recordings.

  Args:
    path: the file WISDM_ar_v1.1_raw.txt.
    max_gap: longest time in seconds between two records of a recording.

  Returns:
    The recordings, each of one user and activity, with the entries label and
    user, the number in the file; and the number of dropped records.

  Raises:
    ValueError: naming the invalid line, or if there is no complete record.
    MissingData: if the file is missing.
  """
  path = datasets.find_file(path, "unpack WISDM_ar_v1.1 there")
  records, left_out = _records(path)
  if not records:
    raise ValueError(
      f"{path} has no record of the form user,activity,time,x,y,z; with all of "
      "its fields."
    )
  users, labels, times, *axes = (np.array(column) for column in zip(*records))
  first = domains.runs([users, labels], times, 1e9 * max_gap)
  values = np.stack(axes, axis=-1).astype(np.float32)
  return recordings.Recordings.of(
    np.split(values, first[1:]),
    {
      "label": labels[first].astype(np.int32),
      "user": users[first].astype(np.int32),
    },
  ), left_out


def renumbered(
  whole: recordings.Recordings, min_records: int = _MIN_RECORDS
) -> recordings.Recordings:
  """Drops users with few records and numbers the others from 0.

  This is the numbering of CoDATS, which `sensors.pairs` follows.

  Args:
    whole: the recordings, as `read` returns them.
    min_records: users with at most so many records are dropped.

  Returns:
    The recordings of the other users, with the entry subject, the index
    among them in the order of their numbers, besides user.

  Raises:
    ValueError: if no user has more records.
  """
  user = whole.entries["user"]
  lengths = np.array([len(series) for series in whole.values])
  numbers, place = np.unique(user, return_inverse=True)
  totals = np.bincount(place, weights=lengths)
  enough = totals > min_records
  if not enough.any():
    raise ValueError(
      f"min_records: got {min_records}, expected less than "
      f"{int(totals.max())}, the most of a user."
    )
  subject = (np.cumsum(enough) - 1)[place].astype(np.int32)
  rows = np.flatnonzero(enough[place])
  entries = {**whole.entries, "subject": subject}
  return recordings.Recordings.of(
    [whole.values[row] for row in rows],
    {name: array[rows] for name, array in entries.items()},
  )


def load(
  path: str | os.PathLike,
  source: int | Sequence[int] = 3,
  target: int | Sequence[int] = 11,
  window: int = 128,
  step: int = 128,
  max_gap: float = 1.0,
  min_records: int = _MIN_RECORDS,
  **adaptation: Unpack[domains.Options],
) -> datasets.Splits:
  """Loads WISDM AR as a domain adaptation problem between subjects.

  Args:
    path: the file WISDM_ar_v1.1_raw.txt.
    source: subject, or subjects, with labels, in the numbering of `renumbered`;
      see `sensors.pairs`.
    target: subject, or subjects, without labels.
    window: elements of a window in time, 20 per second.
    step: elements from the start of a window to the start of the next.
    max_gap: see `read`.
    min_records: see `renumbered`.
    **adaptation: see `domains.Options`.

  Returns:
    The splits, see `domains.adapt`: inputs (n, window, 3); targets (n,) in the
    order of `CLASSES`. extras: domain, subject, user (the number in the file),
    recording and start. info.left_out is the number of dropped records.

  Raises:
    ValueError: if the file is invalid or an option out of range.
    MissingData: if the file is missing.
  """
  whole, left_out = read(path, max_gap)
  examples = domains.windows(renumbered(whole, min_records), window, step)
  info = datasets.Info(
    description="Motion of a phone in the pocket; which of 6 activities?",
    source=f"WISDM AR v1.1, {path}",
    license="see source",
    num_classes=len(CLASSES),
    classes=CLASSES,
    rate=RATE,
    left_out=left_out,
  )
  return domains.adapt(examples, "subject", source, target, info, **adaptation)
