"""In-context reinforcement learning: recurrent policies on memory tasks."""

import pathlib
import shlex
import sys

import numpy as np

from jaxseq.rl import rl_arms
from jaxseq.rl import rl_report
from jaxseq.training import tables
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import report
from jaxseq.training.comparison import work as works
from jaxseq.training.devices import processes

Config = rl_arms.Config


def work(config: Config, program: experiment.Experiment) -> works.Work:
  """Returns the agents, with their tables and films."""
  arms = rl_arms.make_arms(config)
  task = next(iter(arms.values())).agent.env_id
  trains, count = program.mode == "train", config.evaluation_episodes

  def each(directory, name, step, state, report):
    del report
    if trains:
      rl_report.write_film(config, directory, name, state.variables)
    else:
      rl_report.show_episode(config, directory, name, step, state.variables)

  def show(directory, results):
    if not processes.is_first():
      return
    kinds = ("training", "evaluation")
    if trains and not all(
      np.isfinite(result[kind]).all()
      for result in results.values()
      for kind in kinds
    ):
      print("- in the table: no episode ended")
    rl_report.show_evaluations(config, task, results)
    if trains:
      rl_report.draw_trials(directory, task, results)
      _tell(directory, arms)

  options = {
    "title": task,
    "policies": f"{tables.counted(count, 'new episode')} of every policy",
    **report.of_agents("episode", count),
  }
  return works.Work(arms=arms, options=options, each=each, show=show)


def _tell(directory, arms):
  """Prints the paths of films, and the command that shows more episodes."""
  for name in arms:
    if (episode := directory / f"episode_{name}.gif").is_file():
      print(f"An episode of {name}: {episode}")
  python = pathlib.Path(sys.executable)
  if python.is_relative_to(pathlib.Path.cwd()):
    python = python.relative_to(pathlib.Path.cwd())
  command = shlex.join([str(python), "-m", "experiments.icrl", *sys.argv[1:]])
  print(f"Watch the trained policies: {command} --mode=evaluate")
