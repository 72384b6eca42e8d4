"""Checks of the arrays that a caller hands in, for every metric."""

import jax
import numpy as np

from jaxseq import validate


def code_array(
  codes: jax.typing.ArrayLike, name: str = "codes", least: int = 1
) -> np.ndarray:
  """Returns codes as float64, checked."""
  array = np.asarray(codes)
  if array.ndim != 2 or array.dtype.kind not in "biuf" or not len(array):
    raise _wrong(name, array, "(examples, codes) real numbers, and an example")
  if array.shape[1] < least:
    raise _wrong(name, array, f"at least {least} codes")
  array = array.astype(np.float64)
  infinite = np.flatnonzero(~np.isfinite(array).all(0)).tolist()
  if infinite:
    raise _wrong(f"{name}, columns {infinite}", array, "finite numbers")
  return array


def varying(codes: np.ndarray) -> np.ndarray:
  """Returns which columns of codes vary, (D,) bool; at least one must."""
  varies = np.ptp(codes, axis=0) > 0
  if not varies.any():
    raise validate.error("codes", "constants", "a column that varies")
  return varies


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
    raise _wrong(name, array, "(examples, factors) integers")
  if len(array) != examples:
    raise _wrong(name, array, f"a row for each of the {examples} examples")
  if array.shape[1] < least:
    raise _wrong(name, array, f"at least {least} factors")
  array = array.astype(np.int64)
  constant = np.flatnonzero(np.ptp(array, axis=0) == 0).tolist()
  if constant and not may_be_constant:
    name = f"{name}, columns {constant}"
    raise validate.error(name, "constants", "at least two levels in each")
  return array


def label_array(
  labels: jax.typing.ArrayLike, examples: int, name: str
) -> np.ndarray:
  """Returns labels (n,) as int64, checked."""
  array = np.asarray(labels)
  if array.shape != (examples,) or array.dtype.kind not in "biu":
    raise _wrong(name, array, f"({examples},) integers")
  return array.astype(np.int64)


def alike(
  name: str, array: np.ndarray, other_name: str, other: np.ndarray, noun: str
) -> None:
  """Checks that a table has as many columns as another one."""
  if array.shape[1] != other.shape[1]:
    expected = f"{other.shape[1]} {noun}, as {other_name}"
    raise validate.error(name, f"shape {array.shape}", expected)


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
  least: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
  """Returns the checked arrays that a metric fits and scores on."""
  codes, factors = pair(codes, factors, codes_least=least, factors_least=least)
  # A factor that happens not to vary in a test set is no mistake.
  codes_test, factors_test = pair(
    codes_test, factors_test, "_test", may_be_constant=True
  )
  alike("codes_test", codes_test, "codes", codes, "codes")
  alike("factors_test", factors_test, "factors", factors, "factors")
  return codes, factors, codes_test, factors_test


def matrix(
  values: jax.typing.ArrayLike, name: str, rows: int = 1, columns: int = 1
) -> np.ndarray:
  """Returns a matrix (D, K) of numbers >= 0 as float64, checked."""
  array = np.asarray(values, np.float64)
  if array.ndim != 2 or array.shape[0] < rows or array.shape[1] < columns:
    expected = f"(codes, factors), at least {rows} x {columns}"
    raise validate.error(name, f"shape {array.shape}", expected)
  if not (array >= 0).all():
    raise validate.error(name, float(array.min()), "numbers >= 0")
  return array


def _wrong(name: str, array: np.ndarray, expected: str) -> ValueError:
  got = f"dtype {array.dtype} of shape {array.shape}"
  return validate.error(name, got, expected)
