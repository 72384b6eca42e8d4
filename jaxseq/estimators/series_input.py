"""Validation of the series that estimators receive."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxseq import validate
from jaxseq.data import _time_stamps
from jaxseq.data import series_frames
from jaxseq.estimators import _scikit_learn
from jaxseq.estimators import _time_index

Series = series_frames.FrameSeries


def read(estimator: Any, X: Any, *, reset: bool) -> Series:
  """Checks series of any form and returns them as (time_i, channels) arrays.

  A table (n, time), which may be a frame of numbers, contains series of one
  channel and one length; scikit-learn checks it, and the length of later ones.

  Args:
    estimator: its `n_features_in_` is set, or compared with X; it has the
      parameters `missing` and `channels_first`.
    X: see `data.series_frames.series_of`.
    reset: whether these are the training series.

  Raises:
    ValueError: naming the invalid input.
  """
  finite = True if estimator.missing == "refuse" else "allow-nan"
  if _is_table(X):
    check_columns("X", X)
    table = _scikit_learn.validation.validate_data(
      estimator, X, reset=reset, dtype=np.float64, ensure_all_finite=finite
    )
    names = tuple(map(str, range(len(table))))
    series = Series(names, list(table[:, :, None]), None)
    kind = "table"
  else:
    series = _in_order(X, estimator.channels_first)
    kind = "series"
    if reset:
      estimator.n_features_in_ = series.values[0].shape[1]
      if hasattr(estimator, "feature_names_in_"):
        del estimator.feature_names_in_
  dated = series.times and _time_stamps.are_dates(series.times[0])
  if reset:
    estimator.input_kind_ = kind
    estimator.channels_ = series.channels
    estimator._dated = dated
    return series
  known = getattr(estimator, "_dated", None)
  if None not in (known, dated) and known != dated:
    kinds = ("numbers", "dates")
    expected = f"{kinds[known]}, as in training. Convert the index to them"
    raise validate.error("X: index", kinds[dated], expected)
  width = 1 if estimator.input_kind_ == "table" else estimator.n_features_in_
  check_channels(
    "X", series.values[0].shape[1], series.channels, width, estimator.channels_
  )
  return series


def _in_order(X, channels_first):
  """Returns series of any form, sorted by their index times, if any."""
  X = series_frames.of_pandas(X)
  series = series_frames.series_of(X, channels_first=channels_first)
  if series.times is not None or hasattr(X, "ndim") > hasattr(X, "columns"):
    return series
  items = list(X.values()) if isinstance(X, Mapping) else X
  if series_frames.is_frame(X):
    items = [X.iloc[row, 0] for row in range(len(X))]
    _check_cells(X, items)
  names = [f"series {name}" for name in series.ids]
  orders = _time_index.of_rows(names, list(items))
  if orders is None:
    return series
  values = [row[order.rows] for row, order in zip(series.values, orders)]
  return series._replace(values=values, times=[one.stamps for one in orders])


def _check_cells(X, items):
  """Rejects a nested frame whose channels have different times."""
  for row, first in enumerate(items):
    index = _time_index.index_of(first)
    for column in range(1, X.shape[1]):
      other = _time_index.index_of(X.iloc[row, column])
      if index is not None and other is not None and not index.equals(other):
        expected = f"that of column {X.columns[0]!r}: one for all channels"
        name = f"X: row {row}, column {X.columns[column]!r}: index"
        raise validate.error(name, "another one", expected)


def read_one(
  name: str, y: Any, width: int | None, known: tuple[str, ...] | None
) -> tuple[np.ndarray, tuple[str, ...] | None, _time_index.Order | None]:
  """Returns one series (time, channels), its channels' names, and its order.

  Args:
    name: name of the argument.
    y: (time,) or (time, channels) finite numbers, an array or a frame, whose
      rows are sorted by its index, if that has times.
    width: channels of the training series; None if this is the training series.
    known: channel names of the training series, or None.

  Raises:
    ValueError: naming the invalid input.
  """
  _time_index.refuse_several(name, y)
  check_columns(name, y)
  names = tuple(map(str, y.columns)) if hasattr(y, "columns") else None
  for one in names or ():
    if one.lower() in series_frames.TIMES:
      raise _is_time(name, one, "numbers")
  if np.ndim(y) and not len(y):
    expected = "at least one. Pass a series with values"
    raise validate.error(name, "no rows", expected)
  array = _scikit_learn.validation.check_array(
    y, ensure_2d=False, dtype=np.float64, input_name=name
  )
  array = array[:, None] if array.ndim == 1 else array
  if width is not None:
    check_channels(name, array.shape[1], names, width, known)
  orders = _time_index.of_rows([name], [y])
  if orders is None:
    return array, names, None
  return array[orders[0].rows], names, orders[0]


def check_channels(
  name: str,
  got: int,
  names: tuple[str, ...] | None,
  width: int,
  known: tuple[str, ...] | None,
) -> None:
  """Raises ValueError unless the channels equal those of training, in order."""
  if got != width:
    raise validate.error(f"{name}: channels", got, f"{width}, as in training")
  if None not in (known, names) and names != known:
    expected = f"{list(known or ())}, as in training"
    raise validate.error(f"{name}: columns", list(names or ()), expected)


def check_columns(name: str, frame: Any) -> None:
  """Raises ValueError if a column of a frame is not numeric."""
  if not (hasattr(frame, "dtypes") and hasattr(frame, "columns")):
    return
  for column, dtype in zip(frame.columns, frame.dtypes):
    if getattr(dtype, "kind", "f") in "iufbO" and not (
      dtype.kind == "O" and any(isinstance(x, str) for x in frame[column][:1])
    ):
      continue
    if name == "y" and (
      dtype.kind in "Mm" or str(column).lower() in series_frames.TIMES
    ):
      raise _is_time(name, column, dtype)
    remedy = f"Leave it out, by {name}.drop(columns=[{column!r}])"
    if name == "X":
      remedy += (
        "; a table of several series has their names and times in its index, "
        "by X.set_index([NAME, TIME])"
      )
    raise ValueError(
      f"{name}: column {column!r}: got {dtype}, expected numbers. {remedy}."
    )


def _is_time(name, column, dtype):
  """Returns the error for a column of times, which belong in the index."""
  return ValueError(
    f"{name}: column {column!r}: got {dtype} that are times, expected values. "
    f"Make it the index, by {name}.set_index({column!r})."
  )


def required(estimator: Any, y: Any) -> Any:
  """Returns y, or raises scikit-learn's ValueError if it is None."""
  if y is None:
    raise ValueError(
      f"{type(estimator).__name__} requires y to be passed, but the target y "
      "is None."
    )
  return y


def check_count(name: str, values: Any, count: int) -> None:
  """Raises ValueError unless there is one of `values` for each series."""
  if len(values) != count:
    raise ValueError(
      f"{name}: got {len(values)} of them, expected {count}, one for each of X."
    )


def _is_table(X):
  """Returns whether X is a table (n, time) of numbers, not separate series."""
  if isinstance(X, Mapping) or X is None or isinstance(X, str):
    return isinstance(X, str) or X is None
  if hasattr(X, "columns") and hasattr(X, "index"):
    nested = X.shape[0] and X.shape[1] and np.ndim(X.iloc[0, 0]) > 0
    return getattr(X.index, "nlevels", 1) == 1 and not nested
  if hasattr(X, "toarray") or (hasattr(X, "ndim") and X.ndim != 3):
    # Includes sparse matrices, which scikit-learn rejects.
    return not _holds_arrays(X)
  if hasattr(X, "ndim") or not hasattr(X, "__len__") or not len(X):
    return not hasattr(X, "ndim")
  lengths = {np.shape(row) for row in X if not hasattr(row, "columns")}
  return len(lengths) == 1 and len(next(iter(lengths))) < 2


def _holds_arrays(X):
  return getattr(X, "ndim", 0) == 1 and len(X) > 0 and np.ndim(X[0]) > 0
