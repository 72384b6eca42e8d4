"""Windows of series with labeled anomalies, which ship inside packages.

A model is trained on windows without anomalies and has to detect the windows
with one in later data, or in another recording. Only the packages' data files
are read; the packages are not imported.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from jaxseq import limits
from jaxseq import validate
from jaxseq.data import datasets
from jaxseq.data import packages
from jaxseq.data.files import columns


class Series(NamedTuple):
  """A series with labels.

  Attributes:
    values: (time,) float64.
    anomalous: (time,) bool.
  """

  values: np.ndarray
  anomalous: np.ndarray


def parse_csv(text: str, source: str) -> Series:
  """Reads a table whose last two columns are a value and a label.

  Args:
    text: the table: a line of names, then a line for each time.
    source: its name in messages.

  Raises:
    ValueError: naming the first invalid line.
  """
  rows = []
  with columns.lines(source, text) as lines:
    next(lines, None)
    for line in lines:
      try:
        value, label = columns.numbers(line.split(",")[-2:])
      except ValueError as error:
        said = f"expected a value and a label; got {line.strip()!r}."
        raise ValueError(said) from error
      if label not in (0, 1):
        raise ValueError(f"labels are 0 and 1; got {label:g}.")
      rows.append((value, label))
  if not rows:
    raise ValueError(f"{source} has no lines of values.")
  values, labels = np.array(rows).T
  return Series(values, labels == 1)


def _windows(series: Series, length: int, step: int) -> datasets.ArrayDataset:
  """Cuts a series into windows, of class 1 if any element is anomalous."""
  validate.all_positive(length=length, step=step)
  if len(series.values) < length:
    most = f"at most {len(series.values)}, that of the shortest part"
    raise validate.error("length", length, f"{most} of the series")
  values, anomalous = (
    datasets.sliding_windows(array, length)[::step] for array in series
  )
  start = np.arange(len(values), dtype=np.int32) * step
  return datasets.ArrayDataset(
    values[..., None].astype(np.float32),
    anomalous.any(axis=1).astype(np.int32),
    extras=datasets.Extras(start=start),
  )


def _make_splits(
  train: Series,
  valid: Series,
  test: Series,
  length: int,
  step: int,
  info: datasets.Info,
) -> datasets.Splits:
  """Cuts the windows of three parts, standardized by the training series."""
  if train.anomalous.any() or not test.anomalous.any():
    raise ValueError(
      f"anomalies: got {test.anomalous.sum()} and {train.anomalous.sum()} "
      "elements, expected in the test series and not in the training series."
    )
  mean, deviation = float(train.values.mean()), float(train.values.std())

  def cut(series):
    scaled = (series.values - mean) / (deviation or 1.0)
    return _windows(Series(scaled, series.anomalous), length, step)

  info = dataclasses.replace(
    info, num_classes=2, mean=mean, deviation=deviation
  )
  return datasets.Splits(cut(train), cut(valid), cut(test), info)


def ecg_diff_count(length: int = 64, step: int = 4) -> datasets.Splits:
  """Loads a synthetic ECG with abnormal numbers of beats in some stretches.

  Args:
    length: elements of a window in time; a beat has twenty.
    step: distance of the starts of consecutive windows.

  Returns:
    The splits: inputs (n, length, 1), standardized over the training series;
    targets (n,), 1 if a window contains anomalous elements; extras.start, (n,),
    the first element. Of 10000 elements each, 300 in three stretches are
    anomalous in the validation and in the test series.

  Raises:
    ValueError: if a number is out of range.
    MissingData: if aeon is not installed.
  """
  parts = [
    _read("aeon", f"UnitTest/ecg-diff-count-3_{part}.csv")
    for part in ("TRAIN_NA", "TRAIN_A", "TEST")
  ]
  info = datasets.Info(
    "A synthetic ECG; does a window hold an anomaly?",
    "aeon load_ecg_diff_count_3",
    "BSD-3-Clause (package)",
  )
  return _make_splits(*parts, length, step, info)


def mitdb(length: int = 128, step: int = 4) -> datasets.Splits:
  """Loads a real ECG with one anomalous stretch near its end.

  Args:
    length: elements of a window in time.
    step: distance of the starts of consecutive windows.

  Returns:
    The splits, as of `ecg_diff_count`: the first 60 % of the 7500 elements are
    the training series and the next 15 % the validation series, both without
    an anomaly; the rest, with 352 anomalous elements, is the test series.

  Raises:
    ValueError: if a number is out of range.
    MissingData: if sktime is not installed.
  """
  whole = _read("sktime", "mitdb/mitdb.csv")
  count = len(whole.values)
  ends = (int(0.6 * count), int(0.75 * count))
  cut = (np.split(array, ends) for array in whole)
  info = datasets.Info(
    "An ECG; does a window hold an anomaly?",
    "sktime mitdb.csv (MIT-BIH arrhythmia database)",
    "BSD-3-Clause (package), ODC-BY (database)",
  )
  return _make_splits(*map(Series, *cut), length, step, info)


def _read(package: str, file: str) -> Series:
  path = packages.find(file, f"datasets/data/{file}", package)
  return parse_csv(
    limits.read_bytes(path).decode("utf-8", "replace"), str(path)
  )
