"""Figures of normalised scores: aggregates, profiles, scores over training.

They are drawn of numbers that `scores` or `score_comparison` has computed, and
are None where matplotlib is not installed.
"""

from collections.abc import Mapping
import itertools
import pathlib
import types

import numpy as np

from jaxseq.spr import published
from jaxseq.training import aggregates
from jaxseq.training import plots

# The aggregates, as `aggregates.aggregates` names them, to their headings.
TITLES = types.MappingProxyType(
  {
    "mean": "mean",
    "median": "median",
    "iqm": "IQM",
    "optimality_gap": "optimality gap",
  }
)
_TAUS = np.linspace(0.0, 3.0, 121)


def games(count: int) -> str:
  """Returns how many of the benchmark's games there are, in words."""
  if count == len(published.GAMES):
    return f"all {count} games"
  return f"{count} of the {len(published.GAMES)} games"


def runs(count: int) -> str:
  """Returns how many runs there are, in words."""
  return "1 run" if count == 1 else f"{count} runs"


def draw_aggregates(
  directory: pathlib.Path,
  name: str,
  ours: Mapping[str, tuple[float, float, float]],
  others: Mapping[str, published.Aggregates],
) -> pathlib.Path | None:
  """Draws an agent's `aggregates.aggregates`, and published ones by agent."""
  panels = {title: {name: ours[key]} for key, title in TITLES.items()}
  for agent, found in others.items():
    for key, title in TITLES.items():
      value = getattr(found, key)
      # What is not known, such as all intervals, is not drawn.
      value = np.nan if value is None else value
      panels[title][agent] = (value, np.nan, np.nan)
  return plots.intervals(directory / "aggregates.png", panels)


def profile(
  directory: pathlib.Path,
  table: np.ndarray,
  name: str,
  rivals: Mapping[str, np.ndarray],
) -> pathlib.Path | None:
  """Draws each run's share of games above a level: their mean and spread.

  Tables are (runs, games) normalized scores; those of the rivals, by name, hold
  published means.
  """
  means = {f"{agent}, means": rows for agent, rows in rivals.items()}
  labeled = {name: table, **means}
  return plots.learning_curve(
    directory / "profile.png",
    {
      label: (
        _TAUS,
        [aggregates.performance_profile(row[None], _TAUS) for row in rows],
      )
      for label, rows in labeled.items()
    },
    xlabel="human-normalised score",
    ylabel="share of scores above it",
    title=f"{games(table.shape[1])}, {name}: {runs(table.shape[0])} on each",
  )


def improvements(
  directory: pathlib.Path,
  found: Mapping[str, Mapping[str, tuple[float, float, float]]],
) -> pathlib.Path | None:
  """Draws how probably one agent beats another, with intervals.

  Of `score_comparison.improvements` each pair is drawn once: the other way
  round it is the rest to 1.
  """
  pairs = itertools.combinations(found, 2)
  bars = {f"{a} beats {b}": found[a][b] for a, b in pairs}
  return plots.intervals(
    directory / "improvement.png", {"probability of improvement": bars}
  )


def sample_efficiency(
  directory: pathlib.Path,
  count: int,
  steps: np.ndarray,
  points: np.ndarray,
) -> pathlib.Path | None:
  """Draws `scores.sample_efficiency`, the IQM over training, of some games.

  From steps (n,) and points (3, n): IQM, lower and upper ends of its interval.
  """
  iqm, low, high = points
  return plots.learning_curve(
    directory / "sample_efficiency.png",
    {"IQM": (steps, iqm), "97.5 %": (steps, high), "2.5 %": (steps, low)},
    xlabel="agent steps",
    ylabel="human-normalised score",
    title=f"IQM over {games(count)}, and its 95 % bootstrap interval",
  )
