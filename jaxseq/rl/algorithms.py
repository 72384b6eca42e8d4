"""Registry of the algorithms by name, open to a user's own."""

from collections.abc import Mapping
from typing import Any
from typing import ClassVar
from typing import Protocol

import jax

from jaxseq import _registry
from jaxseq.rl import rollout
from jaxseq.types import PyTree

REGISTRY = _registry.Registry(
  "algorithm",
  {
    "ppo": "jaxseq.rl.agents.ppo",
    "pqn": "jaxseq.rl.agents.pqn",
    "r2d2": "jaxseq.rl.agents.r2d2",
    "sac": "jaxseq.rl.agents.sac",
  },
)
register = REGISTRY.register
names = REGISTRY.names
get = REGISTRY.get


class Config(Protocol):
  """The fields of an algorithm's configuration that a comparison reads.

  Attributes:
    env_id: an id that `jaxseq.rl.envs.make` knows.
    env_options: pairs of names and values passed on to it.
    takes_mesh: whether its updates use the devices of a mesh.
  """

  takes_mesh: ClassVar[bool]

  env_id: str
  env_options: tuple[tuple[str, Any], ...]

  @property
  def num_updates(self) -> int:
    """Updates of the whole run."""

  @property
  def steps_per_update(self) -> int:
    """Environment steps of an update."""


class Algorithm(Protocol):
  """A module with these names, registered in `REGISTRY` by its import path.

      algorithms.register("dqn", "my_package.dqn")

  Attributes:
    Config: frozen dataclass; it may have a class variable `published`, see
      `published`.
  """

  Config: type

  def player(self, config: Any) -> rollout.Player:
    """Returns the environment and the network that plays it."""

  def init(self, config: Any, key: jax.Array) -> PyTree:
    """Returns the state before the first update.

    It is a NamedTuple with the `variables` of the player's network,
    `num_updates`, and `world`, whose arrays have an axis of environments.
    """

  def train(
    self,
    config: Any,
    runner: PyTree,
    num_updates: int,
    overrides: Mapping[str, jax.Array] | None = None,
  ) -> tuple[PyTree, dict[str, jax.Array]]:
    """Runs updates; returns the state and metrics with an axis of updates.

    Arrays in `overrides` replace numbers whose names are in `config.traced`.
    """


def published(cls: type) -> Any:
  """Returns a configuration with the values of the algorithm's paper.

  The values are `cls.published`, and the defaults for other fields. Files and
  runs that are older than a field take its value from here.

  Args:
    cls: an algorithm's `Config`.
  """
  return cls(**getattr(cls, "published", {}))


def of(config: Any) -> Algorithm:
  """Returns the algorithm that a configuration belongs to.

  Raises:
    TypeError: it is not an algorithm's configuration.
  """
  for algorithm in REGISTRY.values():
    if isinstance(config, algorithm.Config):
      return algorithm
  raise TypeError(f"config: got {config!r}, expected an algorithm's Config.")
