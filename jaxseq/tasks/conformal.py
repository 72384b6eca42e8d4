"""Intervals of forecasts by split conformal prediction.

The absolute errors on examples that a network was not trained on, in order,
say how wide an interval has to be: with n of them, the k-th smallest for k =
ceil((n + 1) level) holds the next error with a probability of at least the
level, if all n + 1 are exchangeable (Lei et al., "Distribution-Free Predictive
Inference for Regression", JASA 2018, section 2.2). Nothing is assumed of the
network or of the errors' distribution.

Examples that have also chosen when training stopped, or which seed was kept,
are not quite like the next one: their errors, and so the intervals, are a
little small. A part of its own, of neither use, has none of that.
"""

import math

import numpy as np

from jaxseq import _validate

# Per cent of the truths that the intervals in a model's file are to hold.
LEVELS = (80, 95)
# Of the collection of a model's variables that has the widths.
COLLECTION = "intervals"


def rank(count: int, level: float) -> int:
  """Returns which of the smallest of some errors is the half width, from 1.

  Args:
    count: number of errors.
    level: probability that an interval is to hold the truth, in per cent.

  Returns:
    The rank; more than the count where they are too few for the level.
  """
  # In whole numbers of millionths: 95 / 100 of 20 is 19.
  parts = round(level * 10**6)
  return -(-(count + 1) * parts // 10**8)


def fewest(level: float) -> int:
  """Returns the number of errors from which on a level has intervals."""
  return math.ceil(level / (100 - level))


# Errors that the lowest of the levels takes, at least.
FEWEST = fewest(LEVELS[0])


def half_widths(errors: np.ndarray) -> dict[str, np.ndarray]:
  """Returns the half widths of intervals around forecasts.

  Args:
    errors: (n, ...) of examples that the network was not trained on.

  Returns:
    By level of `LEVELS`, as a word, (...) float32; without those levels for
    which the examples are too few.
  """
  return {
    str(level): half_width(np.sort(np.abs(errors), axis=0), level)
    for level in LEVELS
    if fewest(level) <= len(errors)
  }


def half_width(errors: np.ndarray, level: float) -> np.ndarray:
  """Returns the half width (...) of the intervals of any level.

  Args:
    errors: (n, ...) absolute ones, in order.
    level: in per cent, above 0 and below 100.

  Raises:
    ValueError: the errors are too few for the level.
  """
  _validate.number("level", level, 0, 100)
  most = 100 * len(errors) / (len(errors) + 1)
  place = rank(len(errors), level)
  if not 1 <= place <= len(errors):
    raise _validate.error(
      "level",
      level,
      f"above 0 and at most {most:.4g}, the most that {len(errors)} windows "
      "tell",
    )
  return np.asarray(errors[place - 1], np.float32)
