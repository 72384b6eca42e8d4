"""The configuration of an experiment that compares kinds of memory."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from jaxseq.rl import ppo
from jaxseq.training import arms as arms_lib


@dataclasses.dataclass(frozen=True)
class Config(arms_lib.Arms):
  """A comparison of arms that share an environment.

  Attributes:
    ppo: fields of `ppo.Config` that all arms share.
    evaluation_episodes: episodes per seed in an evaluation.
    evaluation_greedy: whether evaluations take the most probable action.
  """

  _: dataclasses.KW_ONLY
  ppo: Mapping[str, Any]
  evaluation_episodes: int = 128
  evaluation_greedy: bool = False

  def __post_init__(self):
    super().__post_init__()
    self.check_positive("evaluation_episodes")


def arm_config(config: Config, arm: str) -> ppo.Config:
  """Returns the whole configuration of one arm.

  Args:
    config: the comparison.
    arm: name of the arm.

  Raises:
    UserError: (a ValueError) a field is unknown or has a wrong value.
  """
  return arms_lib.merge(config, arm, config.ppo, ppo.Config)
