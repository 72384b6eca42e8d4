"""Checks of raw arrays and frames before their preparation."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxseq import validate
from jaxseq.data import series_frames


def rows(values: Any, lengths: np.ndarray | None = None) -> list[Any]:
  """Returns the arrays of a sequence, or its rows cut at their lengths."""
  items = list(values)
  if not items:
    raise ValueError("values: got none, expected at least one example.")
  if lengths is None:
    return items
  validate.shape("lengths", lengths, (len(items),))
  counts = np.asarray(lengths).tolist()
  for number, (row, count) in enumerate(zip(items, counts)):
    validate.integer(f"lengths[{number}]", count, 0, len(row))
  return [row[:count] for row, count in zip(items, counts)]


def names_of(item: object) -> tuple[str, ...] | None:
  """Returns the names of a frame's columns, or of an array's fields."""
  if series_frames.is_frame(item):
    return tuple(map(str, item.columns))
  return getattr(getattr(item, "dtype", None), "names", None)


def series(
  name: str,
  item: object,
  channels: Sequence[str] | None,
  names: Sequence[str] | None = None,
) -> np.ndarray:
  """Returns one series (time, channels); columns of frames by name."""
  names = names_of(item) if names is None else names
  if names is not None:
    item = _by_name(name, item, names, channels)
  array = np.asarray(item)
  if array.dtype.kind not in "iuf":
    raise validate.error(name, f"dtype {array.dtype}", "numbers")
  width = "channels" if channels is None else len(channels)
  validate.shape(name, array, ("time", width))
  return array.astype(np.float64)


def _by_name(name, item, names, channels):
  """The columns of a frame, or the fields of an array, in order."""
  places = {one: place for place, one in enumerate(names)}
  wanted = list(range(len(names)))
  if channels is not None and not _unnamed(channels):
    if not set(channels) <= places.keys():
      listed = ", ".join(map(repr, channels))
      raise validate.error(
        f"{name}: columns", list(names), f"{listed}, as in training"
      )
    wanted = [places[one] for one in channels]
  if series_frames.is_frame(item):
    return item.iloc[:, wanted]
  if item.dtype.names is None:
    return item[:, wanted]
  return np.stack([item[names[place]] for place in wanted], axis=-1)


def _unnamed(channels):
  """True if the names are the default ones of unnamed channels."""
  return any(
    tuple(channels) == tuple(f"channel{sign}{i}" for i in range(len(channels)))
    for sign in "_ "
  )


def tokens(name: str, item: object, vocab_size: int | None) -> np.ndarray:
  """Returns one sequence of tokens (time,), checked."""
  array = np.asarray(item)
  if array.dtype.kind not in "iu":
    raise validate.error(name, f"dtype {array.dtype}", "integers")
  validate.shape(name, array, ("time",))
  above = 2**31 if vocab_size is None else vocab_size
  wrong = (array < 0) | (array >= above)
  if wrong.any():
    first = int(array[np.argmax(wrong)])
    raise validate.error(name, first, f"tokens 0 to {above - 1}")
  return array


def times(name: str, stamps: Any, length: int) -> np.ndarray:
  """Returns the times (length,) of one sequence, checked, as float64."""
  array = np.asarray(stamps, np.float64)
  if array.shape != (length,) or not np.isfinite(array).all():
    expected = f"a finite time for each of the {length} elements"
    raise validate.error(name, f"shape {array.shape}", expected)
  return array


def class_numbers(
  labels: object, classes: Sequence[str] | None, name: str = "targets"
) -> np.ndarray:
  """Returns the class number of each label, (n,) int32."""
  array = np.asarray(labels)
  if not len(array):
    return np.zeros(0, np.int32)
  if array.dtype.kind in "iu":
    above = 2**31 if classes is None else len(classes)
    wrong = (array < 0) | (array >= above)
    if wrong.any():
      expected = f"classes 0 to {above - 1}"
      raise validate.error(name, int(array[np.argmax(wrong)]), expected)
    return array.astype(np.int32)
  places = {label: number for number, label in enumerate(classes or ())}
  words = [str(label) for label in array.tolist()]
  for word in words:
    if word not in places:
      # Names differ by little: "item 4" is no typing error of "item 444".
      validate.choice(name, word, places, 0.9)
  return np.array([places[word] for word in words], np.int32)


def class_targets(
  targets: object, classes: Sequence[str] | None, count: int
) -> np.ndarray:
  """Returns (count,) classes by their names or numbers; -1 if unknown."""
  if targets is None:
    return np.full(count, -1, np.int32)
  validate.shape("targets", targets, (count,))
  array = np.asarray(targets)
  if array.dtype.kind != "i":
    return class_numbers(targets, classes)
  unknown = array == -1
  known = class_numbers(np.where(unknown, 0, array), classes)
  return np.where(unknown, np.int32(-1), known)
