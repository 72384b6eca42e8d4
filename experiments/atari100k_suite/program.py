"""Atari-100k: all agents of a config on many games, and published agents."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from experiments.atari100k_suite import published
from experiments.atari100k_suite import score_comparison
from experiments.atari100k_suite import scores
from jaxseq import validate
from jaxseq.rl import envs
from jaxseq.spr import spr_arms
from jaxseq.training import configuration
from jaxseq.training import finite
from jaxseq.training import tables
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import curves
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import report
from jaxseq.training.comparison import suite


@dataclasses.dataclass(frozen=True)
class Config(spr_arms.Config):
  """A comparison of agents on several games of Atari.

  Attributes:
    games: names of games; by default all of Atari-100k.
    against: published agents to compare with, names in `published.SCORES`.
  """

  _: dataclasses.KW_ONLY
  games: tuple[str, ...] = arms.free(published.GAMES)
  against: tuple[str, ...] = arms.free(scores.AGAINST)

  def __post_init__(self):
    super().__post_init__()
    if not self.games or len(set(self.games)) < len(self.games):
      expected = "one or more, each of them once"
      raise validate.error("games", self.games, expected)
    for game in self.games:
      scores.check_game(game)
    for agent in self.against:
      scores.published_table(agent, self.games)
    for name, fields in self.arms.items():
      if "env_id" in fields:
        raise validate.error(
          f"arms.{name}.env_id",
          fields["env_id"],
          "none: all arms play `games`",
        )


def make_runs(
  config: Config,
) -> dict[str, tuple[spr_arms.Config, dict[str, spr_arms.Arm]]]:
  """Returns the comparison on every game, and its arms.

  Raises:
    ValueError: if a field is unknown or wrong, or a game cannot be played.
  """
  runs = {}
  for game in config.games:
    settings = configuration.merged(
      config.settings, {"env_id": envs.atari_id(game)}
    )
    local = suite.narrow(config, spr_arms.Config, settings=settings)
    runs[game] = local, spr_arms.make_arms(local)
  return runs


def finish(
  config: Config,
  directory: pathlib.Path,
  results: Any,
  mode: str,
  failed: finite.Failed = arms.EMPTY,
) -> None:
  """Shows and writes the tables, the plots and, after training, all results.

  Agents with a run without a score on some game have no aggregates.
  """
  place = directory / ("summary" if mode == "train" else "evaluation")
  agents = {}
  for name in config.arms:
    played = {
      game: suite.values(config, found, name, "evaluation")
      for game, found in results.items()
    }
    lost = [g for g, values in played.items() if not np.isfinite(values).all()]
    if lost:
      print(f"{name}: no aggregates, a run has no score on {', '.join(lost)}\n")
    else:
      agents[name] = played
  summary = {"games": results, "aggregates": {}}
  for name, played in agents.items():
    written = scores.write(
      place / name,
      played,
      name=name,
      against=config.against,
      curves=_curves(config, directory, name) if mode == "train" else None,
    )
    summary["aggregates"][name] = written.aggregates
    for table in written.tables:
      tables.show(*table)
      print()
    print(f"Pictures: {', '.join(map(str, written.pictures)) or 'none'}\n")
  if len(agents) > 1:
    found = score_comparison.write(place, agents)
    summary["improvements"] = found.improvements
    tables.show(*found.table)
    print(f"\nPicture: {found.picture or 'none'}\n")
  if mode == "train":
    report.write(directory, summary, failed)


def _curves(config, directory, name):
  """Returns the returns in training; None if a run finished no game."""
  found = {game: curves.curve(directory / game / name) for game in config.games}
  for game, (_, values) in found.items():
    if not np.isfinite(values).any(axis=1).all():
      print(f"{name}: no curve over training, a run ended no game of {game}")
      return None
  return found


def work(config: Config, program: experiment.Experiment) -> suite.Suite:
  """Returns the runs, one for each game."""

  def show(game, results):
    for name, result in results.items():
      values = result["evaluation"]
      print(
        f"{game}, {name}: {tables.mean_std(values, 1)}, normalized "
        f"{tables.mean_std(scores.normalize(game, values))}",
        flush=True,
      )

  def end(directory, results, failed):
    finish(config, directory, results, program.mode, failed)

  return suite.Suite("spr", make_runs(config), end, done=show)
