"""Brax's tasks, such as "brax/ant"; they need the package `brax`.

Freeman et al., "Brax", arXiv:2106.13281.
"""

import functools
from typing import Any

from jaxseq.rl.envs import foreign
from jaxseq.rl.envs import playground


@functools.cache
def make(
  name: str, *, episode_length: int = 1000, **options: Any
) -> playground.Playground:
  """Returns a task, which has the form of MuJoCo Playground's.

  Args:
    name: one that `brax.envs.get_environment` knows.
    episode_length: steps after which an episode is cut off, Brax's own.
    **options: of the task, such as `backend`.

  Raises:
    ValueError: there is no such task.
    ModuleNotFoundError: the package is not installed.
  """
  envs = foreign.needs("Brax", "brax.envs")
  if name not in envs._envs:
    names = ", ".join(sorted(envs._envs))
    raise ValueError(f"env_id: got 'brax/{name}', expected one of {names}.")
  return playground.Playground(
    envs.get_environment(name, **options), episode_length
  )
