"""Series as people hand them to an estimator."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxseq import _validate
from jaxseq.data import series_frames
from jaxseq.estimators import _scikit_learn

Series = series_frames.FrameSeries


def read(estimator: Any, X: Any, *, reset: bool) -> Series:
  """Returns series (time_i, channels) of any form, checked.

  A table (n, time), which may be a frame of numbers, is series of one channel
  and of one length; scikit-learn checks it, and that later ones are as long.

  Args:
    estimator: whose `n_features_in_` is set, or compared with; it has the
      parameters `missing` and `channels_first`.
    X: see `data.series_frames.series_of`.
    reset: whether these are the training's series.

  Raises:
    ValueError: naming what is not as expected.
  """
  finite = True if estimator.missing == "refuse" else "allow-nan"
  if _is_table(X):
    table = _scikit_learn.validation.validate_data(
      estimator, X, reset=reset, dtype=np.float64, ensure_all_finite=finite
    )
    names = tuple(map(str, range(len(table))))
    found = Series(names, list(table[:, :, None]), None)
    kind = "table"
  else:
    found = series_frames.series_of(X, channels_first=estimator.channels_first)
    kind = "series"
    if reset:
      estimator.n_features_in_ = found.values[0].shape[1]
      if hasattr(estimator, "feature_names_in_"):
        del estimator.feature_names_in_
  if reset:
    estimator.input_kind_ = kind
    estimator.channels_ = found.channels
    return found
  width = 1 if estimator.input_kind_ == "table" else estimator.n_features_in_
  got = found.values[0].shape[1]
  if got != width:
    raise _validate.error("X: channels", got, f"{width}, as in training")
  known = estimator.channels_
  if None not in (known, found.channels) and found.channels != known:
    names = list(found.channels)
    raise _validate.error("X: columns", names, f"{list(known)}, as in training")
  return found


def check_count(name: str, values: Any, count: int) -> None:
  """Raises ValueError unless there is one of `values` for each series."""
  if len(values) != count:
    raise ValueError(
      f"{name}: got {len(values)} of them, expected {count}, one for each of X."
    )


def _is_table(X):
  """Whether X is a table (n, time) of numbers, and not series of their own."""
  if isinstance(X, Mapping) or X is None or isinstance(X, str):
    return isinstance(X, str) or X is None
  if hasattr(X, "columns") and hasattr(X, "index"):
    nested = X.shape[0] and X.shape[1] and np.ndim(X.iloc[0, 0]) > 0
    return getattr(X.index, "nlevels", 1) == 1 and not nested
  if hasattr(X, "toarray") or (hasattr(X, "ndim") and X.ndim != 3):
    # Sparse matrices too, which scikit-learn refuses in its own words.
    return not _holds_arrays(X)
  if hasattr(X, "ndim") or not hasattr(X, "__len__") or not len(X):
    return not hasattr(X, "ndim")
  lengths = {np.shape(row) for row in X if not hasattr(row, "columns")}
  return len(lengths) == 1 and len(next(iter(lengths))) < 2


def _holds_arrays(X):
  return getattr(X, "ndim", 0) == 1 and len(X) > 0 and np.ndim(X[0]) > 0
