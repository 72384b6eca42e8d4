"""XLand-MiniGrid, such as "xminigrid/MiniGrid-EmptyRandom-5x5".

It needs the package `xminigrid`. Nikulin et al., "XLand-MiniGrid",
arXiv:2312.12044.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq._types import PyTree
from jaxseq.rl.envs import foreign
from jaxseq.rl.envs import spaces


@dataclasses.dataclass(frozen=True)
class XLand(foreign.Foreign):
  """One of XLand-MiniGrid's environments.

  Observations are the tile and the color of each cell in view, as choices.

  Attributes:
    grid: the library's environment.
    params: the library's parameters.
    sizes: numbers of tiles and of colors.
  """

  grid: Any
  params: Any
  sizes: tuple[int, int]

  @property
  def max_steps(self) -> int:
    """The time limit, which the library counts in the reward, too."""
    return self.params.max_steps

  @property
  def name(self) -> str:
    """The name of the library's class."""
    return type(self.grid).__name__

  def observation_space(self, params: PyTree = None) -> spaces.Space:
    """A tile and a color for each cell in view."""
    shape = self.grid.observation_shape(self.params)
    return foreign.choices(np.broadcast_to(self.sizes, shape))

  def action_space(self, params: PyTree = None) -> spaces.Space:
    """One choice."""
    return spaces.Discrete(self.grid.num_actions(self.params))

  def begin(self, key: jax.Array, params: PyTree) -> tuple[PyTree, PyTree]:
    """Returns the first view of a new grid."""
    step = self.grid.reset(self.params, key)
    return _flat(step.observation), step

  def play(
    self, key: jax.Array, task_state: PyTree, action: PyTree, params: PyTree
  ) -> foreign.Played:
    """Plays one step; the state holds a key of its own."""
    step = self.grid.step(self.params, task_state, action)
    terminated = step.discount == 0
    return foreign.Played(
      _flat(step.observation), step, step.reward, terminated
    )


def _flat(observation: jax.Array) -> jax.Array:
  return observation.astype(jnp.int32).reshape(-1)


@functools.cache
def make(name: str, **options: Any) -> XLand:
  """Returns an environment of XLand-MiniGrid.

  Args:
    name: one of `xminigrid.registered_environments()`.
    **options: fields of the library's parameters.

  Raises:
    ValueError: there is no such environment.
    ModuleNotFoundError: the package is not installed.
  """

  def load():
    import xminigrid
    from xminigrid.core import constants

    return xminigrid, constants

  library, constants = foreign.needs(
    "XLand-MiniGrid", load, "'jaxseq[xminigrid]'"
  )
  with jax.ensure_compile_time_eval():
    grid, params = library.make(name, **options)
  shape = grid.observation_shape(params)
  if not isinstance(shape, tuple):
    raise ValueError(
      f"env_id: got 'xminigrid/{name}' with observations {shape}, expected one "
      "that shows its view alone."
    )
  return XLand(grid, params, (constants.NUM_TILES, constants.NUM_COLORS))
