"""In-context learning from data: distilled or decision-pretrained networks."""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np

from experiments.in_context import context_arms
from experiments.in_context import decision_pretraining
from experiments.in_context import distillation
from experiments.in_context import learning_histories
from experiments.in_context import trial_floors
from jaxseq.data import trajectories
from jaxseq.interop import network_file
from jaxseq.rl import policies
from jaxseq.rl import recording
from jaxseq.rl.envs import bandit
from jaxseq.rl.envs import dark_room
from jaxseq.tasks import task
from jaxseq.training import errors
from jaxseq.training import per_seed
from jaxseq.training import tables
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import report
from jaxseq.training.comparison import work as works
from jaxseq.training.devices import processes

Config = context_arms.Config


def _problem(arm, recorded, config):
  if arm.method == "pretraining":
    return decision_pretraining.Problem(config, arm)
  return distillation.Problem(config, arm, recorded)


TASK = task.Task(
  name="in_context",
  arm=context_arms.ArmConfig,
  problem=_problem,
  metric="return",
  better="higher",
  unit="sequences",
  columns={"return": "return of the last trial"},
  figures=lambda trials: {"trials": per_seed.of(trials)},
)


def floors(config: Config) -> dict[str, np.ndarray]:
  """Returns baseline returns (num_trials,) without learning, by name.

  Only dark rooms and bandits have baselines.
  """
  env, count = config.make_env(held_out=True), config.num_trials
  if isinstance(env, dark_room.DarkRoom):
    constant = trial_floors.dark_room_returns(env)
    return {name: np.full(count, value) for name, value in constant.items()}
  if isinstance(env, bandit.MultiarmedBandit):
    key = jax.random.key(config.seed)
    return trial_floors.bandit_returns(env, count, key)
  return {}


def work(config: Config, program: experiment.Experiment) -> works.Work:
  """Returns the arms, trained on histories, which are recorded if absent."""
  learner, env = config.make_learner(), config.make_env()
  methods = {TASK.arm_config(config, name).method for name in config.arms}
  if "pretraining" in methods:
    # Raises errors before the directory is created.
    decision_pretraining.family(env)
  recorded = None
  if "distillation" in methods:
    path = program.open_directory(config) / recording.RECORDED
    if not path.is_file() and program.mode != "train":
      lacks = f"{str(path.parent)!r} holds no {path.name}: train first"
      raise errors.UserError(lacks)

    def record():
      if not path.is_file():
        key = jax.random.key(config.seed)
        played = learning_histories.record(env, learner, key)
        trajectories.save(path, played)

    processes.first_then_rest(record, f"recording {str(path)!r}")
    recorded = trajectories.load(path)
  work = dataclasses.replace(TASK, load=lambda config: recorded).work(config)
  curves = floors(config)
  if recorded is not None:
    returns = trajectories.statistics(recorded).returns
    returns = returns.reshape(-1, learner.episodes).mean(axis=0)
    if learner.episodes == config.num_trials:
      curves["the recorded learners, in training"] = returns
  known = {
    name: {k: float(x) for k, x in context_arms.measures(config, curve).items()}
    for name, curve in curves.items()
  }
  tasks = tables.counted(config.evaluation_tasks, "task")
  options = {
    "title": f"{config.env_id}: returns of trials at {tasks}"
    + (" held out" if config.held_out else ""),
    "columns": {
      **{f"return_{n}": f"trial {n}" for n in config.shown},
      "return": f"trial {config.num_trials}",
    },
    "baselines": known,
    "levels": {name: values["return"] for name, values in known.items()},
    "ylabel": f"return of trial {config.num_trials}",
  }

  def save(directory, name, variables, about):
    del about
    problem, place = work.arms[name].problem, directory / name
    if isinstance(problem, distillation.Problem):
      policies.save(place / "policy.safetensors", problem.agent, variables)
    else:
      path = place / "network.safetensors"
      network_file.save(path, problem.network, variables)

  def show(directory, results):
    if program.mode == "train" and processes.is_first():
      draw_trials(config, directory, results, curves)

  return dataclasses.replace(
    work, options={**work.options, **options}, save=save, show=show
  )


def draw_trials(
  config: Config,
  directory: pathlib.Path,
  results: Mapping[str, Any],
  floors: Mapping[str, np.ndarray],
) -> None:
  """Draws the returns of all arms over the trials, and the baselines.

  Args:
    config: the comparison.
    directory: directory of the run, for trials.png.
    results: results of the arms.
    floors: baseline returns (num_trials,) by name.
  """
  trials = 1 + np.arange(config.num_trials)
  curves = {
    name: (trials, np.asarray(results[name]["trials"])) for name in config.arms
  }
  level = {k: x for k, x in floors.items() if np.ptp(x) == 0}
  curves |= {k: (trials, x) for k, x in floors.items() if k not in level}
  report.draw(
    "Return per trial",
    directory / "trials.png",
    curves,
    xlabel="trial at a task",
    ylabel="mean return",
    title=config.subject,
    references={name: float(x[0]) for name, x in level.items()},
  )
