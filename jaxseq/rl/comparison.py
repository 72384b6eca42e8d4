"""The configuration of an experiment that compares kinds of memory."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from jaxseq.rl import algorithms
from jaxseq.rl.agents import ppo
from jaxseq.rl.agents import r2d2
from jaxseq.rl.envs import spaces
from jaxseq.training import errors
from jaxseq.training.comparison import arms
from jaxseq.training.devices import device_mesh


@dataclasses.dataclass(frozen=True)
class Config(arms.Arms):
  """A comparison of arms that share an environment.

  Attributes:
    algorithm: name of the algorithm in `jaxseq.rl.algorithms`; an arm with a
      field `algorithm` has one of its own.
    ppo: fields of `ppo.Config` that all arms with PPO share.
    r2d2: fields of `r2d2.Config` that all arms with R2D2 share.
    evaluation_episodes: episodes per seed in an evaluation.
    evaluation_greedy: whether evaluations take the most probable action.
    evaluations: further environments to evaluate the trained policies on, such
      as tasks that they have not seen: by name, the options that differ from
      those of the training (`env_options`).
    mesh: how devices share a run of PPO: its environments are the examples.
      Without one they take seeds each.
  """

  _: dataclasses.KW_ONLY
  algorithm: str = "ppo"
  ppo: Mapping[str, Any] = arms.EMPTY
  r2d2: Mapping[str, Any] = arms.EMPTY
  evaluation_episodes: int = 128
  evaluation_greedy: bool = False
  evaluations: Mapping[str, Mapping[str, Any]] = arms.EMPTY
  mesh: device_mesh.MeshConfig = device_mesh.MeshConfig()

  def __post_init__(self):
    super().__post_init__()
    self.check_positive("evaluation_episodes")
    algorithms.get(self.algorithm)
    if self.mesh.time > 1 or self.mesh.split_data:
      raise ValueError(
        f"mesh: got {self.mesh}, expected time=1 and split_data=0: devices "
        "share environments (data) and parameters here, as time is played step "
        "by step and there is no data set."
      )


def evaluation_configs(
  config: Config, arm: ppo.Config | r2d2.Config
) -> dict[str, ppo.Config | r2d2.Config]:
  """Returns an arm's configuration with each of the `evaluations`' options.

  Args:
    config: the comparison.
    arm: the whole configuration of the arm.

  Raises:
    UserError: (a ValueError) an environment does not know an option, the arm's
      network does not fit it, or it has the name of the one of the training.
  """
  trained = algorithms.of(arm).player(arm)
  found = {}
  for name, options in config.evaluations.items():
    if name == arm.env_id:
      raise errors.UserError(
        f"config.evaluations: got the name {name!r}, expected another one than"
        " that of the environment of the training"
      )
    merged = dict(arm.env_options) | dict(options.items())
    found[name] = dataclasses.replace(arm, env_options=tuple(merged.items()))
    player = algorithms.of(arm).player(found[name])
    for what in ("observation_space", "action_space"):
      expected, got = (
        getattr(p.env, what)(p.env_params) for p in (trained, player)
      )
      if spaces.signature(got) != spaces.signature(expected):
        raise errors.UserError(
          f"config.evaluations.{name}: got the {what.replace('_', ' ')} {got},"
          f" expected that of the training, {expected}"
        )
  return found


def arm_config(config: Config, arm: str) -> ppo.Config | r2d2.Config:
  """Returns the whole configuration of one arm.

  Args:
    config: the comparison.
    arm: name of the arm.

  Raises:
    UserError: (a ValueError) a field is unknown or has a wrong value.
  """
  fields = dict(config.arms[arm].items())
  name = fields.pop("algorithm", config.algorithm)
  if name not in algorithms.names():
    raise errors.UserError(
      f"config.arms.{arm}.algorithm: got {name!r}, expected one of"
      f" {', '.join(algorithms.names())}"
    )
  if name != "ppo" and not config.mesh.trivial:
    raise errors.UserError(
      f"mesh: the arm {arm!r} is trained by {name}, and only ppo takes a mesh"
    )
  return arms.merge(
    dataclasses.replace(config, arms={arm: fields}),
    arm,
    getattr(config, name),
    algorithms.get(name).Config,
  )
