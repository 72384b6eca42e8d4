"""HHAR: activities of nine users with several phones or watches at once.

A csv file holds the readings of one sensor: Index, Arrival_Time (ms),
Creation_Time (ns), x, y, z, User, Model, Device, gt. The ground truth gt is
"null" between activities. Each device has its own rate, from 50 to 200 readings
per second; nothing is resampled.

Source: Stisen et al., SenSys 2015,
https://archive.ics.uci.edu/dataset/344/heterogeneity+activity+recognition.
"""

import array
from collections.abc import Sequence
import os
from typing import Unpack

import numpy as np

from jaxseq import validate
from jaxseq.data import datasets
from jaxseq.data import domains
from jaxseq.data import recordings
from jaxseq.data.files import columns

CLASSES = ("bike", "sit", "stand", "walk", "stairsup", "stairsdown")
USERS = ("a", "b", "c", "d", "e", "f", "g", "h", "i")
_HEADER = "Index,Arrival_Time,Creation_Time,x,y,z,User,Model,Device,gt"
# More than there were, and few enough for a byte.
_DEVICES = 127
# Class names in the file; the first is used between activities.
_LABELS = ("null", *CLASSES)


def _rows(path):
  """Reads the columns: values, times, users, devices, classes, names."""
  # Arrays of machine numbers: the phones' file has 13 million lines.
  values, times = array.array("f"), array.array("d")
  users, devices, labels = (array.array("b") for _ in range(3))
  names = []
  with columns.lines(path) as lines:
    header = next(lines, "").strip()
    if header != _HEADER:
      raise ValueError(
        f"the columns {_HEADER} are expected; got {header[:80]!r}."
      )
    for line in lines:
      words = line.strip().split(",")
      if len(words) != 10:
        raise ValueError(f"10 fields are expected; got {len(words)}.")
      _, arrival, _, x, y, z, user, _, device, label = words
      if device not in names:
        names.append(device)
        if len(names) > _DEVICES:
          raise ValueError(f"more than {_DEVICES} devices.")
      times.extend(columns.numbers([arrival], "Arrival_Time"))
      values.extend(columns.numbers((x, y, z), "x, y and z"))
      users.append(USERS.index(validate.choice("User", user, USERS)))
      devices.append(names.index(device))
      labels.append(_LABELS.index(validate.choice("gt", label, _LABELS)) - 1)
  arrays = [np.array(column) for column in (times, users, devices, labels)]
  return np.array(values).reshape(-1, 3), *arrays, names


def read(
  path: str | os.PathLike, max_gap: float = 1.0
) -> tuple[recordings.Recordings, tuple[str, ...]]:
  """Loads the readings of a sensor.

  Args:
    path: the csv file, such as "Phones_accelerometer.csv".
    max_gap: longest time in seconds between two readings of a recording.

  Returns:
    The recordings, each of one user, device and activity, with the entries
    label, user, the index in `USERS`, and device; and the devices' names,
    sorted.

  Raises:
    ValueError: naming the invalid line.
    MissingData: if the file is missing.
  """
  datasets.find_file(path, "unpack HHAR's 'Activity recognition exp' there")
  values, times, users, devices, labels, names = _rows(path)
  order = np.argsort(names)
  names = tuple(names[i] for i in order)
  devices = np.argsort(order)[devices]
  # Devices may alternate in the file; readings of each keep their order.
  rows = np.lexsort((devices, users))
  values, times, users, devices, labels = (
    column[rows] for column in (values, times, users, devices, labels)
  )
  first = domains.runs([users, devices, labels], times, 1000 * max_gap)
  active = labels[first] >= 0
  series = np.split(values, first[1:])
  first = first[active]
  columns_of = {"label": labels, "user": users, "device": devices}
  return recordings.Recordings.of(
    [cut for cut, is_active in zip(series, active) if is_active],
    {name: array[first].astype(np.int32) for name, array in columns_of.items()},
  ), names


def load(
  path: str | os.PathLike,
  by: str = "user",
  source: int | Sequence[int] = 1,
  target: int | Sequence[int] = 3,
  window: int = 128,
  step: int = 128,
  max_gap: float = 1.0,
  **adaptation: Unpack[domains.Options],
) -> datasets.Splits:
  """Loads HHAR as a domain adaptation problem between users or devices.

  Args:
    path: the csv file, such as "Phones_accelerometer.csv", whose 13 million
      lines take a minute.
    by: "user" or "device".
    source: user or device, or several, with labels: 0 .. 8 for users a .. i,
      see `sensors.pairs`; indices in info.devices for devices.
    target: user or device without labels, or several.
    window: number of readings of a window.
    step: readings from the start of a window to the start of the next.
    max_gap: see `read`.
    **adaptation: see `domains.Options`.

  Returns:
    The splits, see `domains.adapt`: inputs (n, window, 3); targets (n,) in the
    order of `CLASSES`. extras: domain, user, device, recording and start.

  Raises:
    ValueError: if the file is invalid or an option out of range.
    MissingData: if the file is missing.
  """
  validate.choice("by", by, ("user", "device"))
  whole, names = read(path, max_gap)
  examples = domains.windows(whole, window, step)
  info = datasets.Info(
    description="Motion of a phone or watch; which of 6 activities?",
    source=f"HHAR, {path}",
    license="see source",
    num_classes=len(CLASSES),
    classes=CLASSES,
    devices=names,
  )
  return domains.adapt(examples, by, source, target, info, **adaptation)
