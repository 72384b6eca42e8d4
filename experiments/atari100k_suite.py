r"""Atari-100k: every agent of a config on many games, beside published ones.

    python -m experiments.atari100k_suite \
      --config=configs/atari100k_suite/atari100k.py --workdir=DIR
    python -m experiments.atari100k_suite --config=... --workdir=DIR \
      --mode=evaluate

Each game is a run of `experiments.spr` in the sub-directory of its name, and
what is finished is not done again; games may be added later. For every agent
the suite ends with a table of scores, one of human-normalised aggregates with
bootstrap intervals, and the pictures of `jaxseq.spr.scores` in
`DIR/summary/AGENT`; if there are several, with how probably each beats each
other one, in `DIR/summary`; and with `DIR/results.json`. The second command
plays new games with the newest checkpoints, and writes to `DIR/evaluation`.
"""

from collections.abc import Mapping
import dataclasses
import json
import pathlib
from typing import Any

import ml_collections
import numpy as np

from experiments import spr
from jaxseq import _validate
from jaxseq.rl import envs
from jaxseq.spr import published
from jaxseq.spr import score_comparison
from jaxseq.spr import scores
from jaxseq.spr import study
from jaxseq.training import app
from jaxseq.training import configuration
from jaxseq.training import errors
from jaxseq.training import files
from jaxseq.training import run_directory
from jaxseq.training import tables
from jaxseq.training.devices import seeds

EXPERIMENT = "atari100k_suite"
RESULTS = spr.RESULTS
MAY_CHANGE = (*study.MAY_CHANGE, "games", "against")

_CONFIG, _WORKDIR = app.define_flags()
_MODE = app.define_mode()


@dataclasses.dataclass(frozen=True)
class Config(study.Config):
  """A comparison of agents on several games of Atari.

  Attributes:
    games: names of games; all of Atari-100k unless set.
    against: published agents whose scores are shown beside ours, names in
      `published.SCORES`.
  """

  _: dataclasses.KW_ONLY
  games: tuple[str, ...] = published.GAMES
  against: tuple[str, ...] = scores.AGAINST

  def __post_init__(self):
    super().__post_init__()
    if not self.games or len(set(self.games)) < len(self.games):
      raise ValueError(
        f"games: got {self.games}, expected one or more, each of them once."
      )
    for game in self.games:
      scores.check_game(game)
    for agent in self.against:
      scores.published_table(agent, self.games)
    for name, fields in self.arms.items():
      if "env_id" in fields:
        raise _validate.error(
          f"arms.{name}.env_id",
          fields["env_id"],
          "none: all arms play `games`",
        )


def on(config: Config, game: str) -> study.Config:
  """Returns the comparison of the agents on one game."""
  fields = {
    field.name: getattr(config, field.name)
    for field in dataclasses.fields(study.Config)
  }
  settings = ml_collections.ConfigDict(dict(config.settings), type_safe=False)
  settings.env_id = envs.atari_id(game)
  fields["settings"] = ml_collections.FrozenConfigDict(settings)
  return study.Config(**fields)


def make_arms(config: Config) -> dict[str, dict[str, study.Arm]]:
  """Returns the arms of every game.

  Raises:
    ValueError: a field is unknown or wrong, or a game cannot be played.
  """
  return {
    game: {name: study.make_arm(on(config, game), name) for name in config.arms}
    for game in config.games
  }


def run(
  config: Config,
  directory: pathlib.Path,
  arms: Mapping[str, Mapping[str, study.Arm]],
  mode: str,
) -> dict[str, Any]:
  """Trains or evaluates on every game.

  Args:
    config: the suite.
    directory: of the suite.
    arms: what `make_arms` returned.
    mode: "train" or "evaluate".

  Returns:
    For each game the results of each arm.
  """
  results = {}
  for index, game in enumerate(config.games):
    local, place = on(config, game), directory / game
    find = run_directory.prepare
    if mode == "evaluate":
      find = run_directory.open_existing
    find(place, local, experiment=spr.EXPERIMENT, may_change=study.MAY_CHANGE)
    finished = place / RESULTS
    if mode == "evaluate":
      results[game] = {
        name: study.evaluate_arm(local, arms[game][name], state, place / name)
        for name, (_, state) in study.restore(local, place, arms[game]).items()
      }
    elif finished.is_file():
      results[game] = json.loads(finished.read_text(encoding="utf-8"))
    else:
      print(f"{game} ({index + 1} of {len(config.games)})", flush=True)
      found = configuration.to_json(study.train(local, place, arms[game]))
      files.write_json(finished, found)
      results[game] = found
      for name, result in found.items():
        values = result["evaluation"]
        print(
          f"{game}, {name}: {tables.mean_std(values, 1)}, normalised "
          f"{tables.mean_std(scores.normalise(game, values))}",
          flush=True,
        )
  return results


def finish(
  config: Config, directory: pathlib.Path, results: Any, mode: str
) -> None:
  """Shows and writes the tables, the pictures and, of a training, the rest."""
  place = directory / ("summary" if mode == "train" else "evaluation")
  agents = {
    name: {game: found[name]["evaluation"] for game, found in results.items()}
    for name in config.arms
  }
  made = {"games": results, "aggregates": {}}
  for name, played in agents.items():
    report = scores.write(
      place / name,
      played,
      name=name,
      against=config.against,
      curves=_curves(config, directory, name) if mode == "train" else None,
    )
    made["aggregates"][name] = report.aggregates
    for table in report.tables:
      tables.show(*table)
      print()
    print(f"Pictures: {', '.join(map(str, report.pictures)) or 'none'}\n")
  if len(agents) > 1:
    comparison = score_comparison.write(place, agents)
    made["improvements"] = comparison.improvements
    tables.show(*comparison.table)
    print(f"\nPicture: {comparison.picture or 'none'}\n")
  if mode == "train":
    files.write_json(directory / RESULTS, configuration.to_json(made))


def _curves(config, directory, name):
  """Returns the returns in training; None if a run finished no game."""
  curves = {game: study.curve(directory / game, name) for game in config.games}
  for game, (_, values) in curves.items():
    if not np.isfinite(values).any(axis=1).all():
      print(f"{name}: no curve over training, a run ended no game of {game}")
      return None
  return curves


def main(argv: list[str]) -> None:
  """Runs the suite that the flags describe."""
  del argv
  seeds.split_cpu()
  with errors.setup():
    config = configuration.parse(_CONFIG.value, Config)
    arms = make_arms(config)
    find = run_directory.prepare
    if _MODE.value == "evaluate":
      find = run_directory.open_existing
    directory = find(
      _WORKDIR.value, config, experiment=EXPERIMENT, may_change=MAY_CHANGE
    )
  results = run(config, directory, arms, _MODE.value)
  finish(config, directory, results, _MODE.value)


if __name__ == "__main__":
  app.run_main(main)
