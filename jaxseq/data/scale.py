"""Mean and deviation of training data, by which all data are standardized."""

from collections.abc import Sequence
from typing import NamedTuple

from absl import logging
import numpy as np

from jaxseq import _validate

# Deviations from the mean that hardly any value has which is in its own unit.
FAR = 100.0
# Deviations of what never changes, as shares of the largest value.
_ROUNDING = 8 * np.finfo(np.float64).eps


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

    NaN is left out. What never changes, but for rounding, has its own size for
    a deviation, or 1 if it is 0: it stays where it is, in any unit.
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
  """Moments of values that come in parts; fields are (channels,) float64.

  Attributes:
    count: of the values so far, without NaN.
    mean: of them.
    squares: the sum of their squared distances from the mean.
    largest: the largest absolute value.
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
    """Returns the moments of both parts together (Chan et al., 1979)."""
    count = self.count + other.count
    share = other.count / np.maximum(count, 1)
    apart = other.mean - self.mean
    return Moments(
      count,
      self.mean + share * apart,
      self.squares + other.squares + self.count * share * apart**2,
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


def tell_far(
  values: np.ndarray, inside: np.ndarray, channels: Sequence[str] | None
) -> None:
  """Warns of a channel most of whose values are far from those of the training.

  Args:
    values: (n, time, channels), standardized; NaN where one is missing.
    inside: (n, time) bool, which elements count.
    channels: their names, if they have any.
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
