"""Mean and deviation of training data, which standardize all data."""

from collections.abc import Sequence
from typing import NamedTuple

from absl import logging
import numpy as np

from jaxseq import validate

# More deviations from the mean than values in the right unit ever have.
FAR = 100.0
# Deviations of constants after rounding, as shares of the largest value.
_ROUNDING = 8 * np.finfo(np.float64).eps


class Scale(NamedTuple):
  """A mean and a positive deviation of each channel.

  Attributes:
    mean: subtracted from values.
    deviation: divides the difference.
  """

  mean: tuple[float, ...]
  deviation: tuple[float, ...]

  @classmethod
  def of(cls, values: np.ndarray) -> "Scale":
    """Returns the scale of training values (n, channels).

    NaN is left out. Channels that are constant up to rounding have their size
    as deviation, or 1 if it is 0, so that any unit keeps them in range.
    """
    with np.errstate(invalid="ignore"):
      mean, deviation = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
      largest = np.nanmax(np.abs(values), axis=0)
    deviation = _changing(deviation, largest)
    return cls(tuple(map(float, mean)), tuple(map(float, deviation)))


def _changing(deviation, largest):
  """Replaces the deviations (channels,) of constants by their size."""
  size = np.where(largest > 0, largest, 1.0)
  return np.where(deviation > _ROUNDING * largest, deviation, size)


class Moments(NamedTuple):
  """Moments of values that come in chunks; fields are (channels,) float64.

  Attributes:
    count: number of values so far, without NaN.
    mean: mean of the values.
    squares: sum of their squared distances from the mean.
    largest: largest absolute value.
  """

  count: np.ndarray
  mean: np.ndarray
  squares: np.ndarray
  largest: np.ndarray

  @classmethod
  def of(cls, values: np.ndarray) -> "Moments":
    """Returns the moments of values (n, channels); NaN is left out."""
    known = ~np.isnan(values)
    count = known.sum(axis=0).astype(np.float64)
    mean = np.where(known, values, 0).sum(axis=0) / np.maximum(count, 1)
    away = np.where(known, values - mean, 0)
    largest = np.where(known, np.abs(values), 0).max(axis=0, initial=0.0)
    return cls(count, mean, np.square(away).sum(axis=0), largest)

  def merged(self, other: "Moments") -> "Moments":
    """Returns the moments of both chunks together (Chan et al., 1979)."""
    count = self.count + other.count
    share = other.count / np.maximum(count, 1)
    shift = other.mean - self.mean
    return Moments(
      count,
      self.mean + share * shift,
      self.squares + other.squares + self.count * share * shift**2,
      np.maximum(self.largest, other.largest),
    )

  def scale(self) -> Scale:
    """Returns the scale of all values so far, see `Scale.of`."""
    deviation = np.sqrt(self.squares / np.maximum(self.count, 1))
    deviation = _changing(deviation, self.largest)
    return Scale(tuple(self.mean.tolist()), tuple(deviation.tolist()))


def check(
  name: str,
  mean: tuple[float, ...] | None,
  deviation: tuple[float, ...] | None,
) -> None:
  """Raises ValueError unless there is a positive deviation for each mean."""
  if (mean is None) != (deviation is None) or (
    mean is not None and len(mean) != len(deviation or ())
  ):
    raise validate.error(name, deviation, "as many numbers as the means")
  if deviation is not None and not (deviation and min(deviation) > 0):
    raise validate.error(name, deviation, "numbers above 0")


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
  """Converts standardized values (..., channels) back to their units."""
  if mean is None:
    return np.asarray(values, np.float64)
  return values * np.array(deviation) + np.array(mean)


def tell_far(
  values: np.ndarray, inside: np.ndarray, channels: Sequence[str] | None
) -> None:
  """Warns if most values of a channel are far from those of the training.

  Args:
    values: (n, time, channels), standardized; NaN where a value is missing.
    inside: (n, time) bool, False in padding.
    channels: names of the channels, or None.
  """
  rows = values[inside]
  with np.errstate(invalid="ignore"):
    far = np.count_nonzero(np.abs(rows) > FAR, axis=0)
  wrong = np.flatnonzero(2 * far > np.count_nonzero(~np.isnan(rows), axis=0))
  if len(wrong):
    first = int(wrong[0])
    name = first if channels is None else channels[first]
    more = f" (and {len(wrong) - 1} more channels)" if len(wrong) > 1 else ""
    logging.warning(
      "channel %r%s: most values are more than %g standard deviations away from"
      " the mean of the training, %g in the median; give them in the unit of"
      " the training's values.",
      *(name, more, FAR, np.nanmedian(np.abs(rows[:, first]))),
    )
