"""Checks of the arrays that a caller hands in, for every metric."""

from typing import Any

import numpy as np


def code_array(codes: Any, name: str = "codes", least: int = 1) -> np.ndarray:
  """Returns codes as float64, checked.

  Args:
    codes: (n, D) numbers.
    name: of the argument, for messages.
    least: number of codes that there must be.

  Returns:
    (n, D) float64.

  Raises:
    ValueError: naming the argument, what came and what is expected.
  """
  array = np.asarray(codes)
  if array.ndim != 2 or array.dtype.kind not in "biuf" or not len(array):
    raise ValueError(
      f"{name} must be (examples, codes) real numbers of at least one example; "
      f"got {array.dtype} of shape {array.shape}."
    )
  if array.shape[1] < least:
    raise ValueError(
      f"{name} must have at least {least} codes; got shape {array.shape}."
    )
  array = array.astype(np.float64)
  if not np.isfinite(array).all():
    raise ValueError(
      f"{name} must be finite; columns "
      f"{np.flatnonzero(~np.isfinite(array).all(0)).tolist()} are not."
    )
  return array


def factor_array(
  factors: Any,
  examples: int,
  name: str = "factors",
  least: int = 1,
  may_be_constant: bool = False,
) -> np.ndarray:
  """Returns factors as int64, checked.

  Args:
    factors: (n, K) integers.
    examples: n, the number of rows of the codes.
    name: of the argument, for messages.
    least: number of factors that there must be.
    may_be_constant: whether a factor may have one level only.

  Returns:
    (n, K) int64.

  Raises:
    ValueError: naming the argument, what came and what is expected.
  """
  array = np.asarray(factors)
  if array.ndim != 2 or array.dtype.kind not in "biu":
    raise ValueError(
      f"{name} must be (examples, factors) integers; got {array.dtype} of "
      f"shape {array.shape}."
    )
  if len(array) != examples:
    raise ValueError(
      f"{name} must have a row for each of the {examples} examples; got shape "
      f"{array.shape}."
    )
  if array.shape[1] < least:
    raise ValueError(
      f"{name} must have at least {least} factors; got shape {array.shape}."
    )
  constant = np.flatnonzero(np.ptp(array.astype(np.int64), axis=0) == 0)
  if constant.size and not may_be_constant:
    raise ValueError(
      f"{name} must each have at least two levels; columns "
      f"{constant.tolist()} are constant."
    )
  return array.astype(np.int64)


def label_array(labels: Any, examples: int, name: str) -> np.ndarray:
  """Returns labels (n,) as int64, checked.

  Args:
    labels: (n,) integers.
    examples: n.
    name: of the argument, for messages.

  Raises:
    ValueError: naming the argument, what came and what is expected.
  """
  array = np.asarray(labels)
  if array.shape != (examples,) or array.dtype.kind not in "biu":
    raise ValueError(
      f"{name} must be ({examples},) integers; got {array.dtype} of shape "
      f"{array.shape}."
    )
  return array.astype(np.int64)


def pair(
  codes: Any,
  factors: Any,
  suffix: str = "",
  *,
  codes_least: int = 1,
  factors_least: int = 1,
  may_be_constant: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns codes and factors of the same examples, checked.

  Args:
    codes: (n, D) numbers.
    factors: (n, K) integers.
    suffix: of both arguments' names, as "_test".
    codes_least: number of codes that there must be.
    factors_least: number of factors that there must be.
    may_be_constant: whether a factor may have one level only.

  Raises:
    ValueError: naming the argument, what came and what is expected.
  """
  codes = code_array(codes, f"codes{suffix}", codes_least)
  factors = factor_array(
    factors, len(codes), f"factors{suffix}", factors_least, may_be_constant
  )
  return codes, factors


def train_and_test(
  codes: Any,
  factors: Any,
  codes_test: Any,
  factors_test: Any,
  codes_least: int = 1,
  factors_least: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
  """Returns what a metric fits on and what it is scored on, checked.

  Args:
    codes: (n, D) numbers.
    factors: (n, K) integers.
    codes_test: (m, D) numbers.
    factors_test: (m, K) integers.
    codes_least: number of codes that there must be.
    factors_least: number of factors that there must be.

  Raises:
    ValueError: naming the argument, what came and what is expected.
  """
  codes, factors = pair(
    codes, factors, codes_least=codes_least, factors_least=factors_least
  )
  # A factor that happens not to vary in a test set is no mistake.
  codes_test, factors_test = pair(
    codes_test, factors_test, "_test", may_be_constant=True
  )
  if codes_test.shape[1] != codes.shape[1]:
    raise ValueError(
      f"codes_test must have {codes.shape[1]} codes, as codes; got shape "
      f"{codes_test.shape}."
    )
  if factors_test.shape[1] != factors.shape[1]:
    raise ValueError(
      f"factors_test must have {factors.shape[1]} factors, as factors; got "
      f"shape {factors_test.shape}."
    )
  return codes, factors, codes_test, factors_test


def matrix(values: Any, name: str, rows: int = 1, columns: int = 1):
  """Returns a matrix (D, K) of numbers >= 0 as float64, checked.

  Args:
    values: (D, K).
    name: of the argument, for messages.
    rows: least D.
    columns: least K.

  Raises:
    ValueError: naming the argument, what came and what is expected.
  """
  array = np.asarray(values, np.float64)
  if array.ndim != 2 or array.shape[0] < rows or array.shape[1] < columns:
    raise ValueError(
      f"{name} must be (codes, factors), at least {rows} x {columns}; got "
      f"shape {array.shape}."
    )
  if not (array >= 0).all():
    raise ValueError(f"{name} must hold numbers >= 0; got {array.min()}.")
  return array


def positive(name: str, value: Any) -> int:
  """Returns a positive integer, checked.

  Args:
    name: of the argument, for messages.
    value: what came.

  Raises:
    ValueError: naming the argument and what came.
  """
  if isinstance(value, bool) or not isinstance(value, int) or value < 1:
    raise ValueError(f"{name} must be a positive integer; got {value!r}.")
  return value
