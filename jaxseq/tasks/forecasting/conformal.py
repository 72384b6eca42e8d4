"""Intervals of forecasts by split conformal prediction.

The sorted absolute errors on examples that a network was not trained on
determine the width of an interval: with n of them, the k-th smallest for k =
ceil((n + 1) level) holds the next error with a probability of at least the
level, if all n + 1 are exchangeable (Lei et al., "Distribution-Free Predictive
Inference for Regression", JASA 2018, section 2.2). There are no assumptions
about the network or the errors' distribution.

If the same examples also chose the stopping time or the seed, their errors, and
so the intervals, are a little too small. A separate part avoids this bias.
"""

import functools
import math
from typing import Any

import jax
import numpy as np

from jaxseq import data
from jaxseq import validate
from jaxseq.types import Network
from jaxseq.types import PyTree

# Levels of the intervals in a model's file, in per cent.
LEVELS = (80, 95)
# Name of the collection of variables that holds the widths.
COLLECTION = "intervals"
# Largest number of validation windows for intervals, and of their values.
_WINDOWS, _NUMBERS = 4096, 2**26
# Number of windows in a batch.
_BATCH = 256


def rank(count: Any, level: float) -> Any:
  """Returns the rank, from 1, of the error that is the half width.

  Args:
    count: number of errors, or an array of such numbers.
    level: required probability that an interval holds the truth, in per cent.

  Returns:
    The rank; more than the count if there are too few errors for the level.
  """
  # In whole numbers of millionths: 95 / 100 of 20 is 19.
  parts = round(level * 10**6)
  return -(-(count + 1) * parts // 10**8)


def fewest(level: float) -> int:
  """Returns the smallest number of errors that suffices for a level."""
  return math.ceil(level / (100 - level))


# Smallest number of errors for the lowest level.
FEWEST = fewest(LEVELS[0])


def half_widths(errors: np.ndarray) -> dict[str, np.ndarray]:
  """Returns the half widths of intervals around forecasts.

  Args:
    errors: (n, ...) on examples that the network was not trained on; NaN if the
      truth is unknown.

  Returns:
    Half widths (...) float32 by level of `LEVELS`, as a string; without levels
    that need more examples.
  """
  most = int(np.max(_known(errors)))
  return {
    str(level): half_width(np.sort(np.abs(errors), axis=0), level)
    for level in LEVELS
    if fewest(level) <= most
  }


def _known(errors):
  """Counts the known errors along the first axis."""
  return np.count_nonzero(~np.isnan(errors), axis=0)


def half_width(errors: np.ndarray, level: float) -> np.ndarray:
  """Returns the half width (...) of intervals at a level.

  Args:
    errors: (n, ...) sorted absolute errors; NaN at the end if the truth is
      unknown.
    level: in per cent, from 1 on and below 100.

  Returns:
    (...) float32; -1 if too few truths are known.

  Raises:
    ValueError: the errors are too few for the level, or it is a fraction.
  """
  validate.number("level", level, 0, 100)
  if 0 < level < 1:
    expected = "per cent, from 1 on: 90 for nine of ten"
    raise validate.error("level", level, expected)
  known = _known(errors)
  count = int(np.max(known))
  if not 1 <= rank(count, level) <= count:
    most = 100 * count / (count + 1)
    raise validate.error(
      "level",
      level,
      f"1 to {most:.4g}, the most that {count} windows tell",
    )
  place = np.asarray(rank(known, level))
  inside = np.minimum(place, len(errors)) - 1
  width = np.take_along_axis(errors, inside[None], axis=0)[0]
  return np.where(place > known, -1, width).astype(np.float32)


def errors(
  network: Network, variables: PyTree, windows: data.ArrayDataset
) -> np.ndarray:
  """Returns the sorted absolute errors of forecasts.

  Args:
    network: the trained network, a Flax module from inputs to forecasts.
    variables: its variables.
    windows: not trained on; if there are many, an evenly spaced selection is
      used.

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
    # The last batch is padded, so that one program computes all.
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


def with_intervals(variables: PyTree, errors: np.ndarray) -> Any:
  """Returns variables with the half widths of intervals.

  Args:
    variables: of a network.
    errors: see `errors`.

  Returns:
    The variables with one more collection, `COLLECTION`, of half widths
    (horizon, channels) by level; unchanged if there are too few errors.
  """
  widths = half_widths(errors)
  return {**variables, COLLECTION: widths} if widths else variables


@functools.partial(jax.jit, static_argnums=0)
def _forecast(network, variables, *arguments):
  return network.apply(variables, *arguments)
