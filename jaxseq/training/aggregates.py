"""Aggregates of runs over tasks and seeds, with their intervals.

Scores are arrays (runs, tasks), normalized so that they can be compared between
tasks. Aggregates, intervals and profiles are those of Agarwal et al., "Deep
reinforcement learning at the edge of the statistical precipice",
arXiv:2108.13264, sections 4.1 to 4.3.
"""

from collections.abc import Callable
import math
from typing import Any

import numpy as np

from jaxseq import validate

Aggregate = Callable[[np.ndarray], np.ndarray]


def mean(scores: np.ndarray) -> np.ndarray:
  """Returns the mean over tasks of the mean over runs.

  Scores (..., runs, tasks) to (...,).
  """
  return np.mean(scores, axis=(-2, -1))


def median(scores: np.ndarray) -> np.ndarray:
  """Returns the median over tasks of the mean over runs.

  Scores (..., runs, tasks) to (...,).
  """
  return np.median(np.mean(scores, axis=-2), axis=-1)


def iqm(scores: np.ndarray) -> np.ndarray:
  """Returns the interquartile mean: that of the middle half of all scores.

  A quarter of them, rounded down, is left out at either end. Scores (..., runs,
  tasks) to (...,).
  """
  scores = np.asarray(scores, float)
  flat = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
  cut = flat.shape[-1] // 4
  return np.mean(flat[..., cut : flat.shape[-1] - cut], axis=-1)


def optimality_gap(scores: np.ndarray, target: float = 1.0) -> np.ndarray:
  """Returns how far scores stay below a target on average; less is better.

  What lies above it counts as the target. Scores (..., runs, tasks) to (...,).
  """
  return target - np.mean(np.minimum(scores, target), axis=(-2, -1))


AGGREGATES: dict[str, Aggregate] = {
  "mean": mean,
  "median": median,
  "iqm": iqm,
  "optimality_gap": optimality_gap,
}


def bootstrap(
  scores: np.ndarray,
  aggregate: Aggregate = iqm,
  *,
  resamples: int = 2000,
  confidence: float = 0.95,
  seed: int = 0,
) -> tuple[float, float]:
  """Returns a stratified bootstrap interval of an aggregate.

  Each resample draws as many runs as there are, with replacement, for every
  task on its own; the interval lies between percentiles of the aggregates. Of
  one run it has no width: one run says nothing of the spread.

  Args:
    scores: (runs, tasks), finite.
    aggregate: one of this module, or another function of (..., runs, tasks).
    resamples: number of resamples.
    confidence: share of the resamples inside the interval.
    seed: of the resamples.

  Returns:
    Lower and upper end.

  Raises:
    ValueError: if the scores are not a finite table, or a number is out of
      range.
  """
  scores = _table("scores", scores)
  return _bootstrap([scores], aggregate, resamples, confidence, seed)


def aggregates(
  scores: np.ndarray, **options: Any
) -> dict[str, tuple[float, float, float]]:
  """Returns each of `AGGREGATES` with the ends of its bootstrap interval.

  The scores (runs, tasks), options and errors are those of `bootstrap`.

  Returns:
    "mean", "median", "iqm" and "optimality_gap" to (value, lower end, upper
    end).
  """
  return {
    name: (float(function(scores)), *bootstrap(scores, function, **options))
    for name, function in AGGREGATES.items()
  }


def improvement(
  x: np.ndarray,
  y: np.ndarray,
  *,
  resamples: int = 2000,
  confidence: float = 0.95,
  seed: int = 0,
) -> tuple[float, float, float]:
  """Returns how probably a run of x beats one of y, with bootstrap interval.

  That is P(x > y) + P(x = y) / 2 over all pairs of runs on a task, averaged
  over tasks. The runs of x and those of y are resampled as in `bootstrap`,
  independently, with its options.

  Args:
    x: (runs, tasks), finite.
    y: (other number of runs, tasks), finite.
    resamples: number of resamples.
    confidence: share of the resamples inside the interval.
    seed: of the resamples.

  Returns:
    The probability, in [0, 1], and lower and upper end.

  Raises:
    ValueError: if an array is no finite table, the tasks differ in number, or a
      number is out of range.
  """
  pair = _pair(x, y)
  ends = _bootstrap(pair, _improvement, resamples, confidence, seed)
  return float(_improvement(*pair)), *ends


def performance_profile(scores: np.ndarray, taus: np.ndarray) -> np.ndarray:
  """Returns the share of scores above each of several levels, in [0, 1].

  From scores (runs, tasks), a ValueError if they are no finite table, and
  levels (levels,) to (levels,).
  """
  scores = _table("scores", scores)
  return np.mean(scores[None] > np.asarray(taus)[:, None, None], axis=(1, 2))


def _bootstrap(tables, function, resamples=2000, confidence=0.95, seed=0):
  """Returns the ends of the interval of a function of one or more tables."""
  validate.positive("resamples", resamples)
  if not 0 < confidence < 1:
    raise validate.error("confidence", confidence, "a number between 0 and 1")
  rng = np.random.default_rng(seed)
  tasks = tables[0].shape[1]
  values = []
  # In pieces of a few megabytes; a function may pair the runs of all tables.
  pairs = math.prod(len(table) for table in tables)
  piece = max(1, 1_000_000 // (pairs * tasks))
  for first in range(0, resamples, piece):
    count = min(piece, resamples - first)
    drawn = []
    for table in tables:
      rows = rng.integers(len(table), size=(count, *table.shape))
      drawn.append(table[rows, np.arange(tasks)])
    values.append(function(*drawn))
  tail = (1 - confidence) / 2
  low, high = np.quantile(np.concatenate(values), [tail, 1 - tail])
  return float(low), float(high)


def _improvement(x, y):
  """Returns (...,) for (..., runs, tasks) and (..., other runs, tasks)."""
  pairs = x[..., :, None, :], y[..., None, :, :]
  wins = np.greater(*pairs) + 0.5 * np.equal(*pairs)
  return np.mean(wins, axis=(-3, -2, -1))


def _pair(x, y):
  x, y = _table("x", x), _table("y", y)
  if x.shape[1] != y.shape[1]:
    raise validate.error(
      "y", f"shape {y.shape}", f"the tasks of x, {x.shape[1]}"
    )
  return x, y


def _table(name, scores):
  scores = np.asarray(scores, float)
  if scores.ndim != 2 or scores.size == 0:
    raise validate.error(name, f"shape {scores.shape}", "(runs, tasks)")
  if not np.isfinite(scores).all():
    raise ValueError(f"{name}: got NaN or infinity, expected finite numbers.")
  return scores
