"""Series in an .npz archive of NumPy arrays.

    np.savez("walks.npz", X=values, y=labels, lengths=lengths)
    splits = data.load("npz", path="walks.npz")

`X` (or `inputs`) is (n, time, channels) or (n, time), NaN where a value is
missing; `y` (or `targets`), optional, (n,) names or whole numbers of classes,
(n,) or (n, numbers) floats, or (n, time, numbers); `lengths` (n,), `channels`
and `ids` are optional. With `X_train`, `X_test` and so on, optionally also
`X_valid`, the parts are those.
"""

import os
import pathlib
from typing import NamedTuple
from typing import Unpack

import numpy as np

from jaxseq import limits
from jaxseq import validate
from jaxseq.data import _npy
from jaxseq.data import _series_splits
from jaxseq.data import _series_targets
from jaxseq.data import datasets
from jaxseq.data import recordings
from jaxseq.data.sources import series as series_sources

_NAMES = {
  "X": ("X", "x", "inputs"),
  "y": ("y", "Y", "targets", "labels"),
  "lengths": ("lengths",),
  "ids": ("ids",),
}
_PARTS = ("train", "valid", "test")


class Places(NamedTuple):
  """Locates an archive's examples, for messages."""

  path: pathlib.Path
  word: str = "example"

  def place(self, row: int, column: str | None = None) -> str:
    """Returns the location of an example."""
    text = f"{self.path}, {self.word} {row}"
    return text if column is None else f"{text}: {column!r}"


def _read(
  path: str | os.PathLike,
  target: str = "auto",
  classes: tuple[str, ...] | None = None,
) -> tuple[recordings.Recordings, _series_targets.Targets]:
  """Reads the series of an archive."""
  path = datasets.find_file(path, "give an .npz archive as path")
  arrays = _npy.read_archive(path)
  channels = arrays.pop("channels", None)
  parts = _parts(arrays, path)
  values, ids, labels, part_numbers = [], [], [], []
  for number, (name, part_arrays) in enumerate(parts.items()):
    label = f"{path}: {name}" if name else str(path)
    rows = _series(part_arrays, label, path.stat().st_size)
    values += rows
    part_ids = part_arrays.get("ids")
    ids += map(str, range(len(rows)) if part_ids is None else part_ids.tolist())
    part_numbers += [number] * len(rows)
    labels.append(part_arrays.get("y"))
  width = values[0].shape[1]
  if channels is None:
    names = tuple(f"channel {i}" for i in range(width))
  else:
    names = tuple(map(str, channels.ravel().tolist()))
  for number, row in enumerate(values):
    if row.shape[1] != len(names):
      place = Places(path).place(number)
      raise validate.error(f"{place}: channels", row.shape[1], str(len(names)))
  whole = recordings.Recordings.of(
    values,
    {},
    channels=names,
    table=Places(path),
    ids=tuple(ids),
    part=np.array(part_numbers),
  )
  times = [part_arrays["X"].shape[1] for part_arrays in parts.values()]
  return whole, _targets(labels, whole, target, classes, times, str(path))


def _parts(arrays, path):
  """Arrays by part and by kind; a single part has no name."""
  parts: dict[str, dict[str, np.ndarray]] = {}
  for name, array in arrays.items():
    start, _, end = name.rpartition("_")
    part = end if start and end in _PARTS else ""
    first, _, last = name.partition("_")
    if not part and last and first in _PARTS:
      part, start = first, last
    word = start if part else name
    kind = next((k for k, words in _NAMES.items() if word in words), None)
    if kind is None:
      raise ValueError(
        f"{path}: got the array {name[:60]!r}, expected X (or inputs), y (or "
        "targets), lengths, ids or channels, perhaps with _train, _valid or "
        "_test behind them."
      )
    if kind in parts.setdefault(part, {}):
      raise ValueError(f"{path}: got {name!r} and another array of that kind.")
    parts[part][kind] = array
  named = {part: parts[part] for part in ("", *_PARTS) if part in parts}
  whole = set(named) in ({""}, {"train", "test"}, set(_PARTS))
  if not whole or not all("X" in arrays for arrays in named.values()):
    raise ValueError(
      f"{path}: got the arrays {', '.join(sorted(arrays))}, expected X; or "
      "X_train and X_test, and perhaps X_valid."
    )
  return named


def _series(arrays, name, held):
  """Returns the rows of X up to their lengths, (time_i, channels) each."""
  array = arrays["X"]
  if array.dtype.kind not in "iuf" or array.ndim not in (2, 3):
    shape = f"shape {array.shape} and dtype {array.dtype}"
    expected = "numbers (n, time, channels), or (n, time)"
    raise validate.error(f"{name}: X", shape, expected)
  array = array[..., None] if array.ndim == 2 else array
  if 0 in array.shape:
    raise validate.error(f"{name}: X", f"shape {array.shape}", "no axis of 0")
  count, time = array.shape[:2]
  lengths = arrays.get("lengths", np.full(count, time))
  for key in ("lengths", "y", "ids"):
    if key in arrays and (not arrays[key].ndim or len(arrays[key]) != count):
      expected = f"one entry for each of the {count} series"
      shape = f"shape {arrays[key].shape}"
      raise validate.error(f"{name}: {key}", shape, expected)
  whole = lengths.dtype.kind in "iu" and lengths.ndim == 1
  if not whole or lengths.min() < 1 or lengths.max() > time:
    expected = f"integers from 1 to {time}"
    raise validate.error(f"{name}: lengths", lengths.tolist()[:5], expected)
  size = 8 * int(lengths.sum()) * array.shape[2] + limits.OBJECT * count
  limits.check_growth(name, size, held)
  return [
    row[:length].astype(np.float64) for row, length in zip(array, lengths)
  ]


def _targets(labels, whole, target, classes, times, name):
  """Builds the targets of all parts."""
  if all(array is None for array in labels):
    return _series_targets.none(len(whole.ids))
  if any(array is None for array in labels):
    raise ValueError(f"{name}: got y of some parts, expected it of all.")
  shapes = {array.shape[1:] for array in labels}
  if len(shapes) > 1:
    raise validate.error(f"{name}: y", f"shape {shapes}", "one shape")
  array = np.concatenate(labels)
  if target == "auto":
    target = "class" if _is_named(array) else "number"
    target = "step" if array.ndim == 3 else target
  if target == "class":
    if array.ndim != 1 or not _is_named(array):
      shape = f"shape {array.shape} and dtype {array.dtype}"
      raise validate.error(f"{name}: y", shape, "(n,) names or integers")
    kind = array.dtype.kind
    words = [
      x.decode("latin1") if kind == "S" else str(x) for x in array.tolist()
    ]

    def place(number):
      return whole.place(number, "y")

    if classes is not None:
      return _series_targets.of_known_classes(words, place, classes, "y")
    return _series_targets.of_classes(words, place, whole.own, "y")
  numbers = np.asarray(array, np.float64) if array.dtype.kind in "iuf" else None
  if numbers is None or not np.isfinite(numbers).all():
    raise validate.error(f"{name}: y", f"dtype {array.dtype}", "finite numbers")
  if target == "step":
    if numbers.ndim == 2:
      numbers = numbers[..., None]
    validate.shape(f"{name}: y", numbers, (len(numbers), "time", "numbers"))
    for time, y in zip(times, labels):
      if y.shape[1] != time:
        shape = f"shape {y.shape}"
        expected = f"(n, {time}, numbers), as many elements in time as X"
        raise validate.error(f"{name}: y", shape, expected)
    rows = [y[: len(x)] for y, x in zip(numbers, whole.values)]
    return _series_targets.Targets("step", rows, None, _called(numbers))
  numbers = numbers[:, None] if numbers.ndim == 1 else numbers
  validate.shape(f"{name}: y", numbers, (len(numbers), "numbers"))
  return _series_targets.Targets("number", numbers, None, _called(numbers))


def _is_named(array):
  """True for names, and for numbers that are all whole."""
  if array.dtype.kind == "f":
    return array.ndim == 1 and bool(np.all(array == np.trunc(array)))
  return array.dtype.kind in "iuSUb"


def _called(numbers):
  """Returns names for numbers to predict."""
  width = numbers.shape[-1]
  return ("y",) if width == 1 else tuple(f"y {i}" for i in range(width))


def load(
  path: str | os.PathLike,
  *,
  target: str = "auto",
  **options: Unpack[series_sources.Options],
) -> datasets.Splits:
  """Loads series from an .npz archive.

  Args:
    path: the archive, with series `X` or `inputs` (n, time, channels), labels
      `y` or `targets`, and optional `lengths`; or these with `_train` and
      `_test`.
    target: kind of `y`: "class", "number", one or several for each series,
      "step", some at every element, or "auto": classes, if it holds names or
      whole numbers.
    **options: see `sources.series.Options`.

  Returns:
    The splits, see `series_table.load`.

  Raises:
    ValueError: naming the invalid array.
    MissingData: if there is no such file.
  """
  validate.choice("target", target, ("auto", "class", "number", "step"))
  whole, targets = _read(path, target)
  return _series_splits.make(
    whole,
    targets,
    source=str(path),
    gaps="ignore",
    reader="npz",
    target=targets.kind,
    **options,
  )


def read_again(
  path: str | os.PathLike, source: series_sources.SeriesSource
) -> tuple[recordings.Recordings, _series_targets.Targets]:
  """Reads series as `load` does for a prepared source; parts are concatenated.

  Raises:
    ValueError: see `load`.
    MissingData: see `load`.
  """
  labeled = source.target != "none"
  whole, targets = _read(
    path, source.target if labeled else "auto", source.classes
  )
  if not labeled:
    targets = _series_targets.none(len(whole.ids))
  if len(whole.channels) != len(source.channels or whole.channels):
    raise validate.error(
      f"{path}: channels", len(whole.channels), f"{len(source.channels or ())}"
    )
  return whole, targets
