"""Craftax, such as "craftax/Craftax-Symbolic-v1"; needs the package `craftax`.

Matthews et al., "Craftax", arXiv:2402.16801.
"""

import dataclasses
import functools
from typing import Any

import jax

from jaxseq._types import PyTree
from jaxseq.rl.envs import foreign
from jaxseq.rl.envs import spaces

# Steps that no episode has: the time limit is kept by the adapter.
_NEVER = 2**30


@dataclasses.dataclass(frozen=True)
class Craftax(foreign.Foreign):
  """One of Craftax's environments.

  Attributes:
    world: the library's environment, without auto-reset.
    params: the library's parameters; their time limit is never reached.
    episode_length: steps after which an episode is cut off.
  """

  world: Any
  params: Any
  episode_length: int

  @property
  def max_steps(self) -> int:
    """The time limit."""
    return self.episode_length

  @property
  def name(self) -> str:
    """The library's name of the environment."""
    return self.world.name

  def observation_space(self, params: PyTree = None) -> spaces.Space:
    """Vectors, or images of numbers from 0 to 1."""
    return foreign.convert(self.world.observation_space(self.params))

  def action_space(self, params: PyTree = None) -> spaces.Space:
    """One choice."""
    return foreign.convert(self.world.action_space(self.params))

  def begin(self, key: jax.Array, params: PyTree) -> tuple[PyTree, PyTree]:
    """Returns the first observation of a new world."""
    return self.world.reset_env(key, self.params)

  def play(
    self, key: jax.Array, task_state: PyTree, action: PyTree, params: PyTree
  ) -> foreign.Played:
    """Plays one step."""
    *played, _ = self.world.step_env(key, task_state, action, self.params)
    return foreign.Played(*played)


@functools.cache
def make(name: str) -> Craftax:
  """Returns an environment of Craftax.

  Args:
    name: one that `craftax_env.make_craftax_env_from_name` knows, without
      "AutoReset".

  Raises:
    ValueError: there is no such environment.
    ModuleNotFoundError: the package is not installed.
  """

  def load():
    from craftax import craftax_env

    return craftax_env

  library = foreign.needs("Craftax", load)
  with jax.ensure_compile_time_eval():
    world = library.make_craftax_env_from_name(name, auto_reset=False)
    params = world.default_params
  limit = int(params.max_timesteps)
  return Craftax(world, params.replace(max_timesteps=_NEVER), limit)
