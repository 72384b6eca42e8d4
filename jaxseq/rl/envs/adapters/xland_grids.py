"""XLand-MiniGrid, such as "xminigrid/MiniGrid-EmptyRandom-5x5".

It needs the package `xminigrid`. Nikulin et al., "XLand-MiniGrid",
arXiv:2312.12044.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.rl.envs import foreign
from jaxseq.rl.envs import spaces


@functools.cache
def make(name: str, **options: Any) -> foreign.Task:
  """Returns an environment of XLand-MiniGrid.

  Observations are the tile and the color of each cell in view, as choices.

  Args:
    name: one of `xminigrid.registered_environments()`.
    **options: fields of the library's parameters.

  Raises:
    ValueError: there is no such environment.
    ModuleNotFoundError: the package is not installed.
  """
  install = "'jaxseq[xminigrid]'"
  library = foreign.needs("XLand-MiniGrid", "xminigrid", install)
  constants = foreign.needs(
    "XLand-MiniGrid", "xminigrid.core.constants", install
  )
  with jax.ensure_compile_time_eval():
    grid, params = library.make(name, **options)
  shape = grid.observation_shape(params)
  if not isinstance(shape, tuple):
    raise ValueError(
      f"env_id: got 'xminigrid/{name}' with observations {shape}, expected one "
      "that shows its view alone."
    )

  def view(step):
    return step.observation.astype(jnp.int32).reshape(-1)

  def start(key):
    step = grid.reset(params, key)
    return view(step), step

  def go_on(key, task_state, action):
    del key  # The state holds one of its own.
    step = grid.step(params, task_state, action)
    return foreign.Played(view(step), step, step.reward, step.discount == 0)

  sizes = constants.NUM_TILES, constants.NUM_COLORS
  return foreign.Task(
    type(grid).__name__,
    foreign.choices(np.broadcast_to(sizes, shape)),
    spaces.Discrete(grid.num_actions(params)),
    # The library counts it in the reward, too.
    params.max_steps,
    start,
    go_on,
  )
