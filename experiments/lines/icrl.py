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
from jaxseq.training.comparison import run
from jaxseq.training.devices import processes

Config = rl_arms.Config


def _watch(config, directory, made, task) -> None:
  """Evaluates the policies in a directory, and shows an episode of each."""

  def show(name, step, state, report):
    del report
    rl_report.show_episode(config, directory, name, step, state.variables)

  results = run.evaluate(config, directory, made, show)
  report.show_policies(
    results,
    f"{tables.counted(config.evaluation_episodes, 'new episode')} of every "
    "policy",
  )
  rl_report.show_evaluations(config, task, results)


def _train(config, directory, made, task) -> None:
  """Trains all arms, and shows what they have learned."""
  results = report.main(
    config,
    directory,
    made,
    "train",
    each=lambda name, step, state, report: rl_report.write_film(
      config, directory, name, state.variables
    ),
    title=task,
    note="last twentieth of the training, "
    f"{tables.counted(config.evaluation_episodes, 'new episode')}",
    columns={"training": "return in training", "evaluation": "in evaluation"},
    xlabel="environment steps",
    ylabel="return of the episodes that ended",
    smooth=5,
  )
  if not processes.is_first():
    return
  if not all(
    np.isfinite(result[kind]).all()
    for result in results.values()
    for kind in ("training", "evaluation")
  ):
    print("- in the table: no episode ended")
  rl_report.show_evaluations(config, task, results)
  rl_report.draw_trials(directory, task, results)
  for name in made:
    if (episode := directory / f"episode_{name}.gif").is_file():
      print(f"An episode of {name}: {episode}")
  python = pathlib.Path(sys.executable)
  if python.is_relative_to(pathlib.Path.cwd()):
    python = python.relative_to(pathlib.Path.cwd())
  command = shlex.join([str(python), "-m", "experiments.icrl", *sys.argv[1:]])
  print(f"Watch the trained policies: {command} --mode=evaluate")


def main(program: experiment.Experiment) -> None:
  """Runs the experiment that the flags describe."""
  with program.setup() as config:
    made = rl_arms.make_arms(config)
    directory = program.open_directory(config)
  act = _watch if program.mode == "evaluate" else _train
  act(config, directory, made, next(iter(made.values())).agent.env_id)
