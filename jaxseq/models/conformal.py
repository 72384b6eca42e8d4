"""Intervals of forecasts by split conformal prediction.

The absolute errors on examples that a network was not trained on, in order,
say how wide an interval has to be: with n of them, the k-th smallest for k =
ceil((n + 1) level) holds the next error with a probability of at least the
level, if all n + 1 are exchangeable (Lei et al., "Distribution-Free Predictive
Inference for Regression", JASA 2018, section 2.2). Nothing is assumed of the
network or of the errors' distribution.
"""

import math

import numpy as np

# Per cent of the truths that intervals are to hold.
LEVELS = (80, 95)
# Of the collection of a model's variables that has the widths.
COLLECTION = "intervals"


def rank(count: int, level: int) -> int:
  """Returns which of the smallest of some errors is the half width, from 1.

  Args:
    count: number of errors.
    level: probability that an interval is to hold the truth, in per cent.

  Returns:
    The rank; more than the count where they are too few for the level.
  """
  return math.ceil((count + 1) * level / 100)


def fewest(level: int) -> int:
  """Returns the number of errors from which on a level has intervals."""
  return math.ceil(level / (100 - level))


def half_widths(errors: np.ndarray) -> dict[str, np.ndarray]:
  """Returns the half widths of intervals around forecasts.

  Args:
    errors: (n, ...) of examples that the network was not trained on.

  Returns:
    By level of `LEVELS`, as a word, (...) float32; without those levels for
    which the examples are too few.
  """
  ranks = {str(level): rank(len(errors), level) for level in LEVELS}
  ranks = {level: k for level, k in ranks.items() if k <= len(errors)}
  if not ranks:
    return {}
  places = [k - 1 for k in ranks.values()]
  found = np.partition(np.abs(errors), places, axis=0)
  return {
    level: np.asarray(found[k - 1], np.float32) for level, k in ranks.items()
  }
