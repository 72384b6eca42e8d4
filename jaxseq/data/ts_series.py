"""Your own series in a .ts file of sktime or aeon, or in two.

    splits = data.load("ts", path="walks.ts")

The archives' own sets, in two files each, are `files.uea`; so is the format.
"""

import os
import pathlib
from typing import Unpack

import numpy as np

from jaxseq import _validate
from jaxseq.data import _series_splits
from jaxseq.data import _series_targets
from jaxseq.data import datasets
from jaxseq.data import npz_series
from jaxseq.data import table_layouts
from jaxseq.data.files import uea
from jaxseq.data.sources import series as series_sources


def load(
  path: str | os.PathLike,
  *,
  test_path: str | os.PathLike | None = None,
  gaps: series_sources.Gaps = "channel",
  **options: Unpack[series_sources.Options],
) -> datasets.Splits:
  """Loads series of a .ts file.

  Args:
    path: the file.
    test_path: file of the test part, in place of a share.
    gaps: where the time since the element before goes, if the file has time
      stamps and they are not always the same apart; see `series_table.load`.
    **options: see `sources.series.Options`; a missing value is a `?`.

  Returns:
    The splits, see `series_table.load`.

  Raises:
    ValueError: naming the line that is not as the format says.
    MissingData: if a file is not there.
  """
  whole, targets = _read([path] if test_path is None else [path, test_path])
  return _series_splits.make(
    whole,
    targets,
    source=str(path),
    gaps=gaps,
    reader="ts",
    target=targets.kind,
    **options,
  )


def read_again(
  path: str | os.PathLike, source: series_sources.SeriesSource
) -> tuple[table_layouts.Recordings, _series_targets.Targets]:
  """Reads the cases of a file, with or without labels, for predictions.

  Raises:
    ValueError: if the file is not as the format says, or has other channels.
    MissingData: if it is not there.
  """
  whole, targets = _read([path], source)
  width = len(source.mean or source.channels or whole.channels)
  if len(whole.channels) != width:
    got = len(whole.channels)
    raise _validate.error(f"{path}: channels", got, f"{width}")
  return whole, targets


def _read(paths, source=None):
  """The cases of files that belong together, and their labels."""
  paths = [pathlib.Path(path) for path in paths]
  files = [uea.read_ts(path) for path in paths]
  for path, file in zip(paths, files):
    if not file.series:
      raise ValueError(f"{path}: got no case, expected at least one.")
    form, first = _form(file), _form(files[0])
    if form != first:
      raise ValueError(
        f"{path}: got {form}, expected {first} as in {paths[0]}."
      )
  counts = [len(file.series) for file in files]
  values = [x.astype(np.float64) for file in files for x in file.series]
  stamps = None
  if files[0].times is not None:
    stamps = [t for file in files for t in file.times or ()]
  ids = tuple(str(i) for count in counts for i in range(count))
  whole = table_layouts.Recordings.of_values(
    values,
    tuple(f"channel {i}" for i in range(values[0].shape[1])),
    npz_series.Places(paths[0], "case"),
    ids=ids,
    stamps=stamps,
    part=np.repeat(np.arange(len(files)), counts),
  )
  return whole, _targets(paths, files, source)


def _form(file):
  """The traits that files of one data set have in common, in words."""
  channels = file.series[0].shape[1]
  stamps = "no time stamps" if file.times is None else "time stamps"
  classes = "none" if file.classes is None else ", ".join(file.classes)
  return f"{channels} channels, {stamps}, classes: {classes}"


def _targets(paths, files, source=None):
  """Classes or numbers of the cases of all files."""
  count = sum(len(file.series) for file in files)
  if all(file.labels is None for file in files):
    return _series_targets.none(count)
  for path, file in zip(paths, files):
    if file.labels is None:
      raise _validate.error(
        f"{path}: labels", None, "some, as other files have"
      )
  if source is not None and source.targets is None:
    classes = source.classes or ()
  else:
    classes = files[0].classes
  if classes is None:
    numbers = np.array([x for file in files for x in file.labels], np.float64)
    return _series_targets.Targets("number", numbers[:, None], None, ("value",))
  numbers = [
    uea.class_numbers(file.labels, classes, path)
    for path, file in zip(paths, files)
  ]
  return _series_targets.Targets(
    "class", np.concatenate(numbers), classes, ("label",)
  )
