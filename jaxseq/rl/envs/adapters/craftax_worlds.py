"""Craftax, such as "craftax/Craftax-Symbolic-v1"; needs the package `craftax`.

Matthews et al., "Craftax", arXiv:2402.16801.
"""

import functools

import jax

from jaxseq.rl.envs import foreign

# Steps that no episode has: the time limit is kept by the adapter.
_NEVER = 2**30


@functools.cache
def make(name: str) -> foreign.Task:
  """Returns an environment of Craftax: vectors, or images from 0 to 1.

  Args:
    name: one that `craftax_env.make_craftax_env_from_name` knows, without
      "AutoReset".

  Raises:
    ValueError: there is no such environment.
    ModuleNotFoundError: the package is not installed.
  """
  library = foreign.needs("Craftax", "craftax.craftax_env")
  with jax.ensure_compile_time_eval():
    world = library.make_craftax_env_from_name(name, auto_reset=False)
    params = world.default_params
  limit = int(params.max_timesteps)
  params = params.replace(max_timesteps=_NEVER)

  def go_on(key, task_state, action):
    *played, _ = world.step_env(key, task_state, action, params)
    return foreign.Played(*played)

  return foreign.Task(
    world.name,
    foreign.convert(world.observation_space(params)),
    foreign.convert(world.action_space(params)),
    limit,
    lambda key: world.reset_env(key, params),
    go_on,
  )
