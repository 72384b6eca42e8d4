"""Offline reinforcement learning from recorded episodes, with any mixer."""

from collections.abc import Mapping
import dataclasses
import functools
import pathlib
from typing import Any

import jax
import numpy as np

from jaxseq.data import trajectories
from jaxseq.rl import algorithms
from jaxseq.rl import conditioned_players
from jaxseq.rl import recording
from jaxseq.rl.agents import ppo
from jaxseq.tasks import decision
from jaxseq.training import configuration
from jaxseq.training import tables
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import report
from jaxseq.training.comparison import work as works
from jaxseq.training.devices import processes

Config = decision.Config
TASK = decision.TASK


def work(config: Config, program: experiment.Experiment) -> works.Work:
  """Returns the arms, trained on a recording, which is made if absent."""
  agent = configuration.from_config_dict(
    ppo.Config,
    config.ppo,
    name="config.ppo",
    base=algorithms.published(ppo.Config),
  )
  player = ppo.player(agent)
  steps = int(player.env_params.max_steps_in_episode)
  actions = conditioned_players.actions_of(player)
  for name in config.arms:
    # Raises errors before the directory is created.
    decision.make_model(TASK.arm_config(config, name), actions, steps)
  recorded, levels = recording.load_or_make(
    program.open_directory(config),
    agent,
    jax.random.key(config.seed),
    config.episodes,
    config.seed,
    checkpoints=config.checkpoints,
    make_it=program.mode == "train",
  )

  def play(arm, model):
    return functools.partial(
      conditioned_players.achieved,
      arm,
      model,
      player=player,
      # The same episodes for all arms and seeds.
      key=jax.random.key(config.seed),
      targets=config.targets,
      episodes=config.evaluation_episodes,
    )

  source = decision.Recording(recorded, actions, steps, play)
  work = dataclasses.replace(TASK, load=lambda config: source).work(config)
  returns = trajectories.statistics(recorded).returns
  best = trajectories.statistics(trajectories.best(recorded, 0.1)).returns
  known = {**levels, "all": returns.mean(), "best tenth": best.mean()}

  def show(directory, results):
    trained = program.mode == "train" and processes.is_first()
    if trained and len(config.targets) > 1:
      draw_returns(config, directory, results)

  options = work.options | _options(config, agent.env_id, levels, known)
  save = functools.partial(_save, agent, work.arms)
  return dataclasses.replace(work, options=options, save=save, show=show)


def _options(config, env_id, levels, known) -> dict[str, Any]:
  """Returns the options of the tables and pictures."""
  columns = {f"return_{t:g}": f"asked for {t:g}" for t in config.targets[:-1]}
  return {
    "title": f"{env_id}: mean return in play, for each return asked for",
    "columns": {"return": f"return, asked for {config.targets[-1]:g}"}
    | columns,
    "baselines": {
      f"recorded: {name}": {"return": float(x)} for name, x in known.items()
    },
    "levels": levels,
  }


def _save(agent, arms, directory, name, variables, about) -> None:
  """Saves an arm's player."""
  del about
  problem = arms[name].problem
  conditioned_players.save(
    directory / name / "player.safetensors",
    conditioned_players.Player(
      agent,
      problem.arm.conditioned,
      problem.model,
      variables,
      problem.data["scale"],
    ),
  )


def draw_returns(
  config: Config, directory: pathlib.Path, results: Mapping[str, Any]
) -> None:
  """Draws the achieved returns over the requested returns."""
  targets = sorted(config.targets)
  curves = {
    name: (
      targets,
      np.stack([results[name][f"return_{t:g}"] for t in targets], axis=1),
    )
    for name in config.arms
  }
  curves["as asked"] = (targets, np.array(targets))
  report.draw(
    "Returns",
    directory / "returns.png",
    curves,
    xlabel="return asked for",
    ylabel="return achieved",
    title=f"{config.subject}, "
    f"{tables.counted(config.evaluation_episodes, 'episode')} each",
  )
