"""Splits of a set of series, prepared with the training part's constants.

Serves the series of all user files: tables, archives and .ts files.
"""

from typing import Any
from typing import get_args

import numpy as np

from jaxseq import validate
from jaxseq.data import _part_splits
from jaxseq.data import _series_targets
from jaxseq.data import _time_stamps
from jaxseq.data import datasets
from jaxseq.data import missing as missing_values
from jaxseq.data import recordings
from jaxseq.data import scale
from jaxseq.data import summaries
from jaxseq.data.sources import series as series_sources

_PARTS = ("train", "valid", "test")


def _divide(whole, targets, split, group, by_time, shares, seed):
  """The rows of the training, validation and test part."""
  valid_fraction, test_fraction = shares
  # Windows of a series stay together, unless there is no other series.
  firsts = np.unique(whole.own, return_index=True)[1]
  groups = None
  if group is not None:
    groups = [whole.entries[group][row] for row in firsts]
  if whole.part.max():
    parts = _parts_of_files(
      whole, firsts, valid_fraction, targets, seed, groups
    )
  elif split is not None:
    entries = [whole.entries[split][row] for row in firsts]
    parts = _part_splits.by_words(
      entries, lambda number: whole.place(int(firsts[number]), split)
    )
  elif len(firsts) == 1 < len(whole.own):
    order = np.arange(len(whole.own))
    return _part_splits.by_time(order, valid_fraction, test_fraction)
  elif by_time:
    if whole.stamps is None:
      raise validate.error("time", None, "a column, to divide by time")
    starts = np.array([whole.stamps[row][0] for row in firsts])
    parts = _part_splits.by_time(starts, valid_fraction, test_fraction)
  else:
    parts = _part_splits.by_share(
      len(firsts),
      valid_fraction,
      test_fraction,
      seed,
      classes=targets.values[firsts] if targets.kind == "class" else None,
      groups=groups,
    )
  if groups is not None:
    _refuse_divided(
      groups, parts, lambda number: whole.place(int(firsts[number]), group)
    )
  # A series that is too short for a window has no row, and so no number here.
  numbers = np.unique(whole.own, return_inverse=True)[1]
  return _part_splits.of_groups(parts, numbers)


def make(
  whole: recordings.Recordings,
  targets: _series_targets.Targets,
  *,
  source: str,
  description: str | None = None,
  license: str = "that of the files",
  gaps: series_sources.Gaps = "channel",
  split: str | None = None,
  group: str | None = None,
  by_time: bool = False,
  valid_fraction: float = 0.1,
  test_fraction: float = 0.2,
  normalize: bool = True,
  scale_targets: bool = True,
  missing: missing_values.Missing = "refuse",
  seed: int = 0,
  **fields: Any,
) -> datasets.Splits:
  """Splits series and prepares them with the training part's constants."""
  validate.choice("gaps", gaps, get_args(series_sources.Gaps))
  if missing == "refuse":
    whole.refuse_missing()
  shares = valid_fraction, test_fraction
  parts = _divide(whole, targets, split, group, by_time, shares, seed)
  _series_targets.check_classes(targets, parts.train, whole)
  numeric = targets.kind in ("number", "step")
  prepared = series_sources.SeriesSource(
    classes=targets.classes,
    targets=targets.names if numeric else None,
    stepwise=targets.kind == "step",
    missing=missing,
    **fields,
    **_constants(
      whole, parts.train, targets, normalize, scale_targets, missing, gaps
    ),
  )
  sets = [
    prepared.part(whole, rows, targets) if len(rows) else None for rows in parts
  ]
  if targets.kind == "none":
    sets = [s and s._replace(targets=np.zeros_like(s.targets)) for s in sets]
  # All parts have one structure, so that they share compiled steps.
  if any(part is not None and part.lengths is not None for part in sets):
    sets = [
      part and part._replace(lengths=datasets.inside(part).sum(1, np.int32))
      for part in sets
    ]
  channels = whole.channels
  if missing == "mask":
    channels += tuple(f"{name} observed" for name in channels)
  if prepared.gaps == "channel":
    channels += ("time since the element before",)
  names = ", ".join(prepared.targets or ())
  text = {
    "class": "which class?",
    "number": f"{names}?",
    "step": f"{names} at every element?",
    "none": "without targets.",
  }[targets.kind]
  info = datasets.Info(
    description or f"Series of {', '.join(whole.channels)}; {text}",
    source,
    license,
    num_classes=None if targets.classes is None else len(targets.classes),
    classes=targets.classes,
    channels=channels,
    mean=prepared.mean and np.array(prepared.mean),
    deviation=prepared.deviation and np.array(prepared.deviation),
    preparation=prepared,
    summary=summaries.of_series(whole, parts, targets, missing, prepared.step),
  )
  summaries.warn_of_revealing(whole, parts.train, targets)
  return datasets.Splits(*sets, info)


def _refuse_divided(groups, parts, place):
  """Raises if a group has series in two parts."""
  part_of: dict[str, str] = {}
  for part, rows in zip(_PARTS, parts):
    for row in rows:
      other = part_of.setdefault(groups[row], part)
      if other != part:
        raise ValueError(
          f"{place(row)}: got {groups[row][:40]!r} in the {part} and the "
          f"{other} part, expected each group in one: parts by share leave "
          "groups whole."
        )


def _parts_of_files(whole, firsts, share, targets, seed, groups):
  """Splits by the files that the series were read from."""
  part = whole.part[firsts]
  rows = [np.flatnonzero(part == number) for number in range(part.max() + 1)]
  if len(rows) == len(_PARTS):
    return _part_splits.Parts(*rows)
  train, test = rows
  if not share:
    return _part_splits.Parts(train, train[:0], test)
  classes = targets.values[firsts[train]] if targets.kind == "class" else None
  # The "test" part of this inner split is the validation part.
  inner = _part_splits.by_share(
    len(train),
    0,
    share,
    seed,
    classes=classes,
    groups=None if groups is None else [groups[row] for row in train],
  )
  return _part_splits.Parts(train[inner.train], train[inner.test], test)


def _constants(whole, train, targets, normalize, scale_targets, missing, gaps):
  """Constants of the training part that prepare all parts."""
  values = np.concatenate([whole.values[i] for i in train])
  empty = np.isnan(values).all(axis=0)
  if empty.any():
    name = whole.channels[int(np.argmax(empty))]
    raise ValueError(
      f"{whole.place(int(train[0]))}: got no value of {name!r} in the training "
      "part, expected some, or the option channels without it."
    )
  constants: dict[str, Any] = {
    "channels": whole.channels,
    "length": max(map(len, whole.values)),
  }
  if normalize:
    mean, deviation = scale.Scale.of(values)
    constants |= {"mean": mean, "deviation": deviation}
    if scale_targets and targets.kind in ("number", "step"):
      mean, deviation = scale.Scale.of(targets.training(train))
      constants |= {"target_mean": mean, "target_deviation": deviation}
  if missing != "refuse":
    # After normalization the mean is 0.
    fill = np.zeros(len(empty)) if normalize else np.nanmean(values, axis=0)
    constants["fill"] = tuple(map(float, fill))
  if whole.stamps is not None:
    constants["dates"] = _time_stamps.are_dates(whole.stamps[0])
  if whole.stamps is not None and gaps != "ignore":
    constants["step"], equal = _time_stamps.steps_of(whole.stamps, train)
    if not equal:
      constants["gaps"] = gaps
  return constants
