"""POPGym Arcade's games, such as "popgym_arcade/CartPoleEasy".

They need the package `popgym-arcade` without what it depends on (`pip install
--no-deps popgym-arcade dm_pix`): it asks for a fork of gymnax that takes the
place of gymnax. Wang et al., "POPGym Arcade", arXiv:2503.01450.
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
class Arcade(foreign.Foreign):
  """One of the games, which ends by itself also where its time is over.

  Attributes:
    game: the library's environment.
    params: the library's parameters.
    shown: shape and dtype of an observation.
  """

  game: Any
  params: Any
  shown: jax.ShapeDtypeStruct

  # Beyond the end of any game.
  max_steps = 2**30

  @property
  def name(self) -> str:
    """The name of the library's class."""
    return type(self.game).__name__

  def observation_space(self, params: PyTree = None) -> spaces.Space:
    """Images of bytes."""
    return spaces.Box(0, 255, self.shown.shape, np.dtype(np.uint8))

  def action_space(self, params: PyTree = None) -> spaces.Space:
    """One choice."""
    return foreign.convert(self.game.action_space(self.params))

  def begin(self, key: jax.Array, params: PyTree) -> tuple[PyTree, PyTree]:
    """Returns the first image of a game."""
    observation, task_state = self.game.reset_env(key, self.params)
    return self._bytes(observation), task_state

  def play(
    self, key: jax.Array, task_state: PyTree, action: PyTree, params: PyTree
  ) -> foreign.Played:
    """Plays one step."""
    observation, *played, _ = self.game.step_env(
      key, task_state, action, self.params
    )
    return foreign.Played(self._bytes(observation), *played)

  def _bytes(self, observation):
    """Images as bytes; some versions have numbers from 0 to 1."""
    if jnp.issubdtype(self.shown.dtype, jnp.floating):
      observation = jnp.round(observation * 255)
    return observation.astype(jnp.uint8)


@functools.cache
def make(name: str, **options: Any) -> Arcade:
  """Returns a game of POPGym Arcade.

  Args:
    name: one that `popgym_arcade.make` knows.
    **options: of the library's `make`, such as `partial_obs=True`.

  Raises:
    ValueError: there is no such game.
    ModuleNotFoundError: the package is not installed.
  """

  def load():
    from popgym_arcade import registration

    return registration

  install = "--no-deps popgym-arcade dm_pix"
  library = foreign.needs("POPGym Arcade", load, install)
  _validate.choice("env_id", name, tuple(library.REGISTERED_ENVIRONMENTS))
  with jax.ensure_compile_time_eval():
    game, params = library.make(name, **options)
  # The name that gymnax 1.0 has for it.
  game.is_terminated = game.is_terminal
  key = jax.eval_shape(lambda: jax.random.key(0))
  shown, _ = jax.eval_shape(lambda key: game.reset_env(key, params), key)
  return Arcade(game, params, shown)
