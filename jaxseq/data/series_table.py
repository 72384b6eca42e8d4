"""Series in tables of one's own: CSV or Parquet files, see `table_layouts`.

splits = data.load("table", path="walks.csv", id="id", label="label")
"""

from collections.abc import Sequence
import dataclasses
import os
from typing import Any
from typing import Literal
from typing import get_args

import numpy as np

from jaxseq import _validate
from jaxseq.data import datasets
from jaxseq.data import missing as missing_values
from jaxseq.data import part_splits
from jaxseq.data import preparation
from jaxseq.data import series_targets
from jaxseq.data import table_layouts
from jaxseq.data import time_stamps
from jaxseq.data.files import table_files

Target = Literal["auto", "class", "number", "step"]
_KINDS = (*get_args(Target), "none")
Gaps = Literal["channel", "extras", "ignore"]


def load(
  path: table_files.Path,
  *,
  layout: str = "long",
  id: str | None = None,
  time: str | None = None,
  label: str | Sequence[str] | None = None,
  channels: str | Sequence[str] | None = None,
  ignore: str | Sequence[str] | None = None,
  delimiter: str | None = None,
  labels: str | os.PathLike | None = None,
  target: Target = "auto",
  split: str | None = None,
  group: str | None = None,
  by_time: bool = False,
  valid_path: table_files.Path | None = None,
  test_path: table_files.Path | None = None,
  valid_fraction: float = 0.1,
  test_fraction: float = 0.2,
  normalize: bool = True,
  missing: missing_values.Missing = "refuse",
  gaps: Gaps = "channel",
  seed: int = 0,
) -> datasets.Splits:
  """Loads series with a class or numbers for each, or without.

  Args:
    path: a file, a folder, a pattern, or several, see `table_files.find`.
    layout: "long" or "wide", see `table_layouts`.
    id: column that names the series of a row, see `table_layouts.Columns`.
    time: column of time stamps.
    label: column of the class, or the columns of numbers to predict; None if
      there are neither, and then all targets are 0.
    channels: columns of values; all others if None.
    ignore: columns that are left out.
    delimiter: see `table_files.read`.
    labels: a further table with a row for each series: its `id` and `label`.
    target: "class"; "number", one for each series; "step", one at every
      element; or "auto": a class, unless all labels are numbers and not all of
      them are whole.
    split: column that says train, valid or test for each series.
    group: column of what must not be divided, such as a person.
    by_time: whether the series that begin last are for testing.
    valid_path: files of the validation part, in place of a share.
    test_path: files of the test part, in place of a share.
    valid_fraction: share of the series that is for validation.
    test_fraction: share of the series that is for testing.
    normalize: whether each channel, and each number to predict, is shifted and
      scaled to mean 0 and standard deviation 1 over the training part.
    missing: what becomes of missing values, see `data.missing`.
    gaps: where the time since the element before goes if it is not always the
      same: one more "channel", "extras".gaps, or nowhere ("ignore").
    seed: of the division by share.

  Returns:
    The splits: inputs (n, time, channels) padded with 0; targets (n,) classes
    in the order of their names, (n, numbers), or (n, time, numbers). info has
    names of classes and channels.

  Raises:
    ValueError: naming the file, line and column that is not as expected, or the
      option that is wrong.
    MissingData: if a file, or for Parquet the package pyarrow, is not there.
  """
  columns = table_layouts.Columns(
    layout,
    id=id,
    time=time,
    label=table_layouts.as_names("label", label),
    channels=table_layouts.as_names("channels", channels),
    ignore=table_layouts.as_names("ignore", ignore),
    delimiter=delimiter,
  )
  _validate.choice("target", target, get_args(Target))
  _validate.choice("gaps", gaps, get_args(Gaps))
  files = [path]
  files += [one for one in (valid_path, test_path) if one is not None]
  if test_path is None and valid_path is not None:
    raise _validate.error("test_path", None, "files as well as valid_path")
  # What is said of whole series.
  said = [name for name in (split, group) if name is not None]
  inside = labels is None
  whole = table_layouts.read(
    files,
    columns,
    words=[*said, *(columns.label if inside and target != "step" else ())],
    step_numbers=columns.label if inside and target == "step" else (),
  )
  if missing == "refuse":
    _refuse_missing(whole)
  found = series_targets.find(whole, columns, target, labels)
  if test_path is not None:
    parts = _parts_of_files(whole, valid_path, valid_fraction, found, seed)
  elif split is not None:
    parts = part_splits.by_words(
      whole.words[split], lambda number: whole.place(number, split)
    )
  elif by_time:
    if whole.stamps is None:
      raise _validate.error("time", None, "a column, to divide by time")
    starts = np.array([stamps[0] for stamps in whole.stamps])
    parts = part_splits.by_time(starts, valid_fraction, test_fraction)
  else:
    parts = part_splits.by_share(
      len(whole.ids),
      valid_fraction,
      test_fraction,
      seed,
      classes=found.values if found.kind == "class" else None,
      groups=None if group is None else whole.words[group],
    )
  series_targets.check_classes(found, parts.train, whole, columns)
  prepared = preparation.Preparation(
    "series",
    classes=found.classes,
    targets=None if found.kind in ("class", "none") else columns.label,
    stepwise=found.kind == "step",
    missing=missing,
    reader="table",
    reader_options=_reader_options(columns, whole, found.kind, said),
    **_constants(whole, parts.train, found, normalize, missing, gaps),
  )
  made = [
    _dataset(prepared, whole, rows, found) if len(rows) else None
    for rows in parts
  ]
  return _as_splits(made, prepared, whole, found, table_files.describe(path))


def _parts_of_files(whole, valid_path, share, found, seed):
  """Parts by the files that the series were read from."""
  own = [
    np.flatnonzero(whole.part == part) for part in range(whole.part.max() + 1)
  ]
  if valid_path is not None:
    return part_splits.Parts(*own)
  train, test = own
  if not share:
    return part_splits.Parts(train, train[:0], test)
  classes = found.values[train] if found.kind == "class" else None
  # What is called the test part here is that for validation.
  inner = part_splits.by_share(len(train), 0, share, seed, classes=classes)
  return part_splits.Parts(train[inner.train], train[inner.test], test)


def _reader_options(columns, whole, kind, said):
  """Options by which another file is read like those of the training."""
  # The columns of a long table's channels may stand anywhere in another file.
  channels = whole.channels if columns.layout == "long" else columns.channels
  reader = dataclasses.replace(
    columns, channels=channels, ignore=(*columns.ignore, *said)
  )
  return {**reader.options(), "target": kind}


def _constants(whole, train, found, normalize, missing, gaps):
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
    mean, deviation = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    constants |= {
      "mean": preparation.as_numbers(mean),
      "deviation": preparation.as_numbers(np.where(deviation, deviation, 1.0)),
    }
    if found.kind in ("number", "step"):
      numbers = found.training(train)
      mean, deviation = numbers.mean(axis=0), numbers.std(axis=0)
      constants |= {
        "target_mean": preparation.as_numbers(mean),
        "target_deviation": preparation.as_numbers(
          np.where(deviation, deviation, 1.0)
        ),
      }
  if missing != "refuse":
    # After normalization the mean is 0.
    fill = np.zeros(len(empty)) if normalize else np.nanmean(values, axis=0)
    constants["fill"] = preparation.as_numbers(fill)
  if whole.stamps is not None and gaps != "ignore":
    step = _usual_step([whole.stamps[i] for i in train])
    if step is not None and not all(
      time_stamps.is_regular(stamps, step) for stamps in whole.stamps
    ):
      constants |= {"gaps": gaps, "step": step}
  return constants


def _usual_step(stamps):
  """The median time between elements; None if all series have one."""
  gaps = [np.diff(time_stamps.seconds(one)) for one in stamps]
  gaps = np.concatenate(gaps)
  return float(np.median(gaps)) if len(gaps) else None


def _dataset(prepared, whole, rows, found):
  """The examples of a part."""
  times = None
  if prepared.gaps is not None:
    times = [time_stamps.seconds(whole.stamps[i]) for i in rows]
  targets = None
  if found.kind == "step":
    targets = [found.values[i] for i in rows]
  elif found.kind != "none":
    targets = found.values[rows]
  return prepared.prepare(
    [whole.values[i] for i in rows], times=times, targets=targets
  )


def _refuse_missing(whole):
  """Refuses missing values, by the line of the first."""
  for number, values in enumerate(whole.values):
    wrong = np.isnan(values)
    if wrong.any():
      step, channel = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
      place = whole.place(number, whole.channels[channel], step)
      raise ValueError(
        f"{place}: got nothing (element {step} of series "
        f"{whole.ids[number]!r}), expected {missing_values.expected()}."
      )


def _as_splits(made, prepared, whole, found, source):
  """The parts with what is known of them."""
  if found.kind == "none":
    made = [
      part and part._replace(targets=np.zeros_like(part.targets))
      for part in made
    ]
  # One structure for all parts: a step compiled for one serves the others.
  if any(part is not None and part.lengths is not None for part in made):
    made = [part and _with_lengths(part) for part in made]
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
    f"Series of {', '.join(whole.channels)}; {words[found.kind]}",
    source,
    "that of the files",
    num_classes=None if found.classes is None else len(found.classes),
    classes=found.classes,
    channels=channels,
    mean=None if prepared.mean is None else np.array(prepared.mean),
    deviation=(
      None if prepared.deviation is None else np.array(prepared.deviation)
    ),
    preparation=prepared,
  )
  return datasets.Splits(*made, info)


def _with_lengths(part):
  """A part that says the lengths of its series."""
  if part.lengths is not None:
    return part
  count, length = part.inputs.shape[:2]
  return part._replace(lengths=np.full(count, length, np.int32))


def read_examples(
  path: table_files.Path, prepared: preparation.Preparation
) -> preparation.Examples:
  """Reads series as `load` reads those of its training files.

  Args:
    path: the files, with or without the column of labels.
    prepared: the preparation of the training set.

  Returns:
    The series, named by their column of ids.

  Raises:
    ValueError: see `load`.
    MissingData: see `load`.
  """
  options = dict(prepared.reader_options)
  kind = _validate.choice("target", options.pop("target", "none"), _KINDS)
  columns = table_layouts.Columns.from_options(options)
  whole = table_layouts.read(
    [path],
    columns,
    words=columns.label if kind != "step" else (),
    step_numbers=columns.label if kind == "step" else (),
    optional=columns.label,
  )
  if whole.channels != prepared.channels:
    raise _validate.error(
      f"{table_files.describe(path)}: channels",
      whole.channels,
      f"{prepared.channels}",
    )
  if prepared.missing == "refuse":
    _refuse_missing(whole)
  entries = whole.numbers if kind == "step" else whole.words
  labeled = bool(columns.label) and set(columns.label) <= entries.keys()
  found = series_targets.none(len(whole.ids))
  if labeled:
    found = series_targets.find(
      whole, columns, kind, None, classes=prepared.classes
    )
  rows = np.arange(len(whole.ids))
  made = _dataset(prepared, whole, rows, found)
  return preparation.Examples(whole.ids, made, labeled)
