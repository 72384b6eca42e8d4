"""The configuration of an experiment that compares kinds of memory."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from jaxseq.rl import algorithms
from jaxseq.rl import ppo
from jaxseq.rl import r2d2
from jaxseq.training import arms as arms_lib
from jaxseq.training import errors


@dataclasses.dataclass(frozen=True)
class Config(arms_lib.Arms):
  """A comparison of arms that share an environment.

  Attributes:
    algorithm: name of the algorithm in `jaxseq.rl.algorithms`; an arm with a
      field `algorithm` has one of its own.
    ppo: fields of `ppo.Config` that all arms with PPO share.
    r2d2: fields of `r2d2.Config` that all arms with R2D2 share.
    evaluation_episodes: episodes per seed in an evaluation.
    evaluation_greedy: whether evaluations take the most probable action.
  """

  _: dataclasses.KW_ONLY
  algorithm: str = "ppo"
  ppo: Mapping[str, Any] = arms_lib.EMPTY
  r2d2: Mapping[str, Any] = arms_lib.EMPTY
  evaluation_episodes: int = 128
  evaluation_greedy: bool = False

  def __post_init__(self):
    super().__post_init__()
    self.check_positive("evaluation_episodes")
    algorithms.get(self.algorithm)


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
  return arms_lib.merge(
    dataclasses.replace(config, arms={arm: fields}),
    arm,
    getattr(config, name),
    algorithms.get(name).Config,
  )
