"""Checks of arrays for values that models cannot learn from."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import numpy as np

# Elements per chunk of a check, which bounds its memory.
_CHUNK = 2**22
_AXES = ("example", "element", "channel")


def check_finite(
  name: str,
  array: np.ndarray,
  axes: Sequence[str] = _AXES[1:],
  channels: Sequence[str] | None = None,
  expected: str = "finite numbers",
) -> None:
  """Raises for NaN and infinities, naming the first place and their number."""
  if array.dtype.kind not in "fc":
    return
  refuse(name, array, lambda x: ~np.isfinite(x), axes, channels, expected)


def check_range(
  name: str,
  array: np.ndarray,
  low: int,
  above: int,
  axes: Sequence[str],
  expected: str,
) -> None:
  """Raises for integers not in low .. above - 1; see `check_finite`."""
  limits = np.iinfo(array.dtype) if array.dtype.kind in "iu" else None
  if limits and low <= limits.min and limits.max < above:
    return
  refuse(name, array, lambda x: (x < low) | (x >= above), axes, None, expected)


def refuse(
  name: str,
  array: np.ndarray,
  wrong: Callable[[np.ndarray], np.ndarray],
  axes: Sequence[str],
  channels: Sequence[str] | None,
  expected: str,
) -> None:
  """Raises for `wrong` values, naming the first place and their number."""
  whole = _without_copies(array)
  if whole is not array and not any(wrong(x).any() for _, x in _chunks(whole)):
    return
  first, count = None, 0
  for start, part in _chunks(array):
    mask = wrong(part)
    number = int(np.count_nonzero(mask))
    if number and first is None:
      index = np.unravel_index(int(np.argmax(mask)), mask.shape)
      value = part[index].item()
      first = value, (int(index[0]) + start, *map(int, index[1:]))
    count += number
  if first is not None:
    value, index = first
    more = f" ({count} such values)" if count > 1 else ""
    got = f"{value!r} at {place(index, axes, channels)}{more}"
    raise ValueError(f"{name}: got {got}, expected {expected}.")


def to_float32(name: str, values: object, **options: Any) -> np.ndarray:
  """Converts to float32; raises if values overflow, see `check_finite`."""
  # Values that are too large become infinities, which are rejected.
  with np.errstate(over="ignore"):
    array = np.asarray(values).astype(np.float32, copy=False)
  check_finite(name, array, **options)
  return array


def place(
  index: Sequence[int],
  axes: Sequence[str],
  channels: Sequence[str] | None = None,
) -> str:
  """Returns a place's name, such as "example 3, element 7, channel 'x'"."""
  words = [
    f"{axes[i] if i < len(axes) else f'axis {i}'} {number}"
    for i, number in enumerate(index)
  ]
  last = len(axes) - 1
  if channels is not None and len(index) == len(axes):
    words[-1] = f"{axes[last]} {channels[index[last]]!r}"
  return ", ".join(words)


def _chunks(array: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
  """Yields chunks of the leading axis with their start positions."""
  rows = max(1, _CHUNK // max(1, array[:1].size))
  for start in range(0, len(array), rows):
    yield start, array[start : start + rows]


def _without_copies(array: np.ndarray) -> np.ndarray:
  """Returns the array, or the smaller base of its overlapping windows."""
  base = array
  while getattr(base, "base", None) is not None:
    base = base.base
    if isinstance(base, np.ndarray) and base.dtype == array.dtype:
      if base.size < array.size:
        return base
  return array
