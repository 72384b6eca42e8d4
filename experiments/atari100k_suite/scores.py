"""Human-normalized scores on Atari-100k, with published ones.

A score is the mean return of one run's evaluation games, unclipped. Normalized,
0 is a random player and 1 a human one. `published` has the other agents'
numbers. For most of them only one mean score per game is known, and no single
runs: means and medians over games can be compared with theirs, but not the
interquartile mean (IQM) and the optimality gap of single runs (Agarwal et al.,
arXiv:2108.13264). The same aggregates of mean scores are different quantities,
and are labeled as such.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import math
import os
import pathlib
from typing import Any
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from experiments.atari100k_suite import published
from jaxseq import validate
from jaxseq.training import aggregates
from jaxseq.training import files
from jaxseq.training import plots
from jaxseq.training import tables

TABLE = "suite.txt"
AGAINST = ("DER", "DrQ", "SPR", "BBF RR8")
# Headings of the aggregates, by their names in `aggregates.AGGREGATES`.
TITLES = {k: k.replace("_", " ") for k in aggregates.AGGREGATES} | {
  "iqm": "IQM"
}


class Table(NamedTuple):
  """The arguments of `tables.show` and `tables.render`."""

  columns: list[str]
  rows: list[list[str]]
  title: str


class Report(NamedTuple):
  """The tables and files of `write`.

  Attributes:
    tables: scores of each game, and aggregates.
    aggregates: result of `aggregates.aggregates`.
    pictures: the files; empty if matplotlib is not installed.
  """

  tables: tuple[Table, Table]
  aggregates: dict[str, tuple[float, float, float]]
  pictures: tuple[pathlib.Path, ...]


def check_game(game: str) -> None:
  """Raises a ValueError unless a name is a game of Atari-100k."""
  validate.choice("game", game, published.GAMES)


def normalize(game: str, score: ArrayLike) -> np.ndarray:
  """Returns (score - random) / (human - random) on a game, such as "qbert".

  Maps mean returns of unclipped games, of any shape, to float64.

  Raises:
    ValueError: if there is no such game among the 26.
  """
  check_game(game)
  low, high = published.RANDOM[game], published.HUMAN[game]
  return (np.asarray(score, float) - low) / (high - low)


def normalized_table(scores: Mapping[str, Sequence[float]]) -> np.ndarray:
  """Returns normalized scores as the array for `aggregates`.

  Maps games with the scores of their runs, equally many of each, to a (runs,
  games) float64 array, with columns in the order of the mapping.

  Raises:
    ValueError: if there are no games, a name is unknown, a score is not finite,
      or games differ in their number of runs.
  """
  if not scores:
    raise validate.error("scores", scores, "at least one game")
  columns = {game: normalize(game, values) for game, values in scores.items()}
  for game, column in columns.items():
    if column.ndim != 1 or not column.size or not np.isfinite(column).all():
      expected = "finite numbers, one per run"
      raise validate.error(f"scores[{game!r}]", scores[game], expected)
  counts = {game: column.size for game, column in columns.items()}
  if len(set(counts.values())) > 1:
    raise validate.error("scores", counts, "equally many runs of each game")
  return np.stack(list(columns.values()), axis=1)


def published_table(agent: str, games: Sequence[str]) -> np.ndarray:
  """Returns the mean scores of an agent in `published.SCORES`, normalized.

  The array (1, games) float64 has a mean over runs per game, not single runs.

  Raises:
    ValueError: if an agent or a game is unknown.
  """
  validate.choice("agent", agent, published.SCORES)
  scores = published.SCORES[agent]
  return normalized_table({game: [scores.get(game)] for game in games})


def published_aggregates(
  games: Sequence[str],
) -> dict[str, published.Aggregates]:
  """Returns the aggregate scores of other agents on the same games.

  They are, by agent, the published aggregates for all 26 games; for fewer games
  the mean and the median, computed from published scores.

  Raises:
    ValueError: if a game is unknown.
  """
  if set(games) == set(published.GAMES):
    return dict(published.AGGREGATES)
  source = "computed from published scores of the games"
  aggregates_by_agent = {}
  for agent in published.SCORES:
    table = published_table(agent, games)
    values = (float(f(table)) for f in (aggregates.mean, aggregates.median))
    aggregates_by_agent[agent] = published.Aggregates(*values, source=source)
  return aggregates_by_agent


def sample_efficiency(
  curves: Mapping[str, tuple[ArrayLike, ArrayLike]], **options: Any
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the IQM over the course of training.

  The score of a run at a step is its last finite one up to that step.

  Args:
    curves: games to (steps (n,), ascending, and scores (runs, n)); n may
      differ between games.
    **options: options of `aggregates.bootstrap` at each step; 500 resamples by
      default.

  Returns:
    Steps (m,), all steps of the curves from the first one on at which every run
    of every game has a score, and (3, m): IQM, lower and upper ends.

  Raises:
    ValueError: if shapes do not fit, or some run has no score.
  """
  if not curves:
    raise validate.error("curves", curves, "at least one game")
  curves = {game: _curve(game, *curve) for game, curve in curves.items()}
  grid = np.unique(np.concatenate([steps for steps, _ in curves.values()]))
  held = {
    game: np.array([_hold(steps, row, grid) for row in values])
    for game, (steps, values) in curves.items()
  }
  finite = np.isfinite(np.concatenate(list(held.values())))
  first = int(np.argmax(finite.all(axis=0)))
  points = []
  for i in range(first, grid.size):
    table = normalized_table({game: rows[:, i] for game, rows in held.items()})
    ends = aggregates.bootstrap(table, **{"resamples": 500, **options})
    points.append((aggregates.iqm(table), *ends))
  return grid[first:], np.transpose(points)


def write(
  directory: str | os.PathLike,
  scores: Mapping[str, Sequence[float]],
  *,
  name: str = "ours",
  against: Sequence[str] = AGAINST,
  curves: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
  **options: Any,
) -> Report:
  """Writes the table of a suite and its figures.

      suite.txt              scores of each game, and aggregates
      aggregates.png         aggregates with intervals, and published ones
      profile.png            share of runs above each level
      sample_efficiency.png  IQM over training, if there are curves

  Args:
    directory: output directory; created if it does not exist.
    scores: games to the scores of their runs, equally many of each.
    name: name of the agent; ", ours" is appended if a published one has the
      same name.
    against: names in `published.SCORES` to show scores and profiles of.
    curves: see `sample_efficiency`; None for no curves.
    **options: options of `aggregates.bootstrap` for the aggregates, such as
      `resamples`.

  Returns:
    The tables, the aggregates and the names of the pictures.

  Raises:
    ValueError: as `normalized_table` and `sample_efficiency`, or if a name in
      `against` is unknown.
  """
  if name in published.AGGREGATES:
    name = f"{name}, ours"
  table, games = normalized_table(scores), list(scores)
  ours = aggregates.aggregates(table, **options)
  others = published_aggregates(games)
  rivals = {agent: published_table(agent, games) for agent in against}
  shown = (
    _games_table(scores, table, name, against),
    _aggregates_table(games, table, name, ours, others),
  )
  directory = write_tables(directory, TABLE, *shown)
  pictures = [
    _draw_aggregates(directory, name, ours, others),
    _draw_profiles(directory, table, name, rivals),
  ]
  if curves is not None:
    steps, (iqm, low, high) = sample_efficiency(curves)
    pictures.append(
      plots.learning_curve(
        directory / "sample_efficiency.png",
        {"IQM": (steps, iqm), "97.5 %": (steps, high), "2.5 %": (steps, low)},
        xlabel="agent steps",
        ylabel="human-normalized score",
        title=f"IQM over {num_games(len(curves))}, and its 95 % bootstrap "
        "interval",
      )
    )
  return Report(shown, ours, tuple(file for file in pictures if file))


def write_tables(
  directory: str | os.PathLike, name: str, *rendered: Table
) -> pathlib.Path:
  """Writes tables to a file in a directory; creates and returns it."""
  directory = pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  text = "\n\n".join(tables.render(*table) for table in rendered)
  files.write_text(directory / name, text + "\n")
  return directory


def interval_format(runs: int) -> tuple[str, str]:
  """Returns the format of values with intervals, and words for the title."""
  if runs == 1:
    return "{:.3f}", ""
  return "{:.3f} [{:.3f}, {:.3f}]", ", with 95 % bootstrap intervals"


def _curve(game, steps, values):
  """Returns a curve as arrays (n,) and (runs, n)."""
  steps, values = np.asarray(steps), np.asarray(values, float)
  fits = steps.ndim == 1 and values.shape[1:] == steps.shape
  came, wanted = "", ""
  if not fits or (np.diff(steps) < 0).any():
    came = f"shape {steps.shape} and {values.shape}"
    wanted = "ascending steps (n,) and scores (runs, n)"
  elif not np.isfinite(values).any(axis=1).all():
    came, wanted = values, "a finite score of each run"
  if wanted:
    raise validate.error(f"curves[{game!r}]", came, wanted)
  return steps, values


def _hold(steps, values, grid):
  """Returns the last finite value up to each step of a grid; NaN before it."""
  finite = np.isfinite(values)
  index = np.searchsorted(steps[finite], grid, side="right") - 1
  return np.where(index < 0, np.nan, values[finite][index])


def num_games(count: int) -> str:
  """Returns the number of the benchmark's games in words."""
  if count == len(published.GAMES):
    return f"all {count} games"
  return f"{count} of the {len(published.GAMES)} games"


def _num_runs(table):
  return "1 run" if len(table) == 1 else f"{len(table)} runs"


def _games_table(scores, table, name, against) -> Table:
  others = {
    "random": published.RANDOM,
    "human": published.HUMAN,
    **{agent: published.SCORES[agent] for agent in against},
  }
  rows = [
    [
      game,
      tables.mean_std(scores[game], digits=1),
      tables.mean_std(table[:, i]),
      *(
        f"{scores_of_agent[game]:>8.1f}" for scores_of_agent in others.values()
      ),
    ]
    for i, game in enumerate(scores)
  ]
  return Table(
    ["game", name, "normalized", *(f"{other:>8}" for other in others)],
    rows,
    f"Scores on {num_games(len(rows))}: mean ± standard deviation over "
    f"{_num_runs(table)}; published means",
  )


def _aggregates_table(games, table, name, ours, others) -> Table:
  form, intervals = interval_format(len(table))
  cells = [form.format(*ours[key]) for key in TITLES]
  rows = [[name, str(len(table)), *cells, _iqm_of_means(table)]]
  for agent, aggregates_of_agent in others.items():
    values = [getattr(aggregates_of_agent, key) for key in TITLES]
    runs = (
      "-" if aggregates_of_agent.runs is None else str(aggregates_of_agent.runs)
    )
    cells = ["-" if value is None else f"{value:.3f}" for value in values]
    of_means = "-"
    if agent in published.SCORES:
      of_means = _iqm_of_means(published_table(agent, games))
    rows.append([agent, runs, *cells, of_means])
  return Table(
    ["agent", "runs", *TITLES.values(), "IQM of means"],
    rows,
    f"Human-normalized aggregates over {num_games(len(games))}{intervals}; "
    "IQM of means: of one mean score per game, not of runs",
  )


def _iqm_of_means(table):
  return f"{aggregates.iqm(table.mean(axis=0, keepdims=True)):.3f}"


def _draw_aggregates(directory, name, ours, others):
  """Draws aggregates; unknown values and intervals of others are NaN."""
  panels = {}
  for key, title in TITLES.items():
    panels[title] = {name: ours[key]}
    for agent, result in others.items():
      value = getattr(result, key)
      value = math.nan if value is None else value
      panels[title][agent] = value, math.nan, math.nan
  return plots.intervals(directory / "aggregates.png", panels)


def _draw_profiles(directory, table, name, rivals):
  """Draws each run's share of games above a level: their mean and spread."""
  means = {f"{agent}, means": rows for agent, rows in rivals.items()}
  taus = np.linspace(0.0, 3.0, 121)
  return plots.learning_curve(
    directory / "profile.png",
    {
      label: (
        taus,
        [aggregates.performance_profile(row[None], taus) for row in rows],
      )
      for label, rows in ({name: table} | means).items()
    },
    xlabel="human-normalized score",
    ylabel="share of scores above it",
    title=f"{num_games(table.shape[1])}, {name}: {_num_runs(table)} on each",
  )
