"""Navix's grids, such as "navix/Navix-Empty-5x5-v0"; need the package `navix`.

Pignatelli et al., "NAVIX", arXiv:2407.19396.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import _validate
from jaxseq.rl.envs import foreign
from jaxseq.rl.envs import spaces


@functools.cache
def make(
  name: str, *, observation: str | None = None, **options: Any
) -> foreign.Task:
  """Returns an environment of Navix.

  Observations are choices, one after the other, or images of bytes.

  Args:
    name: one of `navix.registry()`.
    observation: name of a function in `navix.observations`, such as
      "symbolic_first_person"; the library's choice if None.
    **options: of the library's `make`.

  Raises:
    ValueError: there is no such environment.
    ModuleNotFoundError: the package is not installed.
  """
  library = foreign.needs("Navix", "navix")
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

  def view(step):
    return step.observation.reshape(shown.shape).astype(shown.dtype)

  def start(key):
    step = grid.reset(key)
    return view(step), step

  def go_on(key, task_state, action):
    del key  # The state holds one of its own.
    step = grid.step(task_state, action)
    return foreign.Played(view(step), step, step.reward, step.is_termination())

  return foreign.Task(
    type(grid).__name__,
    shown,
    spaces.Discrete(len(grid.action_set)),
    grid.max_steps,
    start,
    go_on,
  )
