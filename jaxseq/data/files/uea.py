"""The .ts format of the UCR and UEA archives.

After comments (#) and a header (@key value), one line is one case: channels
separated by colons, values by commas, `?` for a missing value, and the label
after the last colon. Time stamps, if there are any, come as (time, value).

Format: https://www.aeon-toolkit.org, "ts file format"; archive: arXiv
1811.00075.
"""

from collections.abc import Sequence
import os
import re
from typing import NamedTuple

import numpy as np

from jaxseq import limits
from jaxseq import validate
from jaxseq.data import datasets
from jaxseq.data.files import columns

_SIGN = re.compile("[:()]")
_BETWEEN = re.compile(r"\)\s*,\s*\(")


class TsFile(NamedTuple):
  """The cases of one file.

  Attributes:
    name: problem name in the header.
    series: arrays (length, channels) float32, NaN where a value is missing;
      channels shorter than the longest one end in NaN.
    labels: a class name or a number for each case; None if unlabeled.
    classes: class names in the order of the header; None for numbers.
    times: arrays (length,) float64 of time stamps, which all channels of a case
      share; None if there are none.
  """

  name: str
  series: list[np.ndarray]
  labels: list[str] | list[float] | None
  classes: tuple[str, ...] | None
  times: list[np.ndarray] | None


def _flag(header, *keys):
  for key in keys:
    words = header.get(key, "").split()
    if words:
      return words[0].lower() == "true"
  return False


def _channels(line, stamped):
  """Splits a line at colons outside brackets; times of day have colons, too."""
  if not stamped:
    return line.split(":")
  channels, start, opened = [], 0, 0
  for match in _SIGN.finditer(line):
    sign = match[0]
    if sign == ":" and opened <= 0:
      channels.append(line[start : match.start()])
      start = match.end()
    elif sign != ":":
      opened += 1 if sign == "(" else -1
  return [*channels, line[start:]]


def _pairs(text):
  """Splits one channel into (time, value) pairs of words."""
  text = text.strip()
  if not (text.startswith("(") and text.endswith(")")):
    raise ValueError(f"got {text[:40]!r}, expected (time, value), ...")
  pairs = [pair.split(",") for pair in _BETWEEN.split(text[1:-1])]
  if any(len(pair) != 2 for pair in pairs):
    raise ValueError(f"got {text[:40]!r}, expected (time, value), ...")
  return pairs


def _values(text, stamped):
  """Returns the values of one channel and its time stamps."""
  pairs = _pairs(columns.plain(text)) if stamped else []
  words = (
    [value for _, value in pairs] if stamped else columns.plain(text).split(",")
  )
  # Infinities are rejected; NaN is a missing value.
  values = [np.nan if word.strip() == "?" else float(word) for word in words]
  columns.numbers(value for value in values if value == value)
  return values, columns.numbers((time for time, _ in pairs), "time stamps")


def _stamps(channels):
  """Returns the time stamps of a case; shorter channels have a prefix."""
  longest = max(channels, key=len)
  if any(stamps != longest[: len(stamps)] for stamps in channels):
    raise ValueError("got channels at different times, expected the same ones.")
  return np.array(longest)


def read_ts(path: str | os.PathLike) -> TsFile:
  """Reads a .ts file.

  Args:
    path: the file.

  Returns:
    Its cases.

  Raises:
    ValueError: naming the line that violates the format.
    MissingData: if there is no such file.
  """
  hint = "put the .ts file of the archive, timeseriesclassification.com, there"
  path = datasets.find_file(path, hint)
  header = {}
  series, labels, times = [], [], []
  with columns.lines(path) as lines:
    for line in map(str.strip, lines):
      if line.startswith(("#", "%")):
        continue
      if "data" not in header:
        if not line.startswith("@"):
          raise ValueError(
            f"got {line[:40]!r}, expected @data at the end of the header."
          )
        key, _, value = line[1:].partition(" ")
        header[key.lower()] = value.strip()
        continue
      stamped = _flag(header, "timestamps")
      channels = _channels(line, stamped)
      if _flag(header, "classlabel", "targetlabel"):
        labels.append(channels.pop().strip())
      read = [_values(channel, stamped) for channel in channels]
      longest = max((len(values) for values, _ in read), default=0)
      if not longest:
        raise ValueError("the case has no values.")
      count = sum(len(values) for values, _ in read)
      limits.check_growth("the case", 4 * longest * len(read), 4 * count)
      case = np.full((longest, len(read)), np.nan, np.float32)
      for channel, (values, _) in enumerate(read):
        case[: len(values), channel] = values
      if series and case.shape[1] != series[0].shape[1]:
        raise ValueError(
          f"the case has {case.shape[1]} channels where those before it have "
          f"{series[0].shape[1]}."
        )
      series.append(case)
      if stamped:
        times.append(_stamps([stamps for _, stamps in read]))
  if "data" not in header:
    raise ValueError(f"{path} has no line @data: it is not a .ts file.")
  classes = None
  if _flag(header, "classlabel"):
    classes = tuple(header["classlabel"].split()[1:])
    if len({name.lower() for name in classes}) < len(classes):
      raise ValueError(f"{path}: classLabel: got a class twice.")
  elif labels:
    labels = columns.numbers(labels, f"{path}: targets")
  return TsFile(
    header.get("problemname", path.stem),
    series,
    labels or None,
    classes,
    times or None,
  )


def class_numbers(
  labels: Sequence[str], classes: Sequence[str], path: str | os.PathLike
) -> np.ndarray:
  """Returns the index of each label among the class names.

  Args:
    labels: class names; case is ignored.
    classes: the class names in order.
    path: file to name in messages.

  Returns:
    Indices (n,) int32.

  Raises:
    ValueError: naming a label that is not among the classes.
  """
  numbers = {name.lower(): number for number, name in enumerate(classes)}
  for label in labels:
    if label.lower() not in numbers:
      listed = ", ".join(classes)
      raise validate.error(f"{path}: labels", label, f"among {listed}")
  return np.array([numbers[label.lower()] for label in labels], np.int32)
