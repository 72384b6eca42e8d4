"""An environment of blank images, to measure agents without a game."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.rl.envs import base
from jaxseq.rl.envs import spaces
from jaxseq.types import PyTree


@dataclasses.dataclass(frozen=True)
class Blank(base.Environment):
  """Images of zeros, and rewards of 0, without an end.

  Attributes:
    shape: (height, width, channels) of an image.
    num_actions: number of actions.
    frame_stack: number of frames that agents should see at once.
  """

  shape: tuple[int, ...] = (84, 84, 1)
  num_actions: int = 18
  frame_stack: int = 4

  # A time limit out of reach.
  max_steps: ClassVar[int] = 2**30

  def start(self, words: jax.Array, params: PyTree) -> base.EnvState:
    """Starts an episode."""
    return base.EnvState(time=jnp.int32(0))

  def advance(
    self, words: jax.Array, state: base.EnvState, action: PyTree, params: PyTree
  ) -> tuple[base.EnvState, jax.Array]:
    """Plays one step."""
    return base.EnvState(time=state.time + 1), jnp.float32(0)

  def observe(self, state: base.EnvState, params: PyTree) -> jax.Array:
    """Returns a blank image."""
    return jnp.zeros(self.shape, jnp.uint8)

  def observation_space(self, params: PyTree = None) -> spaces.Box:
    """Images."""
    return spaces.Box(0, 255, self.shape, np.dtype(np.uint8))

  def action_space(self, params: PyTree = None) -> spaces.Discrete:
    """`num_actions` actions."""
    return spaces.Discrete(self.num_actions)
