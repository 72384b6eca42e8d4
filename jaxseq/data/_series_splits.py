"""Parts of a set of series, with the constants of the training part.

The series of all people's files come here: of tables, archives and .ts files.
"""

from typing import Any
from typing import get_args

import numpy as np

from jaxseq import _validate
from jaxseq.data import _part_splits
from jaxseq.data import _series_targets
from jaxseq.data import _time_stamps
from jaxseq.data import datasets
from jaxseq.data import missing as missing_values
from jaxseq.data import scale
from jaxseq.data import table_layouts
from jaxseq.data.sources import series as series_sources

_PARTS = ("train", "valid", "test")


def _divide(whole, targets, split, group, by_time, shares, seed):
  """The rows of the training, validation and test part."""
  valid_fraction, test_fraction = shares
  # Pieces of a series stay together, unless there is no other series.
  firsts = np.unique(whole.own, return_index=True)[1]
  if whole.part.max():
    parts = _parts_of_files(whole, firsts, valid_fraction, targets, seed)
  elif split is not None:
    entries = [whole.words[split][row] for row in firsts]
    parts = _part_splits.by_words(
      entries, lambda number: whole.place(int(firsts[number]), split)
    )
  elif len(firsts) == 1 < len(whole.own):
    order = np.arange(len(whole.own))
    return _known(
      _part_splits.by_time(order, valid_fraction, test_fraction), whole, targets
    )
  elif by_time:
    if whole.stamps is None:
      raise _validate.error("time", None, "a column, to divide by time")
    starts = np.array([whole.stamps[row][0] for row in firsts])
    parts = _part_splits.by_time(starts, valid_fraction, test_fraction)
  else:
    parts = _part_splits.by_share(
      len(firsts),
      valid_fraction,
      test_fraction,
      seed,
      classes=targets.values[firsts] if targets.kind == "class" else None,
      groups=(
        None if group is None else [whole.words[group][row] for row in firsts]
      ),
    )
  # A series that is too short for a window has no piece, and so no number here.
  numbers = np.unique(whole.own, return_inverse=True)[1]
  return _known(_part_splits.of_groups(parts, numbers), whole, targets)


def _known(parts, whole, targets):
  """The parts, if the training part has all classes."""
  _series_targets.check_classes(targets, parts.train, whole)
  return parts


def make(
  whole: table_layouts.Recordings,
  found: _series_targets.Targets,
  *,
  source: str,
  gaps: series_sources.Gaps = "channel",
  split: str | None = None,
  group: str | None = None,
  by_time: bool = False,
  valid_fraction: float = 0.1,
  test_fraction: float = 0.2,
  normalize: bool = True,
  missing: missing_values.Missing = "refuse",
  seed: int = 0,
  **fields: Any,
) -> datasets.Splits:
  """Divides series; prepares them with the constants of the training part."""
  _validate.choice("gaps", gaps, get_args(series_sources.Gaps))
  if missing == "refuse":
    whole.refuse_missing()
  shares = valid_fraction, test_fraction
  parts = _divide(whole, found, split, group, by_time, shares, seed)
  prepared = series_sources.SeriesSource(
    classes=found.classes,
    targets=found.names if found.kind in ("number", "step") else None,
    stepwise=found.kind == "step",
    missing=missing,
    **fields,
    **_constants(whole, parts.train, found, normalize, missing, gaps),
  )
  datasets_of_parts = [
    prepared.part(whole, rows, found) if len(rows) else None for rows in parts
  ]
  return _as_splits(datasets_of_parts, prepared, whole, found, source)


def _parts_of_files(whole, firsts, share, targets, seed):
  """Parts by the files that the series were read from."""
  part = whole.part[firsts]
  rows = [np.flatnonzero(part == number) for number in range(part.max() + 1)]
  if len(rows) == len(_PARTS):
    return _part_splits.Parts(*rows)
  train, test = rows
  if not share:
    return _part_splits.Parts(train, train[:0], test)
  classes = targets.values[firsts[train]] if targets.kind == "class" else None
  # What is called the test part here is that for validation.
  inner = _part_splits.by_share(len(train), 0, share, seed, classes=classes)
  return _part_splits.Parts(train[inner.train], train[inner.test], test)


def _constants(whole, train, targets, normalize, missing, gaps):
  """Numbers of the training part that all parts are prepared with."""
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
    if targets.kind in ("number", "step"):
      mean, deviation = scale.Scale.of(targets.training(train))
      constants |= {"target_mean": mean, "target_deviation": deviation}
  if missing != "refuse":
    # After normalization the mean is 0.
    fill = np.zeros(len(empty)) if normalize else np.nanmean(values, axis=0)
    constants["fill"] = tuple(map(float, fill))
  if whole.stamps is not None and gaps != "ignore":
    between = [np.diff(_time_stamps.seconds(whole.stamps[i])) for i in train]
    step = _time_stamps.usual_step(between)
    constants["step"] = step
    if step is not None and not all(
      _time_stamps.is_regular(stamps, step) for stamps in whole.stamps
    ):
      constants["gaps"] = gaps
  return constants


def _as_splits(sets, prepared, whole, targets, source):
  """The parts with their description."""
  if targets.kind == "none":
    sets = [
      part and part._replace(targets=np.zeros_like(part.targets))
      for part in sets
    ]
  # One structure for all parts: a step compiled for one serves the others.
  if any(part is not None and part.lengths is not None for part in sets):
    sets = [part and _with_lengths(part) for part in sets]
  channels = whole.channels
  if prepared.missing == "mask":
    channels += tuple(f"{name} observed" for name in channels)
  if prepared.gaps == "channel":
    channels += ("time since the element before",)
  words = {
    "class": "which class?",
    "number": f"{', '.join(prepared.targets or ())}?",
    "step": f"{', '.join(prepared.targets or ())} at every element?",
    "none": "without targets.",
  }
  info = datasets.Info(
    f"Series of {', '.join(whole.channels)}; {words[targets.kind]}",
    source,
    "that of the files",
    num_classes=None if targets.classes is None else len(targets.classes),
    classes=targets.classes,
    channels=channels,
    mean=None if prepared.mean is None else np.array(prepared.mean),
    deviation=(
      None if prepared.deviation is None else np.array(prepared.deviation)
    ),
    preparation=prepared,
  )
  return datasets.Splits(*sets, info)


def _with_lengths(part):
  """A part that says the lengths of its series."""
  if part.lengths is not None:
    return part
  count, length = part.inputs.shape[:2]
  return part._replace(lengths=np.full(count, length, np.int32))
