"""Self-predictive reinforcement learning on few steps, mostly from images.

    python -m experiments.spr --config=configs/spr/minatar_quick.py \
      --workdir=DIR
    python -m experiments.spr --config=... --workdir=DIR --mode=evaluate

The first command trains every arm of the config (one agent each), and resumes
where an earlier run stopped. It ends with whole games of every policy, a table,
`DIR/learning_curve.png` and `DIR/results.json`; each arm has `metrics.jsonl`,
`checkpoints/` and `game.gif`, a game of its first seed, in `DIR/ARM`. The
second command restores the trained policies and plays such games again.
"""

from jaxseq.spr import spr_arms
from jaxseq.training import app
from jaxseq.training import tables
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import report
from jaxseq.training.comparison import run

_PROGRAM = experiment.Experiment("spr", spr_arms.Config, mesh=False)


def main(argv: list[str]) -> None:
  """Runs the experiment that the flags describe."""
  del argv
  with _PROGRAM.setup() as config:
    made = spr_arms.make_arms(config)
    directory = _PROGRAM.open_directory(config)
  games = ", ".join(sorted({arm.settings.env_id for arm in made.values()}))
  count = config.evaluation_games
  if _PROGRAM.mode == "evaluate":
    results = run.evaluate(config, directory, made)
    report.show_policies(
      results,
      f"{tables.counted(count, 'game')} of every policy; mean ± standard "
      "deviation over games",
    )
  else:
    results = report.main(
      config,
      directory,
      made,
      "train",
      title=games,
      note="last twentieth of the training, "
      f"{tables.counted(count, 'new game')}",
      columns={"training": "return in training", "evaluation": "in evaluation"},
      xlabel="environment steps",
      ylabel="return of the games that ended",
      smooth=5,
    )
  for name, result in results.items():
    drawn = not result["gif"].startswith("not drawn")
    place = f"{directory}/" if drawn else ""
    print(f"A game of {name}: {place}{result['gif']}")


if __name__ == "__main__":
  app.run_main(main)
