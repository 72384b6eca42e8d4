"""Checks of the arrays that a caller hands in, for every metric."""

from typing import Any

import jax
import numpy as np


def code_array(
  codes: jax.typing.ArrayLike, name: str = "codes", least: int = 1
) -> np.ndarray:
  """Returns codes as float64, checked."""
  array = np.asarray(codes)
  if array.ndim != 2 or array.dtype.kind not in "biuf" or not len(array):
    raise ValueError(
      f"{name}: got {array.dtype} of shape {array.shape}, expected (examples, "
      "codes) real numbers of at least one example."
    )
  if array.shape[1] < least:
    raise ValueError(
      f"{name}: got shape {array.shape}, expected at least {least} codes."
    )
  array = array.astype(np.float64)
  if not np.isfinite(array).all():
    raise ValueError(
      f"{name}: got numbers that are not finite in columns "
      f"{np.flatnonzero(~np.isfinite(array).all(0)).tolist()}, expected finite "
      "ones."
    )
  return array


def factor_array(
  factors: jax.typing.ArrayLike,
  examples: int,
  name: str = "factors",
  least: int = 1,
  may_be_constant: bool = False,
) -> np.ndarray:
  """Returns factors as int64, checked."""
  array = np.asarray(factors)
  if array.ndim != 2 or array.dtype.kind not in "biu":
    raise ValueError(
      f"{name}: got {array.dtype} of shape {array.shape}, expected (examples, "
      "factors) integers."
    )
  if len(array) != examples:
    raise ValueError(
      f"{name}: got shape {array.shape}, expected a row for each of the "
      f"{examples} examples."
    )
  if array.shape[1] < least:
    raise ValueError(
      f"{name}: got shape {array.shape}, expected at least {least} factors."
    )
  constant = np.flatnonzero(np.ptp(array.astype(np.int64), axis=0) == 0)
  if constant.size and not may_be_constant:
    raise ValueError(
      f"{name}: got constant columns {constant.tolist()}, expected at least "
      "two levels in each."
    )
  return array.astype(np.int64)


def label_array(
  labels: jax.typing.ArrayLike, examples: int, name: str
) -> np.ndarray:
  """Returns labels (n,) as int64, checked."""
  array = np.asarray(labels)
  if array.shape != (examples,) or array.dtype.kind not in "biu":
    raise ValueError(
      f"{name}: got {array.dtype} of shape {array.shape}, expected "
      f"({examples},) integers."
    )
  return array.astype(np.int64)


def pair(
  codes: jax.typing.ArrayLike,
  factors: jax.typing.ArrayLike,
  suffix: str = "",
  *,
  codes_least: int = 1,
  factors_least: int = 1,
  may_be_constant: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns codes and factors of the same examples, checked."""
  codes = code_array(codes, f"codes{suffix}", codes_least)
  factors = factor_array(
    factors, len(codes), f"factors{suffix}", factors_least, may_be_constant
  )
  return codes, factors


def train_and_test(
  codes: jax.typing.ArrayLike,
  factors: jax.typing.ArrayLike,
  codes_test: jax.typing.ArrayLike,
  factors_test: jax.typing.ArrayLike,
  codes_least: int = 1,
  factors_least: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
  """Returns what a metric fits on and what it is scored on, checked."""
  codes, factors = pair(
    codes, factors, codes_least=codes_least, factors_least=factors_least
  )
  # A factor that happens not to vary in a test set is no mistake.
  codes_test, factors_test = pair(
    codes_test, factors_test, "_test", may_be_constant=True
  )
  if codes_test.shape[1] != codes.shape[1]:
    raise ValueError(
      f"codes_test: got shape {codes_test.shape}, expected {codes.shape[1]} "
      "codes, as codes."
    )
  if factors_test.shape[1] != factors.shape[1]:
    raise ValueError(
      f"factors_test: got shape {factors_test.shape}, expected "
      f"{factors.shape[1]} factors, as factors."
    )
  return codes, factors, codes_test, factors_test


def matrix(values: Any, name: str, rows: int = 1, columns: int = 1):
  """Returns a matrix (D, K) of numbers >= 0 as float64, checked."""
  array = np.asarray(values, np.float64)
  if array.ndim != 2 or array.shape[0] < rows or array.shape[1] < columns:
    raise ValueError(
      f"{name}: got shape {array.shape}, expected (codes, factors), at least "
      f"{rows} x {columns}."
    )
  if not (array >= 0).all():
    raise ValueError(f"{name}: got {array.min()}, expected numbers >= 0.")
  return array
