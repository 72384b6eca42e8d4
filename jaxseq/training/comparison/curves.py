"""Curves and speeds of arms, from the metrics in their directories."""

import math
import pathlib
from typing import Literal

import numpy as np

from jaxseq.training import per_seed
from jaxseq.training import scalars

# Who made all its steps in so many seconds has made them.
_ROUNDING = 1e-6


def curve(
  directory: pathlib.Path, metric: str = "episode_return"
) -> tuple[np.ndarray, np.ndarray]:
  """Returns steps (n,) and values (seeds, n) of a metric of an arm."""
  return scalars.column(scalars.read(directory), metric)


def speed(
  directory: pathlib.Path, clock: Literal["wall", "cpu"] = "wall"
) -> float:
  """Returns an arm's median steps per second of a seed, NaN if unknown.

  Args:
    directory: of the arm.
    clock: "cpu" counts the seconds that the process has had of all cores.
  """
  name = {"wall": "steps_per_second", "cpu": "steps_per_cpu_second"}[clock]
  _, values = curve(directory, name)
  return float(np.median(values)) if values.size else math.nan


def total(directory: pathlib.Path, metric: str) -> per_seed.PerSeed:
  """Returns the sums of a metric that counts something, for each seed."""
  _, values = curve(directory, metric)
  return per_seed.PerSeed(int(seed.sum()) for seed in np.nan_to_num(values))


def of_training(
  directory: pathlib.Path, metric: str = "episode_return"
) -> dict[str, per_seed.PerSeed]:
  """Returns means of a metric over the training of each seed.

  Args:
    directory: of the arm.
    metric: its values are NaN where there is nothing to tell, such as in
      updates in which no episode ended.

  Returns:
    Lists over seeds: `training`, the mean of the last twentieth of the
    training; `best`, the highest mean over a twentieth of it; `overall`, the
    mean over all of it. Each is NaN if nothing in it is finite.
  """
  _, values = curve(directory, metric)
  span = max(1, values.shape[1] // 20)
  return {
    "training": per_seed.PerSeed(_mean(seed[-span:]) for seed in values),
    "best": per_seed.PerSeed(highest_mean(seed, span) for seed in values),
    "overall": per_seed.PerSeed(_mean(seed) for seed in values),
  }


def after(
  directory: pathlib.Path,
  seconds: float,
  metric: str = "episode_return",
  clock: Literal["wall", "cpu"] = "wall",
) -> per_seed.PerSeed:
  """Returns what each seed had reached in so many seconds of training.

  Args:
    directory: of the arm.
    seconds: of all seeds together, by the median `speed`, without compilation.
    metric: as for `of_training`.
    clock: as for `speed`.

  Returns:
    Means of the metric over the last twentieth of what was done by then; NaN
    where nothing was, and of the whole training at most.
  """
  steps, values = curve(directory, metric)
  reached = steps <= speed(directory, clock) * seconds * (1 + _ROUNDING)
  values = values[:, : np.count_nonzero(reached)]
  span = max(1, values.shape[1] // 20)
  return per_seed.PerSeed(_mean(seed[-span:]) for seed in values)


def highest_mean(values: np.ndarray, span: int) -> float:
  """Returns the highest mean of `span` of the values (n,) in a row.

  Values that are not finite are ignored; the mean is NaN if all of them are.
  """
  starts = range(len(values) - span + 1)
  means = [_mean(values[i : i + span]) for i in starts]
  return max(filter(math.isfinite, means), default=math.nan)


def _mean(values):
  """Returns the mean of the finite numbers; NaN without finite numbers."""
  finite = values[np.isfinite(values)]
  return float(finite.mean()) if finite.size else math.nan
