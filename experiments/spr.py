"""Self-predictive reinforcement learning from images, on few steps.

    python -m experiments.spr --config=configs/spr/minatar_quick.py \
      --workdir=DIR
    python -m experiments.spr --config=... --workdir=DIR --mode=evaluate

The first command trains every arm of the config (one agent each), and resumes
where an earlier run stopped. It ends with whole games of every policy, a table,
`DIR/learning_curve.png` and `DIR/results.json`; each arm has `metrics.jsonl`,
`checkpoints/` and `game.gif`, a game of its first seed, in `DIR/ARM`. The
second command restores the trained policies and plays such games again.
"""

import pathlib
from typing import Any

from jaxseq.spr import study
from jaxseq.training import app
from jaxseq.training import configuration
from jaxseq.training import errors
from jaxseq.training import files
from jaxseq.training import plots
from jaxseq.training import run_directory
from jaxseq.training import tables
from jaxseq.training.comparison import arms as arms_lib
from jaxseq.training.devices import seeds

EXPERIMENT = "spr"
RESULTS = "results.json"

_CONFIG, _WORKDIR = app.define_flags()
_MODE = app.define_mode()


def _finish(
  config: study.Config,
  directory: pathlib.Path,
  arms: dict[str, study.Arm],
  results: dict[str, Any],
) -> None:
  """Writes and shows what a training run ends with."""
  files.write_json(directory / RESULTS, configuration.to_json(results))
  games = sorted({arm.settings.env_id for arm in arms.values()})
  tables.show(
    ["agent", "parameters", "return in training", "in evaluation"],
    [
      [
        name,
        f"{result['parameters']:,}",
        tables.mean_std(result["training"], 2),
        tables.mean_std(result["evaluation"], 2),
      ]
      for name, result in results.items()
    ],
    title=(
      f"{', '.join(games)}: {tables.over_seeds(config.num_seeds)}; last"
      f" twentieth of the training, {config.evaluation_games} new games"
    ),
  )
  picture = plots.learning_curve(
    directory / "learning_curve.png",
    {name: study.curve(directory, name) for name in arms},
    xlabel="environment steps",
    ylabel="return of the games that ended",
    title=f"{', '.join(games)}, {tables.num_seeds(config.num_seeds)}",
    references=dict(config.references),
    smooth=5,
  )
  print(f"Learning curve: {picture or 'not drawn'}")
  _tell_games(results)


def _tell_games(results: dict[str, Any]) -> None:
  for name, result in results.items():
    print(f"A game of {name}: {result['gif']}")


def _watch(
  config: study.Config, directory: pathlib.Path, arms: dict[str, study.Arm]
) -> None:
  """Plays new games with the policies in a directory."""
  rows, results = [], {}
  names = arms_lib.trained(arms, directory)
  arms = {name: arms[name] for name in names}
  for name, (step, state) in study.restore(config, directory, arms).items():
    result = study.evaluate_arm(config, arms[name], state, directory / name)
    results[name] = result
    for seed, (games, length) in enumerate(
      zip(result["games"], result["evaluation_length"])
    ):
      rows.append(
        [
          name,
          seed,
          f"{step:,}",
          tables.mean_std(games, 2),
          f"{max(games):g}",
          f"{length:.1f}",
        ]
      )
  tables.show(
    ["agent", "seed", "trained for", "return", "best game", "mean length"],
    rows,
    title=(
      f"{config.evaluation_games} games of every policy; mean ± standard "
      "deviation over games"
    ),
  )
  _tell_games(results)


def main(argv: list[str]) -> None:
  """Runs the experiment that the flags describe."""
  del argv
  seeds.split_cpu()
  with errors.setup():
    config = configuration.parse(_CONFIG.value, study.Config)
    arms = {name: study.make_arm(config, name) for name in config.arms}
    find = run_directory.prepare
    if _MODE.value == "evaluate":
      find = run_directory.open_existing
    directory = find(
      _WORKDIR.value, config, experiment=EXPERIMENT, may_change=study.MAY_CHANGE
    )
  if _MODE.value == "evaluate":
    _watch(config, directory, arms)
  else:
    _finish(config, directory, arms, study.train(config, directory, arms))


if __name__ == "__main__":
  app.run_main(main)
