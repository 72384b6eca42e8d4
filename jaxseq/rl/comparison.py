"""The configuration of an experiment that compares kinds of memory."""

from collections.abc import Mapping
import dataclasses
import re
from typing import Any

import ml_collections

from jaxseq.rl import ppo
from jaxseq.training import config as config_lib


@dataclasses.dataclass(frozen=True)
class Config:
  """A comparison of arms that share an environment.

  Attributes:
    ppo: fields of `ppo.Config` that all arms share.
    arms: for each arm, by name, the fields in which it differs; it is trained
      in the sub-directory of that name.
    seed: all random numbers come from it.
    num_seeds: independent runs of each arm.
    updates_per_chunk: updates between two returns to the host.
    chunks_per_checkpoint: chunks between two checkpoints.
    keep_checkpoints: how many of the newest checkpoints stay.
    evaluation_episodes: episodes per seed in an evaluation.
    evaluation_greedy: whether evaluations take the most probable action.
    tensorboard: whether to write event files as well.
    references: levels to draw as dashed lines in the plot, by label.
  """

  ppo: Mapping[str, Any]
  arms: Mapping[str, Mapping[str, Any]]
  seed: int = 0
  num_seeds: int = 2
  updates_per_chunk: int = 5
  chunks_per_checkpoint: int = 6
  keep_checkpoints: int = 3
  evaluation_episodes: int = 128
  evaluation_greedy: bool = False
  tensorboard: bool = True
  references: Mapping[str, float] = ml_collections.FrozenConfigDict()

  def __post_init__(self):
    if not self.arms:
      raise ValueError("arms: got none, expected at least one.")
    for name in self.arms:
      if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(
          f"arms: got the name {name!r}, expected one that can be that of a"
          " directory."
        )
    for name in (
      "num_seeds",
      "updates_per_chunk",
      "chunks_per_checkpoint",
      "keep_checkpoints",
      "evaluation_episodes",
    ):
      if getattr(self, name) < 1:
        raise ValueError(
          f"{name}: got {getattr(self, name)}, expected 1 or more."
        )


def arm_config(config: Config, arm: str) -> ppo.Config:
  """Returns the whole configuration of one arm.

  Args:
    config: the comparison.
    arm: name of the arm.

  Raises:
    UserError: (a ValueError) a field is unknown or has a wrong value.
  """
  merged = ml_collections.ConfigDict(config.ppo.to_dict(), type_safe=False)
  merged.update(config.arms[arm].to_dict())
  return config_lib.from_config_dict(
    ppo.Config, merged, name=f"config.arms.{arm}"
  )
