"""Self-predictive reinforcement learning on few steps, mostly from images."""

from jaxseq.spr import spr_arms
from jaxseq.training import tables
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import report
from jaxseq.training.comparison import run

Config = spr_arms.Config


def main(program: experiment.Experiment) -> None:
  """Runs the experiment that the flags describe."""
  with program.setup() as config:
    made = spr_arms.make_arms(config)
    directory = program.open_directory(config)
  games = ", ".join(sorted({arm.settings.env_id for arm in made.values()}))
  count = config.evaluation_games
  if program.mode == "evaluate":
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
