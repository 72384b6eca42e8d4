"""Offline reinforcement learning from recorded episodes, with any mixer."""

from collections.abc import Mapping
import dataclasses
import functools
import pathlib
from typing import Any

import jax
import numpy as np

from jaxseq import _validate
from jaxseq._types import PyTree
from jaxseq.data import trajectories
from jaxseq.models import run_models
from jaxseq.rl import conditioned_players
from jaxseq.rl import recording
from jaxseq.rl import rollout
from jaxseq.rl.agents import ppo
from jaxseq.tasks import base
from jaxseq.tasks import decision
from jaxseq.training import configuration
from jaxseq.training import tables
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import report
from jaxseq.training.comparison import supervised_arms
from jaxseq.training.devices import processes


@dataclasses.dataclass(frozen=True)
class Config(base.Comparison):
  """A comparison of networks on recorded episodes.

  Attributes:
    ppo: fields of `ppo.Config`: the environment, and the agent that is
      recorded.
    checkpoints: how often the agent's policy is looked at during its training,
      to find the medium player.
    episodes: number of recorded episodes, a third of them of each level.
    context: steps of a window.
    targets: returns to ask for in evaluations; the last is the one that the
      progress bar, the learning curve and the first column of the table show.
    evaluation_episodes: episodes per seed for each of them.
    conditioned: see `decision.ArmConfig`; arms may differ in it.
    top_share: see `decision.ArmConfig`; arms may differ in it.
  """

  _: dataclasses.KW_ONLY
  ppo: configuration.Fields
  checkpoints: int = 20
  episodes: int = 1000
  context: int = 20
  targets: tuple[float, ...]
  evaluation_episodes: int = 20
  conditioned: bool = True
  top_share: float = 1.0
  batch_size: int = 64

  def __post_init__(self):
    super().__post_init__()
    _validate.fields(
      self,
      positive=("checkpoints", "episodes", "context", "evaluation_episodes"),
    )
    names = {f"{target:g}" for target in self.targets}
    if not names or len(names) < len(self.targets):
      raise _validate.error(
        "targets", self.targets, "at least one return, each of them once"
      )


def arm_config(config: Config, name: str) -> decision.ArmConfig:
  """Returns the whole configuration of an arm."""
  return base.arm_config(config, name, decision.ArmConfig)


def make_model(
  config: Config, name: str, player: rollout.Player
) -> decision.DecisionModel:
  """Returns the model of an arm."""
  return decision.make_model(
    arm_config(config, name),
    conditioned_players.actions_of(player),
    int(player.env_params.max_steps_in_episode),
  )


def make_arms(
  config: Config,
  player: rollout.Player,
  recorded: trajectories.Trajectories,
) -> dict[str, supervised_arms.Arm]:
  """Builds every arm.

  Raises:
    ValueError: if an option is wrong.
  """
  made = {}
  for name in config.arms:
    arm = arm_config(config, name)
    model = make_model(config, name, player)
    play = functools.partial(
      conditioned_players.achieved,
      arm,
      model,
      player=player,
      # The same episodes for all arms and seeds.
      key=jax.random.key(config.seed),
      targets=config.targets,
      episodes=config.evaluation_episodes,
    )
    problem = decision.Problem(
      arm, model, recorded, context=config.context, play=play
    )
    made[name] = base.make_arm(config, arm, problem, "return", "windows")
  return made


def draw_returns(
  config: Config, directory: pathlib.Path, results: Mapping[str, Any]
) -> None:
  """Draws the returns achieved over those that were asked for."""
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
    title=f"{config.ppo['env_id']}, "
    f"{tables.counted(config.evaluation_episodes, 'episode')} each",
  )


def save_player(
  directory: pathlib.Path,
  agent: ppo.Config,
  made: Mapping[str, supervised_arms.Arm],
  name: str,
  variables: PyTree,
  about: Mapping[str, Any],
) -> None:
  """Writes what it takes to play one seed of an arm."""
  del about
  problem = made[name].problem
  player = conditioned_players.Player(
    agent,
    problem.arm.conditioned,
    problem.model,
    variables,
    problem.data["scale"],
  )
  conditioned_players.save(directory / name / "player.safetensors", player)


def main(program: experiment.Experiment) -> None:
  """Runs the experiment that the flags describe."""
  with program.setup() as config:
    agent = configuration.from_config_dict(
      ppo.Config, config.ppo, name="config.ppo"
    )
    player = ppo.player(agent)
    for name in config.arms:
      make_model(config, name, player)
    directory = program.open_directory(config)
    recorded, levels = recording.load_or_make(
      directory,
      agent,
      jax.random.key(config.seed),
      config.episodes,
      config.seed,
      checkpoints=config.checkpoints,
      make_it=program.mode == "train",
    )
    made = make_arms(config, player, recorded)
  returns = trajectories.statistics(recorded).returns
  best = trajectories.statistics(trajectories.best(recorded, 0.1)).returns
  baselines = {
    **levels,
    "all": float(returns.mean()),
    "best tenth": float(best.mean()),
  }
  results = program.compare(
    config,
    made,
    directory,
    subject=agent.env_id,
    title=f"{agent.env_id}: mean return in play, for each return asked for",
    columns={"return": f"return, asked for {config.targets[-1]:g}"}
    | {f"return_{t:g}": f"asked for {t:g}" for t in config.targets[:-1]},
    baselines={
      f"recorded: {name}": {"return": mean} for name, mean in baselines.items()
    },
    levels=levels,
    each=run_models.saver(
      program,
      config,
      functools.partial(save_player, directory, agent, made),
    ),
  )
  trained = program.mode == "train" and processes.is_first()
  if trained and len(config.targets) > 1:
    draw_returns(config, directory, results)
