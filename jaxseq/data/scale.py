"""Mean and deviation of training data, by which all data are standardized."""

from typing import NamedTuple

import numpy as np

from jaxseq import _validate


class Scale(NamedTuple):
  """A mean and a deviation above 0 of each channel.

  Attributes:
    mean: which is subtracted.
    deviation: which then divides.
  """

  mean: tuple[float, ...]
  deviation: tuple[float, ...]

  @classmethod
  def of(cls, values: np.ndarray) -> "Scale":
    """Returns the scale of training values (n, channels).

    NaN is left out. What never changes, but for rounding, has the deviation 1:
    it stays where it is.
    """
    with np.errstate(invalid="ignore"):
      mean, deviation = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
      rounding = (
        8 * np.finfo(np.float64).eps * np.nanmax(np.abs(values), axis=0)
      )
    deviation = np.where(deviation > rounding, deviation, 1.0)
    return cls(tuple(map(float, mean)), tuple(map(float, deviation)))


def check(
  name: str,
  mean: tuple[float, ...] | None,
  deviation: tuple[float, ...] | None,
) -> None:
  """Raises ValueError unless deviations are as many as means, and above 0."""
  if (mean is None) != (deviation is None) or (
    mean is not None and len(mean) != len(deviation or ())
  ):
    raise _validate.error(name, deviation, "as many numbers as the means")
  if deviation is not None and not (deviation and min(deviation) > 0):
    raise _validate.error(name, deviation, "numbers above 0")


def apply(
  values: np.ndarray,
  mean: tuple[float, ...] | None,
  deviation: tuple[float, ...] | None,
) -> np.ndarray:
  """Returns values (..., channels) standardized if there is a mean; float32."""
  if mean is not None:
    values = (values - np.array(mean)) / np.array(deviation)
  return values.astype(np.float32)


def undo(
  values: np.ndarray,
  mean: tuple[float, ...] | None,
  deviation: tuple[float, ...] | None,
) -> np.ndarray:
  """Returns standardized values (..., channels) in their own units."""
  if mean is None:
    return np.asarray(values, np.float64)
  return values * np.array(deviation) + np.array(mean)
