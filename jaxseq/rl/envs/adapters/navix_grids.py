"""Navix's grids, such as "navix/Navix-Empty-5x5-v0"; need the package `navix`.

Pignatelli et al., "NAVIX", arXiv:2407.19396.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import _validate
from jaxseq._types import PyTree
from jaxseq.rl.envs import foreign
from jaxseq.rl.envs import spaces


@dataclasses.dataclass(frozen=True, eq=False)
class Navix(foreign.Foreign):
  """One of Navix's environments.

  Observations are choices, one after the other, or images of bytes.

  Attributes:
    grid: the library's environment, without auto-reset.
    observations: the space of observations.
  """

  grid: Any
  observations: spaces.Space

  @property
  def max_steps(self) -> int:
    """The time limit."""
    return self.grid.max_steps

  @property
  def name(self) -> str:
    """The name of the library's class."""
    return type(self.grid).__name__

  def action_space(self, params: PyTree = None) -> spaces.Space:
    """One choice."""
    return spaces.Discrete(len(self.grid.action_set))

  def begin(self, key: jax.Array, params: PyTree) -> tuple[PyTree, PyTree]:
    """Returns the first view of a new grid."""
    step = self.grid.reset(key)
    return self._show(step.observation), step

  def play(
    self, key: jax.Array, task_state: PyTree, action: PyTree, params: PyTree
  ) -> foreign.Played:
    """Plays one step; the state holds a key of its own."""
    step = self.grid.step(task_state, action)
    shown = self._show(step.observation)
    return foreign.Played(shown, step, step.reward, step.is_termination())

  def _show(self, observation):
    space = self.observations
    return observation.reshape(space.shape).astype(space.dtype)


@functools.cache
def make(name: str, *, observation: str | None = None, **options: Any) -> Navix:
  """Returns an environment of Navix.

  Args:
    name: one of `navix.registry()`.
    observation: name of a function in `navix.observations`, such as
      "symbolic_first_person"; the library's choice if None.
    **options: of the library's `make`.

  Raises:
    ValueError: there is no such environment.
    ModuleNotFoundError: the package is not installed.
  """

  def load():
    import navix

    return navix

  library = foreign.needs("Navix", load)
  _validate.choice("env_id", name, tuple(sorted(library.registry())))
  if observation is not None:
    options["observation_fn"] = getattr(library.observations, observation)
  with jax.ensure_compile_time_eval():
    grid = library.make(name, disable_autoreset=True, **options)
    space = grid.observation_space
    if type(space).__name__ == "Discrete":
      sizes = np.broadcast_to(int(space.maximum.max()) + 1, space.shape)
      shown = foreign.choices(sizes)
    else:
      low, high = np.asarray(space.minimum), np.asarray(space.maximum)
      dtype = np.dtype(jnp.dtype(space.dtype))
      shown = spaces.Box(low, high, tuple(space.shape), dtype)
  return Navix(grid, shown)
