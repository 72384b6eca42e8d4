"""POPGym Arcade's games, such as "popgym_arcade/CartPoleEasy".

They need the package `popgym-arcade` without what it depends on (`pip install
--no-deps popgym-arcade dm_pix`): it asks for a fork of gymnax that takes the
place of gymnax. Wang et al., "POPGym Arcade", arXiv:2503.01450.
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
def make(name: str, **options: Any) -> foreign.Task:
  """Returns a game of POPGym Arcade: images of bytes, and one choice.

  It ends by itself also where its time is over.

  Args:
    name: one that `popgym_arcade.make` knows.
    **options: of the library's `make`, such as `partial_obs=True`.

  Raises:
    ValueError: there is no such game.
    ModuleNotFoundError: the package is not installed.
  """
  library = foreign.needs(
    "POPGym Arcade",
    "popgym_arcade.registration",
    "--no-deps popgym-arcade dm_pix",
  )
  _validate.choice("env_id", name, tuple(library.REGISTERED_ENVIRONMENTS))
  with jax.ensure_compile_time_eval():
    game, params = library.make(name, **options)
  # The name that gymnax 1.0 has for it.
  game.is_terminated = game.is_terminal
  key = jax.eval_shape(lambda: jax.random.key(0))
  shown, _ = jax.eval_shape(lambda key: game.reset_env(key, params), key)

  def image(observation):
    """Bytes; some versions have numbers from 0 to 1."""
    if jnp.issubdtype(shown.dtype, jnp.floating):
      observation = jnp.round(observation * 255)
    return observation.astype(jnp.uint8)

  def start(key):
    observation, task_state = game.reset_env(key, params)
    return image(observation), task_state

  def go_on(key, task_state, action):
    observation, *played, _ = game.step_env(key, task_state, action, params)
    return foreign.Played(image(observation), *played)

  return foreign.Task(
    type(game).__name__,
    spaces.Box(0, 255, shown.shape, np.dtype(np.uint8)),
    foreign.convert(game.action_space(params)),
    # Beyond the end of any game.
    2**30,
    start,
    go_on,
  )
