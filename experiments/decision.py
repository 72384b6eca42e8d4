r"""Offline reinforcement learning from recorded episodes, with any mixer.

    python -m experiments.decision --config=configs/decision/cartpole.py \
      --workdir=DIR
    python -m experiments.decision --config=... --workdir=DIR --mode=evaluate

The first command trains PPO and records episodes at three levels of skill
(`DIR/recorded.npz`); then it trains every arm of the config on them, a Decision
Transformer around one mixer each, all seeds of an arm as one program. It
resumes where an earlier run stopped, and ends with a table,
`DIR/learning_curve.png`, `DIR/returns.png` (the return achieved over the return
asked for) and `DIR/results.json`. The second command plays the newest
checkpoints.
"""

from collections.abc import Mapping
import dataclasses
import json
import pathlib
from typing import Any

import jax
import ml_collections
import numpy as np

from jaxseq.data import trajectories
from jaxseq.rl import conditioned
from jaxseq.rl import recording
from jaxseq.rl import rollout
from jaxseq.rl.agents import ppo
from jaxseq.tasks import base
from jaxseq.tasks import decision
from jaxseq.training import app
from jaxseq.training import configuration
from jaxseq.training import errors
from jaxseq.training import files
from jaxseq.training import plots
from jaxseq.training import progress
from jaxseq.training.comparison import study
from jaxseq.training.devices import processes
from jaxseq.training.devices import seeds

RECORDED = "recorded.npz"
LEVELS = "levels.json"

_CONFIG, _WORKDIR = app.define_flags()
_MESH = app.define_mesh()
_MODE = app.define_mode()


@dataclasses.dataclass(frozen=True)
class Config(study.Supervised):
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
    network: fields of `nn.NetworkConfig` that all arms share.
    optimizer: fields of `recipes.Recipe` that all arms share.
    batch_size: windows per update.
  """

  _: dataclasses.KW_ONLY
  ppo: Mapping[str, Any]
  checkpoints: int = 20
  episodes: int = 1000
  context: int = 20
  targets: tuple[float, ...]
  evaluation_episodes: int = 20
  conditioned: bool = True
  top_share: float = 1.0
  network: Mapping[str, Any] = ml_collections.FrozenConfigDict()
  optimizer: Mapping[str, Any] = ml_collections.FrozenConfigDict()
  batch_size: int = 64

  def __post_init__(self):
    super().__post_init__()
    self.check_positive(
      "checkpoints", "episodes", "context", "evaluation_episodes"
    )
    if not self.targets:
      raise ValueError("targets: got none, expected at least one return.")
    names = {f"{target:g}" for target in self.targets}
    if len(names) < len(self.targets):
      raise ValueError(f"targets: got {self.targets}, expected no repetition.")


def arm_config(config: Config, name: str) -> decision.ArmConfig:
  """Returns the whole configuration of an arm."""
  return base.arm_config(
    config,
    name,
    decision.ArmConfig,
    conditioned=config.conditioned,
    top_share=config.top_share,
  )


def make_model(
  config: Config, name: str, player: rollout.Player
) -> decision.DecisionModel:
  """Returns the model of an arm."""
  return decision.make_model(
    arm_config(config, name),
    conditioned.actions_of(player),
    int(player.env_params.max_steps_in_episode),
  )


def recorded_episodes(
  config: Config, agent: ppo.Config, directory: pathlib.Path
) -> tuple[trajectories.Trajectories, dict[str, float]]:
  """Loads the recording of a run, or makes it.

  The first of several processes makes it, on its own devices; the others wait.

  Returns:
    The episodes, and the mean return of each level.
  """
  path = directory / RECORDED

  def make():
    if not path.is_file():
      _record(config, agent, directory)

  processes.first_then_rest(make, f"recording {str(path)!r}")
  return trajectories.load(path), json.loads((directory / LEVELS).read_text())


def _record(config, agent, directory):
  bar = progress.Progress(
    agent.num_updates * agent.steps_per_update,
    metric="return",
    label="recording",
  )
  with bar:
    episodes, levels = recording.make(
      agent,
      jax.random.key(config.seed),
      config.episodes,
      config.seed,
      checkpoints=config.checkpoints,
      report=lambda steps, mean: bar.update(steps, {"return": mean}),
    )
  # The recording comes last: where it is, the levels are.
  files.write_json(directory / LEVELS, levels)
  trajectories.save(directory / RECORDED, episodes)


def make_arms(
  config: Config,
  player: rollout.Player,
  recorded: trajectories.Trajectories,
) -> dict[str, study.Arm]:
  """Builds every arm.

  Raises:
    ValueError: if an option is wrong.
  """
  arms = {}
  for name in config.arms:
    arm = arm_config(config, name)
    model = make_model(config, name, player)

    def play(variables, scale, arm=arm, model=model):
      return conditioned.achieved(
        arm,
        model,
        variables,
        scale,
        player,
        # The same episodes for all arms and seeds.
        jax.random.key(config.seed),
        config.targets,
        config.evaluation_episodes,
      )

    arms[name] = study.Arm(
      decision.make_problem(
        arm, model, recorded, context=config.context, evaluate=play
      ),
      base.make_optimizer(arm, config.num_updates),
      metric="return",
      examples=arm.batch_size,
      unit="windows",
    )
  return arms


def draw_returns(
  config: Config, directory: pathlib.Path, results: Mapping[str, Any]
) -> pathlib.Path | None:
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
  return plots.learning_curve(
    directory / "returns.png",
    curves,
    xlabel="return asked for",
    ylabel="return achieved",
    title=f"{config.ppo['env_id']}, {config.evaluation_episodes} episodes each",
  )


def main(argv: list[str]) -> None:
  """Runs the experiment that the flags describe."""
  del argv
  seeds.split_cpu()
  with errors.setup():
    config = study.parse(_CONFIG.value, Config, _MESH.value)
    agent = configuration.from_config_dict(
      ppo.Config, config.ppo, name="config.ppo"
    )
    player = ppo.player(agent)
    for name in config.arms:
      make_model(config, name, player)
    directory = study.open_workdir(
      _WORKDIR.value, config, "decision", _MODE.value
    )
    if _MODE.value == "evaluate" and not (directory / RECORDED).is_file():
      raise errors.UserError(
        f"{str(directory)!r} holds no {RECORDED}: train first"
      )
    recorded, levels = recorded_episodes(config, agent, directory)
    arms = make_arms(config, player, recorded)
  returns = trajectories.statistics(recorded).returns
  best = trajectories.statistics(trajectories.best(recorded, 0.1)).returns
  results = study.main(
    config,
    directory,
    arms,
    _MODE.value,
    title=f"{agent.env_id}: mean return in play, for each return asked for",
    columns={"return": f"return, asked for {config.targets[-1]:g}"}
    | {f"return_{t:g}": f"asked for {t:g}" for t in config.targets[:-1]},
    baselines={
      f"recorded: {name}": {"return": mean} for name, mean in levels.items()
    }
    | {
      "recorded: all": {"return": float(returns.mean())},
      "recorded: best tenth": {"return": float(best.mean())},
    },
    levels=levels,
  )
  trained = _MODE.value == "train" and processes.is_first()
  if trained and len(config.targets) > 1:
    picture = draw_returns(config, directory, results)
    if picture is not None:
      print(f"Drawn: {picture}")


if __name__ == "__main__":
  app.run_main(main)
