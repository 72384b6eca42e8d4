"""Self-predictive reinforcement learning on few steps, mostly from images."""

from jaxseq.spr import spr_arms
from jaxseq.training import tables
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import report
from jaxseq.training.comparison import work as works

Config = spr_arms.Config


def work(config: Config, program: experiment.Experiment) -> works.Work:
  """Returns the agents, with their tables and the drawings of their games."""
  del program
  arms = spr_arms.make_arms(config)
  count = config.evaluation_games

  def show(directory, results):
    for name, result in results.items():
      drawn = not result["gif"].startswith("not drawn")
      place = f"{directory}/" if drawn else ""
      print(f"A game of {name}: {place}{result['gif']}")

  options = {
    "title": ", ".join(sorted({arm.settings.env_id for arm in arms.values()})),
    "policies": f"{tables.counted(count, 'game')} of every policy; mean ± "
    "standard deviation over games",
    **report.of_agents("game", count),
  }
  return works.Work(arms=arms, options=options, show=show)
