"""Values of arrays that models cannot learn from, found with their places."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import numpy as np

# Elements that are looked at together, so that checks take little memory.
_CHUNK = 2**22
_AXES = ("example", "element", "channel")


def check_finite(
  name: str,
  array: np.ndarray,
  axes: Sequence[str] = _AXES[1:],
  channels: Sequence[str] | None = None,
  expected: str = "finite numbers",
) -> None:
  """Refuses NaN and infinities with the first place and their number."""
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
  """Refuses integers that are not in low .. above - 1; see `check_finite`."""
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
  """Refuses values that are `wrong` with the first place and their number."""
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


def to_float32(name: str, values: Any, **options: Any) -> np.ndarray:
  """Returns values as float32, which must hold them; see `check_finite`."""
  # What is too large becomes an infinity, which is refused.
  with np.errstate(over="ignore"):
    array = np.asarray(values).astype(np.float32, copy=False)
  check_finite(name, array, **options)
  return array


def place(
  index: Sequence[int],
  axes: Sequence[str],
  channels: Sequence[str] | None = None,
) -> str:
  """Names a place in an array, such as "example 3, element 7, channel 'x'"."""
  words = [
    f"{axes[i] if i < len(axes) else f'axis {i}'} {number}"
    for i, number in enumerate(index)
  ]
  last = len(axes) - 1
  if channels is not None and len(index) == len(axes):
    words[-1] = f"{axes[last]} {channels[index[last]]!r}"
  return ", ".join(words)


def _chunks(array: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
  """Yields pieces of the leading axis with the place where each starts."""
  rows = max(1, _CHUNK // max(1, array[:1].size))
  for start in range(0, len(array), rows):
    yield start, array[start : start + rows]


def _without_copies(array: np.ndarray) -> np.ndarray:
  """Returns the array, or the smaller one behind its overlapping windows."""
  base = array
  while getattr(base, "base", None) is not None:
    base = base.base
    if isinstance(base, np.ndarray) and base.dtype == array.dtype:
      if base.size < array.size:
        return base
  return array
