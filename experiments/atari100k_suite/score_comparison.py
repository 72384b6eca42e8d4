"""Probability that one agent beats another on Atari-100k.

The probability of improvement of Agarwal et al., arXiv:2108.13264, section 4.3,
for agents with scores of single runs, which are the agents of one suite. For
most published agents only one mean score per game is known, see `scores`.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import itertools
import os
import pathlib
from typing import Any
from typing import NamedTuple

from experiments.atari100k_suite import scores
from jaxseq import validate
from jaxseq.training import aggregates
from jaxseq.training import plots

TABLE = "improvement.txt"


class Report(NamedTuple):
  """The tables and files of `write`.

  Attributes:
    table: table of the probabilities.
    improvements: result of `improvements`.
    picture: the file; None if matplotlib is not installed.
  """

  table: scores.Table
  improvements: dict[str, dict[str, tuple[float, float, float]]]
  picture: pathlib.Path | None


def improvements(
  agents: Mapping[str, Mapping[str, Sequence[float]]], **options: Any
) -> dict[str, dict[str, tuple[float, float, float]]]:
  """Returns the probability that a run of each agent beats one of another.

  Args:
    agents: by name, the scores of the runs by game: the same games for all
      agents, equally many runs of each.
    **options: options of `aggregates.improvement`, such as `resamples`.

  Returns:
    By agent and by other agent, `aggregates.improvement` of their runs.

  Raises:
    ValueError: as `scores.normalized_table`, or if agents differ in games.
  """
  games = list(next(iter(agents.values()), {}))
  tables_of = {}
  for name, played in agents.items():
    if set(played) != set(games):
      expected = f"scores of the games {games}, as of the first agent"
      raise validate.error(f"agents[{name!r}]", list(played), expected)
    tables_of[name] = scores.normalized_table({g: played[g] for g in games})
  results = {name: {} for name in agents}
  for a, b in itertools.combinations(agents, 2):
    value, low, high = aggregates.improvement(
      tables_of[a], tables_of[b], **options
    )
    results[a][b] = value, low, high
    results[b][a] = 1 - value, 1 - high, 1 - low
  return results


def write(
  directory: str | os.PathLike,
  agents: Mapping[str, Mapping[str, Sequence[float]]],
  **options: Any,
) -> Report:
  """Writes the probability that each agent of a suite beats each other one.

      improvement.txt  probabilities with intervals
      improvement.png  the same, of each pair once

  Args:
    directory: output directory; created if it does not exist.
    agents: see `improvements`; two or more.
    **options: options of `aggregates.improvement`, such as `resamples`.

  Returns:
    The table, the probabilities and the name of the picture.

  Raises:
    ValueError: as `improvements`, or if there are fewer than two agents.
  """
  if len(agents) < 2:
    raise validate.error("agents", list(agents), "two or more, to compare them")
  results = improvements(agents, **options)
  games = next(iter(agents.values()))
  runs = max(len(played[game]) for played in agents.values() for game in games)
  form, intervals = scores.interval_format(runs)
  rows = [
    [a, *("-" if a == b else form.format(*results[a][b]) for b in agents)]
    for a in agents
  ]
  title = (
    "Probability that a run of the row's agent beats one of the column's, mean "
    f"over {scores.num_games(len(games))}{intervals}"
  )
  table = scores.Table(["agent", *agents], rows, title)
  directory = scores.write_tables(directory, TABLE, table)
  # Each pair once: the reverse probability is one minus it.
  pairs = itertools.combinations(results, 2)
  bars = {f"{a} beats {b}": results[a][b] for a, b in pairs}
  picture = plots.intervals(
    directory / "improvement.png", {"probability of improvement": bars}
  )
  return Report(table, results, picture)
