"""Series in .ts files of sktime or aeon: other files, or sets of the archives.

    splits = data.load("ts", path="walks.ts")
    splits = data.load("uea", train_path=..., test_path=...)
    splits = data.load("gunpoint")

Some sets of the UCR and UEA archives ship inside aeon and sktime; only their
data files are read. `files.uea` reads the format.
"""

import functools
import os
import pathlib
from typing import Unpack

import numpy as np

from jaxseq import validate
from jaxseq.data import _series_splits
from jaxseq.data import _series_targets
from jaxseq.data import datasets
from jaxseq.data import missing as missing_values
from jaxseq.data import npz_series
from jaxseq.data import packages
from jaxseq.data import recordings
from jaxseq.data.files import uea
from jaxseq.data.sources import series as series_sources

_SKTIME_ONLY = ("PLAID", "Tecator")


def load(
  path: str | os.PathLike,
  *,
  test_path: str | os.PathLike | None = None,
  gaps: series_sources.Gaps = "channel",
  **options: Unpack[series_sources.Options],
) -> datasets.Splits:
  """Loads series from a .ts file.

  Args:
    path: the file.
    test_path: file of the test part, in place of a share.
    gaps: use of the time since the element before, if the file has time stamps
      at varying distances; see `series_table.load`.
    **options: see `sources.series.Options`; a missing value is a `?`.

  Returns:
    The splits, see `series_table.load`.

  Raises:
    ValueError: naming the line that violates the format.
    MissingData: if a file is missing.
  """
  whole, targets, _ = _read([path] if test_path is None else [path, test_path])
  return _series_splits.make(
    whole,
    targets,
    source=str(path),
    gaps=gaps,
    reader="ts",
    target=targets.kind,
    **options,
  )


def archive(
  train_path: str | os.PathLike,
  test_path: str | os.PathLike,
  seed: int = 0,
  normalize: bool = True,
  valid_fraction: float = 0.0,
  missing: missing_values.Missing = "refuse",
  license: str = "free for research (UCR/UEA archive)",
) -> datasets.Splits:
  """Loads a problem of the archive from its two files.

  Args:
    train_path: file of the training cases.
    test_path: file of the test cases.
    seed: seed of the choice of validation cases.
    normalize: whether each channel is standardized to mean 0 and standard
      deviation 1 over all training values.
    valid_fraction: share of each class of the training cases for validation;
      classification only.
    missing: handling of missing values, see `data.missing`; channels that
      are shorter than the longest one of a case lack values, too.
    license: license of the data.

  Returns:
    The splits: inputs (n, time, channels) with one time axis for all parts,
    padded with 0 at the end; targets (n,) classes or (n, 1) numbers. info has
    class names, and the mean and standard deviation of each channel before
    normalization.

  Raises:
    ValueError: if a file violates the format, the files differ in channels, or
      values are missing and `missing` is "refuse".
    MissingData: if a file is missing.
  """
  whole, targets, name = _read([train_path, test_path], labeled=True)
  splits = _series_splits.make(
    whole,
    targets,
    source=str(train_path),
    description=f"{name}: which class, or what value, has a series?",
    license=license,
    gaps="ignore",
    valid_fraction=0.0,
    normalize=normalize,
    scale_targets=False,
    missing=missing,
    reader="ts",
    target=targets.kind,
  )
  return datasets.carve_valid(splits, valid_fraction, seed)


def packaged(
  problem: str,
  seed: int = 0,
  normalize: bool = True,
  valid_fraction: float = 0.0,
  missing: missing_values.Missing = "refuse",
) -> datasets.Splits:
  """Loads a set of the archives that ships inside aeon or sktime.

  Args:
    problem: name in the archives, and of its folder and files, such as
      "GunPoint".
    seed: see `archive`, as for the next three.
    normalize: whether each channel is standardized.
    valid_fraction: share of each class for validation.
    missing: handling of missing values.

  Returns:
    The splits, see `archive`.

  Raises:
    ValueError: if a name or number is out of range.
    MissingData: if no package with the set is installed.
  """
  where = ("sktime",) if problem in _SKTIME_ONLY else ("aeon", "sktime")
  file = f"datasets/data/{problem}/{problem}_TRAIN.ts"
  train = packages.find(problem, file, *where)
  test = train.with_name(f"{problem}_TEST.ts")
  return archive(train, test, seed, normalize, valid_fraction, missing)


# Loaders for the registry.
acsf1 = functools.partial(packaged, "ACSF1")
arrow_head = functools.partial(packaged, "ArrowHead")
basic_motions = functools.partial(packaged, "BasicMotions")
cardano_sentiment = functools.partial(packaged, "CardanoSentiment")
covid_3month = functools.partial(packaged, "Covid3Month")
gunpoint = functools.partial(packaged, "GunPoint")
italy_power_demand = functools.partial(packaged, "ItalyPowerDemand")
japanese_vowels = functools.partial(packaged, "JapaneseVowels")
osuleaf = functools.partial(packaged, "OSULeaf")
pickup_gesture = functools.partial(packaged, "PickupGestureWiimoteZ")
plaid = functools.partial(packaged, "PLAID")
tecator = functools.partial(packaged, "Tecator")
unit_test = functools.partial(packaged, "UnitTest")


def read_again(
  path: str | os.PathLike, source: series_sources.SeriesSource
) -> tuple[recordings.Recordings, _series_targets.Targets]:
  """Reads the cases of a file, with or without labels, for predictions.

  Raises:
    ValueError: if the file violates the format, or has other channels.
    MissingData: if the file is missing.
  """
  whole, targets, _ = _read([path], source)
  width = len(source.mean or source.channels or whole.channels)
  if len(whole.channels) != width:
    got = len(whole.channels)
    raise validate.error(f"{path}: channels", got, f"{width}")
  return whole, targets


def _read(paths, source=None, labeled=False):
  """Reads the cases of the files of one set, their targets, and its name."""
  paths = [pathlib.Path(path) for path in paths]
  files = [uea.read_ts(path) for path in paths]
  for path, file in zip(paths, files):
    if not file.series or (labeled and file.labels is None):
      kind = "labeled ones" if labeled else "at least one"
      raise ValueError(f"{path}: got no case, expected {kind}.")
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
  whole = recordings.Recordings.of(
    values,
    {},
    channels=tuple(f"channel {i}" for i in range(values[0].shape[1])),
    table=npz_series.Places(paths[0], "case"),
    ids=ids,
    stamps=stamps,
    part=np.repeat(np.arange(len(files)), counts),
  )
  return whole, _targets(paths, files, source), files[0].name


def _form(file):
  """Describes the traits that files of one data set have in common."""
  channels = file.series[0].shape[1]
  stamps = "no time stamps" if file.times is None else "time stamps"
  classes = "none" if file.classes is None else ", ".join(file.classes)
  return f"{channels} channels, {stamps}, classes: {classes}"


def _targets(paths, files, source=None):
  """Builds the classes or numbers of the cases of all files."""
  count = sum(len(file.series) for file in files)
  if all(file.labels is None for file in files):
    return _series_targets.none(count)
  for path, file in zip(paths, files):
    if file.labels is None:
      raise validate.error(f"{path}: labels", None, "some, as other files have")
  classes = files[0].classes
  if source is not None and source.targets is None:
    # Class names ignore case, see `uea.class_numbers`.
    words = [str(label).lower() for file in files for label in file.labels]
    places = npz_series.Places(paths[0], "case")
    known = [name.lower() for name in source.classes or ()]
    return _series_targets.of_known_classes(words, places.place, known, "label")
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
