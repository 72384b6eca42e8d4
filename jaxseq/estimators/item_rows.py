"""Validation of rows of users, items and times in memory, for `NextItem`."""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Hashable
from collections.abc import Mapping
from collections.abc import Sequence
import datetime
import numbers
import os
from typing import Any

import numpy as np

from jaxseq import validate
from jaxseq.data import _time_stamps
from jaxseq.data import series_frames

# Tasks of the estimators.
_LINES = {"NextItem": "recommend", "TemporalGraph": "temporal_graph"}
_NUMBER, _DATE = "a number", "a date such as 2024-01-31 23:59"


def columns(
  X: Any, names: Sequence[str], owner: str = "NextItem"
) -> list[np.ndarray]:
  """Returns three columns (n,) of rows, such as users, items and times.

  Entries must not be missing.

  Args:
    X: a pandas frame, or three sequences of one length.
    names: column names of a frame, also used in messages.
    owner: name of the estimator, for messages.

  Raises:
    ValueError: naming the invalid input.
  """
  X = series_frames.of_pandas(X)
  if series_frames.is_frame(X):
    lacking = [name for name in names if name not in X.columns]
    if lacking:
      expected = (
        f"one {lacking[0]!r} among them; other names are given by "
        f"{owner}(columns=({', '.join(names).upper()}))"
      )
      raise validate.error("X: columns", list(X.columns), expected)
    X = [X[name].to_numpy() for name in names]
  _check_form(X, names, owner)
  arrays = list(map(column, X))
  for name, array in zip(names, arrays):
    for row, value in enumerate(array):
      if is_missing(value):
        raise ValueError(f"{place(name, row)}: got nothing, expected a value.")
  if not len(arrays[0]):
    raise validate.error("X", "no rows", "at least one")
  return arrays


def _check_form(X, names, owner):
  """Rejects X that is not three columns."""
  three = f"{names[0]}, {names[1]} and {names[2]}"
  form = f"a frame, or the three columns {three}"
  if isinstance(X, str | os.PathLike):
    expected = (
      f"{form}, such as pandas.read_csv({str(X)!r}); files are read by "
      f"`jaxseq train {_LINES[owner]} --data={X}`"
    )
    raise validate.error("X", X, expected)
  if isinstance(X, Mapping) or not hasattr(X, "__len__"):
    got = X if X is None else type(X).__name__
    raise validate.error("X", got, form)
  sizes = [np.size(x) if np.ndim(x) else None for x in X[:4]]
  if len(X) != 3 and len(X) and set(sizes) == {3}:
    expected = (
      f"three columns, {three}: rows came, whose columns are list(zip(*X))"
    )
    raise validate.error("X", f"shape ({len(X)}, 3)", expected)
  if len(X) != 3 or None in sizes or len({len(x) for x in X}) != 1:
    expected = f"a frame, or three of one length: {three}"
    raise validate.error("X: lengths of columns", sizes, expected)


def column(values: Any) -> np.ndarray:
  """Returns values (n,) as an array that keeps the type of each."""
  array = values if isinstance(values, np.ndarray) else list(values)
  if isinstance(array, list):
    # NumPy would convert mixed types to one, or add an axis.
    single = len({type(value) for value in array}) == 1
    if single and isinstance(array[0], int | float | str | np.generic):
      return np.asarray(array)
    array = np.fromiter(array, object, len(array))
  return array


def is_missing(value: object) -> bool:
  """Returns whether an entry is empty: None, "", NaN, NaT or pandas' NA."""
  if value is None or (isinstance(value, str) and not value):
    return True
  try:
    # NaN and NaT differ from themselves; pandas' NA raises TypeError.
    return bool(value != value)
  except TypeError:
    return True
  except ValueError:
    # An array compares element by element.
    return False


def user(name: str, value: object) -> Hashable:
  """Returns the name of a user as a Python value.

  Args:
    name: its name in messages.
    value: the user.

  Raises:
    ValueError: if it is missing, or not a single name.
  """
  if isinstance(value, np.generic) and value.dtype.kind in "iufbUS":
    value = value.item()
  several = isinstance(value, Collection) and not isinstance(value, str | bytes)
  if several or not isinstance(value, Hashable) or is_missing(value):
    raise validate.error(name, value, "one name, a text or a number")
  return value


def users(array: np.ndarray, name: str) -> list[Hashable]:
  """Returns the users of rows, see `user`; `name` is the column's name."""
  if array.dtype.kind in "iufbUS":
    return array.tolist()
  return [user(place(name, row), value) for row, value in enumerate(array)]


def check_one_kind(array: np.ndarray, name: str) -> None:
  """Rejects a column of items that mixes texts and numbers."""
  if array.dtype.kind != "O":
    return
  wanted = _kind(array[0])
  for row, item in enumerate(array):
    if _kind(item) != wanted:
      raise validate.error(place(name, row), item, f"{wanted}, as in row 0")


def _kind(value):
  """Returns the type of a value in words."""
  if isinstance(value, str):
    return "a text"
  if isinstance(value, numbers.Number | np.number):
    return "a number"
  return f"a value of the type {type(value).__name__}"


def stamps(
  values: Any, place: Callable[[int], str], dated: bool | None = None
) -> np.ndarray:
  """Converts times (n,), which may be texts, to float64 or datetime64.

  Args:
    values: numbers, dates, or texts of either; all of one kind.
    place: returns the name of an entry in messages, by its index.
    dated: True to expect dates, False for numbers; None for either.

  Raises:
    ValueError: naming the first entry that is not a time, or of another kind.
  """
  array, expected = column(values), f"{_NUMBER}, or {_DATE}"
  if dated is not None:
    expected = f"{_DATE if dated else _NUMBER}, as in training"
  mixed = array.dtype.kind == "O"
  kinds = list(map(_kind_of_time, array if mixed else array[:1]))
  for row, kind in enumerate(kinds):
    if kind is None or kind is not kinds[0]:
      raise validate.error(place(row), array[row], expected)
  if kinds[:1] == [str]:
    times = _time_stamps.parse(array.tolist(), place)
  elif mixed and kinds[:1] == [numbers.Real]:
    times = array.astype(np.float64)
  else:
    times = _time_stamps.as_array(array)
  wrong = ~np.isfinite(times)
  if dated is not None and _time_stamps.are_dates(times) != dated:
    wrong[:] = True
  if wrong.any():
    row = int(np.argmax(wrong))
    raise validate.error(place(row), array.tolist()[row], expected)
  return times


def _kind_of_time(value):
  """Returns the type that a time counts as; None if it is not a time."""
  kinds = (str, numbers.Real, datetime.date, np.datetime64)
  kind = next((kind for kind in kinds if isinstance(value, kind)), None)
  return datetime.date if kind is np.datetime64 else kind


def place(name: str, row: int) -> str:
  """Returns the column and row of an entry, for messages."""
  return f"X: {name}, row {row}"
