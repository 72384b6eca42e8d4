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

import functools
import math
from typing import Any

import jax
import numpy as np

from jaxseq import _validate
from jaxseq import data

# Per cent of the truths that the intervals in a model's file are to hold.
LEVELS = (80, 95)
# Of the collection of a model's variables that has the widths.
COLLECTION = "intervals"
# Validation windows that intervals come from, at most, and numbers of them.
_WINDOWS, _NUMBERS = 4096, 2**26
# Windows that are computed together.
_BATCH = 256


def rank(count: Any, level: float) -> Any:
  """Returns which of the smallest of some errors is the half width, from 1.

  Args:
    count: number of errors, or an array of such numbers.
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
    errors: (n, ...) of examples that the network was not trained on; NaN where
      the truth is unknown.

  Returns:
    By level of `LEVELS`, as a word, (...) float32; without those levels for
    which the examples are too few.
  """
  most = int(np.max(_known(errors)))
  return {
    str(level): half_width(np.sort(np.abs(errors), axis=0), level)
    for level in LEVELS
    if fewest(level) <= most
  }


def _known(errors):
  """Counts the known errors of each place."""
  return np.count_nonzero(~np.isnan(errors), axis=0)


def half_width(errors: np.ndarray, level: float) -> np.ndarray:
  """Returns the half width (...) of the intervals of any level.

  Args:
    errors: (n, ...) absolute ones, in order; NaN behind the others where the
      truth is unknown.
    level: in per cent, from 1 on and below 100.

  Returns:
    (...) float32; -1 where too few truths are known.

  Raises:
    ValueError: the errors are too few for the level, or it is a share.
  """
  _validate.number("level", level, 0, 100)
  if 0 < level < 1:
    expected = "per cent, from 1 on: 90 for nine of ten"
    raise _validate.error("level", level, expected)
  known = _known(errors)
  count = int(np.max(known))
  if not 1 <= rank(count, level) <= count:
    most = 100 * count / (count + 1)
    raise _validate.error(
      "level",
      level,
      f"1 to {most:.4g}, the most that {count} windows tell",
    )
  place = np.asarray(rank(known, level))
  inside = np.minimum(place, len(errors)) - 1
  width = np.take_along_axis(errors, inside[None], axis=0)[0]
  return np.where(place > known, -1, width).astype(np.float32)


def errors(
  network: Any, variables: Any, windows: data.ArrayDataset
) -> np.ndarray:
  """Returns how far forecasts are off, in order.

  Args:
    network: the trained network, a Flax module from inputs to forecasts.
    variables: its variables.
    windows: which it was not trained on; of many it is some, evenly spaced.

  Returns:
    (n, horizon, channels) absolute errors, rising along the first axis; NaN at
    its end for values that were filled.
  """
  targets = windows.targets
  most = min(_WINDOWS, max(_NUMBERS // targets[0].size, 1))
  count = min(len(targets), most)
  places = np.linspace(0, len(targets) - 1, count).astype(int)
  parts = []
  for start in range(0, count, _BATCH):
    # The last batch is filled up, so that one program serves all.
    rows = places[np.minimum(np.arange(start, start + _BATCH), count - 1)]
    extras = windows.extras
    along = [x if x is None else x[rows] for x in (extras.known, extras.series)]
    arguments = (windows.inputs[rows], *along)
    forecast = np.asarray(_forecast(network, variables, *arguments))
    error = np.abs(forecast - targets[rows])
    if (known := extras.observed) is not None:
      error[~known[rows, -targets.shape[1] :]] = np.nan
    parts.append(error[: count - start])
  return np.sort(np.concatenate(parts), axis=0)


def with_intervals(variables: Any, errors: np.ndarray) -> Any:
  """Returns variables with the half widths of intervals.

  Args:
    variables: of a network.
    errors: see `errors`.

  Returns:
    The variables with one more collection, `COLLECTION`, of half
    widths (horizon, channels) by level; as they came where the errors are too
    few.
  """
  widths = half_widths(errors)
  return {**variables, COLLECTION: widths} if widths else variables


@functools.partial(jax.jit, static_argnums=0)
def _forecast(network, variables, *arguments):
  return network.apply(variables, *arguments)
